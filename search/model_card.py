"""A model card: what a registered model is for, what it was made of, how good it is and for whom, and its limits.

After Mitchell et al. 2019, arXiv:1810.03993. Everything in it is read off the evidence of the promotion, so nobody has
to remember to write it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lesion.evaluation import Evaluation
from lesion.flagging import Flagging
from lesion.metrics import Interval
from lesion.metrics.catalogue import METRICS
from lesion.model_folder import Config
from lesion.registry import Value
from lesion.subgroups import Subgroup, subgroups
from search.basis import caveat
from search.external import external_data, told_in
from search.gates import Candidate, Verdict, named, summed_up
from search.identity import Identity
from search.openings import Openings
from search.starts import starts_in
from search.verdicts import Judgement

COLUMNS = ("age", "sex", "site")
SCORES = ("mean_auc", "macro_auc", "balanced_accuracy", "accuracy", "macro_f1", "log_loss", "brier", "ece")
CARD = "model_card.md"
"""The file of the evidence that holds the whole card."""
FEW = 30
"""Images of a class or a group below which its figures say little."""
NAMED = 20
"""Classes, groups or gates that are listed by name where a reader has room for little."""
INTENDED = (
    "For research on classifying dermatoscopic images: comparing methods, studying errors, teaching. It is **not a "
    "medical device**: it must not be used to diagnose, to decide on treatment, or to reassure a patient. Whoever "
    "wants to do so has to validate it anew, on their own patients and under the law that applies to them."
)
MODEL = (
    "Tells skin lesions apart on dermatoscopic photos; for research and teaching, **not a medical device**. Each "
    f"version's description is its model card, and `evidence/{CARD}` of its run the whole of it."
)
"""What a registered model says of itself, whichever version is its champion."""


@dataclass(frozen=True, eq=False)
class Facts:
    """What a card is written from. `opened` counts the models that the test part has scored.

    `judgements` are all of this version, the one of these `verdicts` last. `flagging` is what the operating point does
    on the test part.
    """

    name: str
    version: int
    study: str
    identity: Identity
    config: Config
    members: tuple[str, ...]
    test: Candidate
    validation: Evaluation
    verdicts: tuple[Verdict, ...]
    opened: Openings
    judgements: tuple[Judgement, ...] = ()
    flagging: Flagging | None = None


def model_card(facts: Facts) -> str:
    """The card in Markdown. What nobody may miss comes first: the verdict, the intended use, the limits."""
    groups = _subgroups(facts.test)
    return "\n\n".join([*_first(facts, groups), *_rest(facts, groups).values()]) + "\n"


def description(facts: Facts, longest: int) -> str:
    """The card in at most `longest` characters: sections that do not fit are left out whole, and named.

    Verdict, intended use and limits are always there; of many classes, groups or gates they name the first.
    """
    groups = _subgroups(facts.test)
    rest = _rest(facts, groups)
    left_out = list(rest)
    sections = _first(facts, groups, NAMED)
    if len(_joined(sections, left_out)) > longest:  # names of a hundred letters
        sections = _first(facts, groups, 3)
    for name, text in rest.items():
        kept = [each for each in left_out if each != name]
        if len(_joined([*sections, text], kept)) <= longest:
            sections, left_out = [*sections, text], kept
    return _joined(sections, left_out)


def _joined(sections: Sequence[str], left_out: Sequence[str]) -> str:
    told = f"Left out here for their length, and in `evidence/{CARD}`: {', '.join(left_out)}." if left_out else ""
    return "\n\n".join([*sections, *filter(None, [told])]) + "\n"


def _first(facts: Facts, groups: Sequence[Subgroup], most: int | None = None) -> list[str]:
    """The sections that stand by themselves; lists in them have `most` names."""
    return [_head(facts, most), f"## Intended use\n{INTENDED}", _limits(facts, groups, most)]


def _rest(facts: Facts, groups: Sequence[Subgroup]) -> dict[str, str]:
    """The other sections by their title."""
    sections = {
        "Results on the test part": _results(facts.test.evaluation, facts),
        "Gates": _gates(facts.verdicts) + _judged(facts.judgements),
        "Groups of people": _people(groups),
        "Model": _model(facts),
        "Data": _data(facts),
    }
    return {title: f"## {title}\n{text}" for title, text in sections.items()}


def _head(facts: Facts, most: int | None) -> str:
    score = facts.test.evaluation.intervals
    return (
        f"# {facts.name}, version {facts.version}\n"
        f"**Not a medical device.** Gates: {summed_up(facts.verdicts, most)}.{_refused(facts.judgements)}\n\n"
        f"Tells {named(facts.config.classes, most)} apart on dermatoscopic photos. On {len(facts.test.table)} test "
        f"images: mean AUC {_shown(score['mean_auc'])}, balanced accuracy {_shown(score['balanced_accuracy'])} (95 % "
        f"intervals).{_flagged(facts, most)}"
    )


def _flagged(facts: Facts, most: int | None) -> str:
    point, found = facts.config.rules.operating_point, facts.flagging
    if point is None or found is None:
        return ""
    return (
        f" Flags a photo for {named(point.classes, most)}, on the test part with sensitivity "
        f"{_shown(found.sensitivity)} and specificity {_shown(found.specificity)}."
    )


def _model(facts: Facts) -> str:
    config, rules = facts.config, facts.config.rules
    backbones = sorted({str(member.settings.get("backbone")) for member in config.members})
    lines = [
        f"- {len(config.members)} networks ({', '.join(backbones)}), averaged over {config.views} flips and "
        f"turns: trials {', '.join(facts.members)} of the study `{facts.study}`",
        f"- Probabilities at temperature {rules.temperature:.3f}, calibrated on validation; they hold where classes "
        "are about as frequent as there",
    ]
    lines += [f"- External data: {told}" for told in external_data(config.provenance, _settings(config))]
    if why := caveat(config.provenance):
        lines.append(f"- {why[0].upper()}{why[1:]}")
    if rules.decision_weights is not None:
        weights = zip(config.classes, rules.decision_weights, strict=True)
        each = ", ".join(f"{name} {weight:.2f}" for name, weight in weights)
        lines.append(f"- Decisions by the largest probability times a weight, fair to rare classes: {each}")
    if rules.operating_point is not None:
        lines.append(f"- A photo is flagged for {rules.operating_point}, by which the threshold was set")
    if facts.flagging is not None:
        lines.append(f"- On the test part that threshold has {facts.flagging}")
    return "\n".join(lines)


def _data(facts: Facts) -> str:
    identity, test = facts.identity, facts.test.evaluation
    counts = _counts(test)
    return (
        f"Data set `{identity.data}` (content {identity.data_hash[:12]}), split `{identity.split}`. The search saw "
        f"training and validation ({len(facts.validation.images)} images); the test part has {len(test.images)} images "
        f"({', '.join(f'{name} {count}' for name, count in counts.items())}) and had "
        f"scored {facts.opened.models} when this was written."
    )


def _results(test: Evaluation, facts: Facts) -> str:
    rows = [
        (name, _shown(test.intervals[name]), _shown(facts.validation.intervals[name]), METRICS[name].description)
        for name in SCORES
    ]
    per_class = [
        (name, *(_shown(test.intervals[f"{score}_{name}"]) for score in ("auc", "sensitivity", "specificity")))
        for name in test.classes
    ]
    return "\n" + "\n\n".join(
        [
            _table(("score", "test", "validation (seen by the search)", "meaning"), rows),
            "Few images make the calibration error (ece) larger than it is. That is taken off its interval, which may "
            "lie below it.",
            _table(("class", "AUC", "sensitivity", "specificity"), per_class),
        ]
    )


def _people(groups: Sequence[Subgroup]) -> str:
    if not groups:
        return "Nothing is known of the age, sex or body site of the people in the test part."
    rows = [
        (
            f"{group.column} {group.name}",
            str(group.images),
            _shown(group.balanced_accuracy),
            _shown(group.gap, sign=True),
            ", ".join(group.classes) or "no class has enough images",
        )
        for group in groups
    ]
    head = ("group", "images", "balanced accuracy", "against all images", "over the classes")
    return "\n" + _table(head, rows)


def _gates(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return "Its gates file asked for nothing."
    rows = [
        (
            verdict.gate,
            "–" if verdict.interval is None else _shown(verdict.interval),
            verdict.rule,
            verdict.outcome + (f": {verdict.why}" if verdict.why else ""),
        )
        for verdict in verdicts
    ]
    return "\n" + _table(("gate", "found", "must be", "verdict"), rows)


def _refused(judgements: Sequence[Judgement]) -> str:
    """That earlier judgements stopped the version, which a later one does not undo; "" where none did."""
    stopped = [each for each in judgements[:-1] if not each.passed]
    if not stopped:
        return ""
    count = "once" if len(stopped) == 1 else f"{len(stopped)} times"
    return f" **Stopped {count} before**, last by {stopped[-1].by[:120]}."


def _judged(judgements: Sequence[Judgement]) -> str:
    if not judgements:
        return ""
    rows = [(each.at or "not noted", each.file, each.digest, each.told) for each in judgements]
    return "\n\nEvery judgement of these figures, oldest first:\n\n" + _table(("when", "gates", "hash", "said"), rows)


def _limits(facts: Facts, groups: Sequence[Subgroup], most: int | None) -> str:
    test = facts.test.evaluation
    few = [name for name, count in _counts(test).items() if count < FEW]
    small = [f"{group.column} {group.name}" for group in groups if group.images < FEW or not group.classes]
    lines = [
        "- Photos from other clinics, cameras or populations were not looked at; expect lower figures there.",
        f"- It knows {len(test.classes)} diagnoses and puts every photo into one of them, whatever it shows.",
    ]
    if few:
        lines.append(f"- Fewer than {FEW} test images each of {named(few, most)}: their figures say little.")
    if small:
        lines.append(f"- Too few images to judge: {named(small, most)}.")
    if not groups:
        lines.append("- Whether it serves young and old, women and men alike is not known.")
    else:
        lines.append("- Skin colour is not recorded; most people in public sets have light skin.")
    seen = f"{facts.opened.models} had seen the test part"
    lines.append(f"- When this was written, {seen}: of several, the best figure is too good.")
    if ways := _external(facts.config):
        lines.append(f"- It learnt from external data too, by way of {named(ways, most)}; see Model.")
    if caveat(facts.config.provenance):
        lines.append("- Its rules were set on what single networks said of images; see Model.")
    return "## Limits\n" + "\n".join(lines)


def _settings(config: Config) -> list[Mapping[str, Value]]:
    return [member.settings for member in config.members]


def _external(config: Config) -> list[str]:
    """Files of weights, and photos that were trained on beside the data set's own."""
    files = [start.weights for start in starts_in(config.provenance, _settings(config))]
    return files + ["external photos"] * bool(told_in(config.provenance))


def _subgroups(test: Candidate) -> list[Subgroup]:
    evaluation = test.evaluation
    right = evaluation.decisive.argmax(axis=1) == evaluation.labels
    return subgroups(test.table, right, evaluation.labels, evaluation.classes, COLUMNS, test.samples)


def _counts(evaluation: Evaluation) -> dict[str, int]:
    counts = np.bincount(evaluation.labels, minlength=len(evaluation.classes))
    return {name: int(count) for name, count in zip(evaluation.classes, counts, strict=True)}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _shown(interval: Interval, sign: bool = False) -> str:
    if math.isnan(interval.value):
        return "–"
    form = "+.3f" if sign else ".3f"
    return f"{interval.value:{form}} ({interval.low:{form}} to {interval.high:{form}})"
