"""The model card: whole as a file, and what nobody may miss of it where MLflow takes 5000 characters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lesion.evaluation import evaluate
from lesion.flagging import flagged_on
from lesion.model_folder import Config, MemberConfig
from lesion.rules import OperatingPoint, Rules
from search.basis import SET_ON, set_on
from search.gates import Candidate, judge, read_gates
from search.identity import Identity
from search.model_card import INTENDED, Facts, description, model_card
from search.openings import Openings
from search.registered import LONGEST_DESCRIPTION
from search.verdicts import Judgement

ISIC_2018 = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
SITES = [f"place {letter}" for letter in "abcdefghijklmn"]
SECTIONS = (
    "Intended use", "Limits", "Results on the test part", "Gates", "Groups of people", "Model", "Data",
)  # fmt: skip


def facts_of(classes: tuple[str, ...], images: int = 300, *, people: bool = True) -> Facts:
    """Of a model with `classes`, tested on people of twenty groups: four ages, two sexes, fourteen sites."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(len(classes), 0.1), images)
    labels = np.array([rng.choice(len(classes), p=row) for row in p])
    names = [f"i{k}" for k in range(images)]
    test = evaluate(p, labels, classes, images=names, samples=20)
    known = {
        "age": np.resize([20.0, 40.0, 60.0, 80.0], images),
        "sex": np.resize(["female", "male", "female"], images),
        "site": rng.choice(SITES, images),
    }
    nobody = {"age": np.full(images, np.nan), "sex": "unknown", "site": "unknown"}
    table = pd.DataFrame({"image": names, "group": names, **(known if people else nobody)})
    rules = Rules(1.1, (1.0,) * len(classes), OperatingPoint((classes[0],), 0.2, 0.9, 0.9, 0.6, 150, 30))
    member = MemberConfig("weights-0.safetensors", "0" * 64, 40, "stretch", {"backbone": "resnet50"})
    config = Config(classes, 8, None, "isic2018", {}, (member,) * 5, rules)
    identity = Identity("isic2018", "d" * 64, "holdout", "s" * 64, "mean_auc", "maximize", {})
    candidate = Candidate(test, table)
    verdicts = judge(read_gates(), candidate, None)
    members = tuple(f"{n} seed {n}" for n in range(5))
    flagging = flagged_on(rules.operating_point, test, candidate.groups)
    judged = (Judgement("2026-01-02T03:04:05+00:00", "default", "0" * 12, "passed"),)
    return Facts(
        "isic2018", 3, "isic2018", identity, config, members, candidate, test, verdicts, Openings(2), judged, flagging
    )  # fmt: skip


@pytest.fixture(scope="module")
def many() -> Facts:
    return facts_of(ISIC_2018)


