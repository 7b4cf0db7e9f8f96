"""From a study to a model in MLflow's registry: chosen on validation, tested once, judged by gates, alias moved.

>>> from search import promote                      # doctest: +SKIP
>>> promoted = promote("isic2017")                  # doctest: +SKIP
>>> promoted.passed, promoted.uri, promoted.test.intervals["mean_auc"]   # doctest: +SKIP

The test part is opened here and nowhere else. What was found is kept with the run in MLflow, so promoting the same
trials again tells what is known and does not open it a second time. A model that a gate stops is registered with its
evidence all the same; the alias stays where it is.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from lesion.evaluation import Evaluation
from lesion.flagging import Flagging
from lesion.predictor import Predictor
from lesion.rules import OperatingPoint
from search.errors import PromotionError
from search.gates import Candidate, Gates, Verdict, judge, passed, summed_up
from search.gates.champion import present_champion
from search.gates.judging import champion_rule
from search.model_card import CARD, MODEL, Facts, description, model_card
from search.moves import champion_of, complete_move, give_up_move, make_champion, rival_of, unfinished
from search.openings import Openings
from search.proposal import Made, Proposal, built, found_again, make
from search.registered import CHAMPION, LONGEST_DESCRIPTION, LONGEST_TAG, Registry
from search.retention import KEPT
from search.rows import TrialRow
from search.selection import Selection
from search.verdicts import Judgement, judgements_of, tags_of, with_latest
from search.versions import alone
from search.workspace import Workspace, existing_workspace

Say = Callable[[str], None]
ENSEMBLE, VIEWS = KEPT, 8
FLAGGING = "operating_point.json"
"""The file of the evidence that says what the operating point does on the test part."""


@dataclass(frozen=True)
class Promotion:
    """A model in the registry and what it was promoted on.

    `metrics` holds every test score as [value, low, high]; `repeated`: the same trials had been promoted before, and
    the test part was not opened again. `opened` counts the models that the test part has scored, this one among them:
    of several, the best figure is too good. `verdicts` are the gates'; `champion` is whether this version is now the
    champion, `rival` the one that is it instead, None where there is none. `notes` say what is not as usual: trials
    passed over, decisions that are not balanced. `point` is the operating point that was set on validation, `flagging`
    what it does on the test part.
    """

    model: str
    version: int
    members: tuple[TrialRow, ...]
    run_id: str
    metrics: dict[str, list[float | None]]
    test_images: int
    test: Evaluation
    validation: Evaluation
    verdicts: tuple[Verdict, ...]
    champion: bool
    rival: int | None
    repeated: bool
    opened: Openings
    notes: tuple[str, ...] = ()
    point: OperatingPoint | None = None
    flagging: Flagging | None = None

    alias = CHAMPION

    @property
    def passed(self) -> bool:
        """Whether no gate stops it; those that could not be judged are in `told`."""
        return passed(self.verdicts)

    @property
    def told(self) -> str:
        """What the gates say together, in words."""
        return summed_up(self.verdicts)

    @property
    def uri(self) -> str:
        """What `predict`, MLflow and `mlflow models serve` take."""
        return f"models:/{self.model}@{self.alias}" if self.champion else f"models:/{self.model}/{self.version}"

    @property
    def message(self) -> str:
        """In words: what is where."""
        who = f"trial {self.members[0].label}" if len(self.members) == 1 else f"{len(self.members)} trials"
        text = f"{self.model} version {self.version} ({who}) is {self.uri}"
        if not self.passed:
            text += f"; {self.told}: {self._stays}"
        elif self.verdicts:
            text += f"; gates {self.told}"
        if self.repeated:
            text += "; it was promoted before, and the test part was not opened again"
        return f"{text}. {self.opened.warning}" if self.opened.warning else text

    @property
    def _stays(self) -> str:
        if self.champion:
            return "it was the champion before and stays it"
        return "there is no champion yet" if self.rival is None else "the champion stays what it was"


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """What a promotion would do, told without the test part.

    `validation` are scores that the search has been chosen by, so the `verdicts` on them are flattering; `version` is
    the one that these trials have already, `champion` the present one's. `opened` counts models that the test part has
    scored, `scored` is whether this is one of them. A move of the champion that was killed stays as it is and is noted;
    the verdicts name the version that a promotion would be compared with.
    """

    model: str
    members: tuple[TrialRow, ...]
    validation: Evaluation
    verdicts: tuple[Verdict, ...]
    predictor: Predictor
    version: int | None
    champion: int | None
    opened: Openings
    notes: tuple[str, ...]
    scored: bool


def promote(
    study: str,
    workspace: Workspace | Path | str | None = None,
    *,
    model: str | None = None,
    ensemble: int = ENSEMBLE,
    source: str | None = None,
    views: int = VIEWS,
    gates: Gates | Path | str | None = None,
    tracking_uri: str | None = None,
    progress: Say | None = None,
) -> Promotion:
    """Make the best of `study` the champion of the registered model `model` (the study's name), if all gates pass.

    Up to `ensemble` models average their probabilities (1: the best alone), over `views` flips and quarter turns:
    finalists on folds or on fresh seeds where the study has any, chosen by forward selection, else complete trials of
    the search within one standard error of the best; `source` ("folds", "seeds", "search") says which. Temperature,
    decision weights and operating point are set on validation as `gates` (a file; the package's own unless given) say.
    The test part is then scored once. Raises LedgerError, PromotionError, SpaceError, DataError, CheckpointError.
    """
    asked = Proposal.of(study, workspace, model, ensemble, source, views, gates, tracking_uri, progress)
    with alone(asked.place, asked.name):
        selection, known = asked.selected()
        made = make(asked, selection) if known is None else found_again(asked, known)
        return _close(asked, selection, made, repeated=known is not None)


def rehearse(
    study: str,
    workspace: Workspace | Path | str | None = None,
    *,
    model: str | None = None,
    ensemble: int = ENSEMBLE,
    source: str | None = None,
    views: int = VIEWS,
    gates: Gates | Path | str | None = None,
    tracking_uri: str | None = None,
    progress: Say | None = None,
) -> Rehearsal:
    """What `promote` would do with the same arguments: nothing is opened, registered or moved."""
    asked = Proposal.of(study, workspace, model, ensemble, source, views, gates, tracking_uri, progress)
    selection, known = asked.selected()
    predictor, validation = built(asked, selection)
    registry, name, number = asked.registry, asked.name, None if known is None else known.version
    if (begun := unfinished(registry, name)) is not None:
        first = "judges it again first" if begun.move.to == number else "finishes it first"
        asked.note(f"the move of the champion to version {begun.move.to} is not finished; a promotion {first}")
    verdicts = _on_validation(asked.gates, validation, rival_of(registry, name, number))
    return Rehearsal(
        name, selection.rows, validation.evaluation, verdicts, predictor, number, champion_of(registry, name),
        asked.opened, tuple(asked.notes), asked.scored(selection),
    )  # fmt: skip


def _on_validation(gates: Gates, validation: Candidate, other: int | None) -> tuple[Verdict, ...]:
    """What gates say of validation scores; the `other` version, the champion, is compared on the test part alone."""
    if gates.champion is None or other is None:
        return judge(gates, validation, None)
    why = f"needs the test part: it is compared with version {other} there"
    silent = Verdict("champion", "not judged", None, champion_rule(gates.champion), why)
    return (*judge(replace(gates, champion=None), validation, None), silent)


def model_folder(model: str, workspace: Workspace | Path | str | None = None, tracking_uri: str | None = None) -> Path:
    """The predictor's folder of `model`: a folder itself, or ``models:/name@alias`` and ``models:/name/version``."""
    if not model.startswith("models:/"):
        if Path(model).is_dir():
            return Path(model)
        raise PromotionError(f"no model {model!r}: give a folder, or models:/NAME@champion as in MLflow's registry")
    place = existing_workspace(workspace)
    return Registry(tracking_uri or place.tracking_uri, place.artifacts).download(model)


def _close(asked: Proposal, selection: Selection, made: Made, *, repeated: bool) -> Promotion:
    """Judge, write down what was found, and move the alias if nothing stops it."""
    registry, name, number = asked.registry, asked.name, made.registered.version
    asked.say("judging by the gates")
    complete_move(registry, name, but=number)  # of another promotion that was killed; this one is judged as it was then
    champion = None
    if asked.gates.champion is not None:
        champion = present_champion(
            registry, name, number, made.test.evaluation, asked.open_test, asked.place,
            asked.status.identity.data_hash, asked.test_part,
        )  # fmt: skip
    verdicts = judge(asked.gates, made.test, champion)
    if not passed(verdicts):  # before it is written down: whoever comes next would complete a move to what is stopped
        give_up_move(registry, name, number)
    opened = asked.opened
    members = tuple(row.label for row in selection.rows)
    judgements = _judgements(asked, number, verdicts)
    facts = Facts(
        name, number, asked.status.name, asked.status.identity, made.config, members, made.test,
        made.validation.evaluation, verdicts, opened, judgements, made.flagging,
    )  # fmt: skip
    _write_down(asked, made, facts)
    complete_move(registry, name)
    if passed(verdicts):
        make_champion(registry, name, number, f"promoted from {asked.status.name}")
    now = champion_of(registry, name)
    return Promotion(
        name, number, selection.rows, made.registered.run_id, made.registered.metrics, made.registered.test_images,
        made.test.evaluation, made.validation.evaluation, verdicts, now == number, None if now == number else now,
        repeated, opened, tuple(asked.notes), made.config.rules.operating_point, facts.flagging,
    )  # fmt: skip


def tag_of(gate: str) -> str:
    """The tag of a gate's verdict, in the characters and the length that MLflow takes.

    >>> tag_of("sensitivity at specificity 0.80, melanoma")
    'lesion.gate.sensitivity at specificity 0.80 melanoma'
    """
    return re.sub(r"[^A-Za-z0-9_. :/-]", "", f"lesion.gate.{gate}")[:250]


def _judgements(asked: Proposal, number: int, verdicts: tuple[Verdict, ...]) -> tuple[Judgement, ...]:
    """All judgements of a version, the present one last; it is noted where an earlier one stopped the version."""
    (version,) = (found for found in asked.registry.versions(asked.name) if int(found.version) == number)
    earlier = judgements_of(version.tags)
    for each in earlier:
        if not each.passed:
            asked.note(f"version {number} was {each.told} ({each.by})")
    return with_latest(earlier, Judgement.now(asked.gates, verdicts, datetime.now(UTC)))


def _write_down(asked: Proposal, made: Made, facts: Facts) -> None:
    """Verdicts and card as evidence, tags and description of the version."""
    registry, name, number, verdicts = asked.registry, asked.name, made.registered.version, facts.verdicts
    judged = {"file": asked.gates.file, "digest": asked.gates.digest, "gates": [each.to_dict() for each in verdicts]}
    told = json.dumps({**judged, "at": facts.judgements[-1].at}, indent=2)
    # A file for each judgement: the next one, by other gates, overwrites only the first of the two.
    flagging = {} if facts.flagging is None else {FLAGGING: json.dumps(facts.flagging.to_dict(), indent=2)}
    files = {"gates.json": told, judgement_file(facts.judgements[-1]): told, CARD: model_card(facts), **flagging}
    with tempfile.TemporaryDirectory() as scratch:
        for file, text in files.items():
            path = Path(scratch) / file
            path.write_text(text, encoding="utf-8")
            registry.log_evidence(made.registered.run_id, path)
    each = {tag_of(verdict.gate): verdict.in_words for verdict in verdicts}
    registry.tag(name, number, tags_of(asked.gates, verdicts, facts.judgements, LONGEST_TAG) | each)
    registry.describe(name, number, description(facts, LONGEST_DESCRIPTION))
    registry.introduce(name, MODEL)


def judgement_file(judgement: Judgement) -> str:
    """The file of the evidence that holds every verdict of one judgement."""
    return f"gates-{re.sub('[^0-9T]', '', judgement.at[:19])}-{judgement.digest}.json"