def titles(card: str) -> list[str]:
    return [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")]


def test_the_file_has_every_section_and_begins_with_what_nobody_may_miss(many: Facts) -> None:
    card = model_card(many)
    assert titles(card) == list(SECTIONS)
    assert len(card) > LONGEST_DESCRIPTION  # or the next test would show nothing
    assert all(f"| {column}" in card for column in ("age 0-29", "sex male", "site place n"))
    assert "**Not a medical device.** Gates: passed, " in card.splitlines()[1]
    assert "not judged: " in card.splitlines()[1]
    assert card.splitlines()[1].endswith(", champion.")


def test_lines_break_where_a_paragraph_ends_as_pages_show_them(many: Facts) -> None:
    for text in (model_card(many), description(many, LONGEST_DESCRIPTION)):
        for block in text.split("\n\n"):
            plain = [line for line in block.splitlines() if line and not line.startswith(("#", "- ", "| "))]
            assert len(plain) <= 1, plain


@pytest.mark.parametrize("count", [1, 2])
def test_the_card_says_that_the_openings_are_those_of_its_day(many: Facts, count: int) -> None:
    facts = replace(many, opened=Openings(count, {"again": 1}))
    told = f"- When this was written, {facts.opened.models} had seen the test part: of several, the best figure is too "
    for text in (model_card(facts), description(facts, LONGEST_DESCRIPTION)):
        assert told in text[text.index("## Limits") :]
    assert f"and had scored {facts.opened.models} when this was written." in model_card(facts)
    alone = replace(many, opened=Openings(1))
    assert "- When this was written, 1 model of this study had seen the test part: " in model_card(alone)


def test_the_card_says_what_the_threshold_does_on_the_test_part(many: Facts) -> None:
    found = many.flagging
    shown = f"sensitivity {found.sensitivity.value:.3f} ({found.sensitivity.low:.3f} to {found.sensitivity.high:.3f})"
    for text in (model_card(many), description(many, LONGEST_DESCRIPTION)):
        assert f" Flags a photo for MEL, on the test part with {shown} and specificity " in text
    assert f"- On the test part that threshold has {found}" in model_card(many)
    silent = replace(many, config=replace(many.config, rules=Rules()), flagging=None)
    assert "Flags a photo" not in model_card(silent)


def test_the_card_says_that_single_members_of_folds_have_set_the_rules(many: Facts) -> None:
    told = "Temperature, weights and threshold were set on images each judged by 1 of the 5 networks in 8 views"
    folds = replace(many, config=replace(many.config, provenance={SET_ON: set_on(900, 8, 1, 5)}))
    assert told in model_card(folds)
    assert "- Its rules were set on what single networks said of images" in description(folds, LONGEST_DESCRIPTION)
    assert told not in model_card(many)


def test_the_description_of_seven_classes_and_twenty_groups_keeps_verdict_use_and_limits(many: Facts) -> None:
    card, told = model_card(many), description(many, LONGEST_DESCRIPTION)
    assert len(told) <= LONGEST_DESCRIPTION
    assert titles(told)[:2] == ["Intended use", "Limits"]
    assert INTENDED in told
    limits = card[card.index("## Limits") : card.index("## Results")]
    assert limits in told
    assert told.splitlines()[:2] == card.splitlines()[:2]
    # The others are there whole, or named at the end.
    left_out = [title for title in SECTIONS if title not in titles(told)]
    assert left_out
    assert told.endswith(f"`evidence/model_card.md`: {', '.join(left_out)}.\n")
    for section in told.split("\n\n## ")[1:]:
        assert section.removesuffix("\n").partition("\n\nLeft out here")[0] in card


def test_nothing_is_left_out_where_everything_fits() -> None:
    few = facts_of(("melanoma", "nevus"), people=False)
    assert description(few, LONGEST_DESCRIPTION) == model_card(few)
    assert "Nothing is known of the age, sex or body site" in model_card(few)
    assert "not judged: subgroups, champion." in model_card(few)


@pytest.mark.parametrize("letters", [20, 150])
def test_hundreds_of_classes_leave_room_for_use_and_limits(letters: int) -> None:
    classes = tuple(f"{n:0{letters}}" for n in range(200))
    facts = facts_of(classes[:4])
    test = replace(facts.test.evaluation, classes=classes, intervals=Everything(facts.test.evaluation.intervals))
    facts = replace(
        facts, config=replace(facts.config, classes=classes, rules=Rules()), test=replace(facts.test, evaluation=test)
    )
    told = description(replace(facts, validation=test), LONGEST_DESCRIPTION)
    assert len(told) <= LONGEST_DESCRIPTION
    assert "Not a medical device" in told
    assert titles(told)[:2] == ["Intended use", "Limits"]
    assert "others apart on dermatoscopic photos" in told
    assert "Fewer than 30 test images each of" in told
    assert told.endswith(", Data.\n")


class Everything(dict[str, object]):
    """Scores of classes that nobody has worked out."""

    def __missing__(self, name: str) -> object:
        return self["accuracy"]


def test_what_stops_a_model_stands_in_its_first_lines(many: Facts) -> None:
    planted = tuple(
        replace(verdict, outcome="failed", why="planted") if verdict.gate == "sex female" else verdict
        for verdict in many.verdicts
    )
    told = description(replace(many, verdicts=planted), LONGEST_DESCRIPTION)
    assert "Gates: stopped by sex female, " in told.splitlines()[1]
    assert "Gates: none asked." in description(replace(many, verdicts=()), LONGEST_DESCRIPTION)
