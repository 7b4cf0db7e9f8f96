"""What is proposed for promotion: trials chosen on validation, built into a model, scored on the test part once."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesion.data.packed import PackedDataset
from lesion.data.sketches import digests_in
from lesion.flagging import Flagging, flagged_on
from lesion.learnt import photos_in
from lesion.model_folder import Config, read_config
from lesion.predictor import Predictor
from search import evidence, external
from search.basis import SET_ON, caveat, set_on
from search.errors import PromotionBlockedError, PromotionError
from search.gates import Candidate, Gates, read_gates
from search.gates.naming import require_known
from search.gates.rules import rules_of, what_is_set
from search.members import Members
from search.openings import KEY_LETTERS, Openings, openings
from search.registered import TESTED, Registered, Registry
from search.reopened import data_of, open_test_of, through_task
from search.rows import TrialRow
from search.selection import Selection, select
from search.starts import provenance_of, refuse_seen
from search.study import StudyStatus, study_status
from search.test_parts import content_of, part_in, photos_of, tags_of_part
from search.workspace import Workspace, checked_name, existing_workspace

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Proposal:
    """A study, and as what it is to be promoted; `notes` are what has been noticed on the way."""

    place: Workspace
    name: str
    status: StudyStatus
    stored: PackedDataset
    data: PackedDataset
    registry: Registry
    gates: Gates
    members: Members
    ensemble: int
    source: str | None
    views: int
    say: Say
    notes: list[str]

    @classmethod
    def of(
        cls,
        study: str,
        workspace: Workspace | Path | str | None,
        model: str | None,
        ensemble: int,
        source: str | None,
        views: int,
        gates: Gates | Path | str | None,
        tracking_uri: str | None,
        progress: Say | None,
    ) -> Proposal:
        """What the arguments of `search.promotion.promote` ask for; raises as it does."""
        given = gates if isinstance(gates, Gates) else read_gates(gates)
        place = existing_workspace(workspace)
        name = checked_name(model or study)
        status = study_status(place, study)
        if status.driven:
            raise PromotionBlockedError(
                f"{study} is being searched at this moment; wait for its end, or stop it with Ctrl-C"
            )
        stored = data_of(place, study, status.identity)
        data = through_task(status.identity, stored)
        require_known(given, data.classes)
        registry = Registry(tracking_uri or place.tracking_uri, place.artifacts)
        say = progress or (lambda text: None)
        members = Members(place, status, data)
        return cls(place, name, status, stored, data, registry, given, members, ensemble, source, views, say, [])

    @property
    def reports(self) -> Path:
        """Folder of what promotions of the study leave."""
        return self.place.reports / self.status.name

    @property
    def test_part(self) -> str:
        """The word of the test part (`search.test_parts`); "" where the data have none."""
        return part_in(self.stored.manifest)

    @property
    def opened(self) -> Openings:
        """The models that the test part has scored."""
        elsewhere = self.registry.scored(self.test_part) if self.test_part else {}
        return openings(self.place, self.status.name, self.test_part, elsewhere)

    def scored(self, selection: Selection) -> bool:
        """Whether the test part has scored this very model, whatever was set on validation then."""
        tested = self.tested_as(selection)
        if evidence.kept_as(self.reports, tested).exists():
            return True
        elsewhere = self.registry.scored(self.test_part) if self.test_part else {}
        return tested[:KEY_LETTERS] in elsewhere.get(self.status.name, ())

    def note(self, text: str) -> None:
        """Keep a remark, and say it."""
        self.notes.append(text)
        self.say(text)

    def selected(self) -> tuple[Selection, Registered | None]:
        """The trials that make the model, and the version that they make already."""
        # First without a look at checkpoints: what was promoted once needs none, should they be lost by now.
        selection = select(self.place, self.status, self.data, self.ensemble, source=self.source)
        known = self.registry.find(self.name, self.key(selection))
        if known is not None:
            return selection, known
        selection = select(
            self.place, self.status, self.data, self.ensemble, source=self.source, why_not=self.members.why_not,
            say=self.note,
        )  # fmt: skip
        return selection, self.registry.find(self.name, self.key(selection))

    def tested_as(self, selection: Selection) -> str:
        """What makes two models answer the test part alike."""
        rows = selection.rows
        members = sorted([*([row.series] if row.series else []), row.number, row.epoch, row.seed] for row in rows)
        return _hash([self.status.identity.key, members, self.views, content_of(self.test_part) or None])

    def key(self, selection: Selection) -> str:
        """What makes two promotions the same."""
        return _hash([self.tested_as(selection), what_is_set(self.gates)])

    def open_test(self) -> PackedDataset:
        """The test part, as the trials would have seen it."""
        return through_task(self.status.identity, open_test_of(self.place, self.stored))


@dataclass(frozen=True, eq=False)
class Made:
    """A registered model, its scores on both parts, and its configuration."""

    registered: Registered
    test: Candidate
    validation: Candidate
    config: Config

    @property
    def flagging(self) -> Flagging | None:
        """What the model's operating point does on the test part; None where it has none."""
        point = self.config.rules.operating_point
        return None if point is None else flagged_on(point, self.test.evaluation, self.test.groups)


def make(asked: Proposal, selection: Selection) -> Made:
    """Build the model, score the test part and register it."""
    asked.say(f"building a model of {_named(selection)}")
    predictor, validation = built(asked, selection)
    data = asked.open_test()
    refuse_seen(asked.members.starts_of(selection.rows), photos_in(data.table))
    asked.say(f"scoring the test part, {len(data)} images, once")
    tested = asked.tested_as(selection)
    plain = evidence.tested(predictor, data, asked.reports, tested, asked.test_part)
    test = evidence.candidate(data, plain, predictor.rules)
    key = asked.key(selection)
    folder = asked.reports / f"promotion-{key[:12]}"
    evidence.write(folder, test, validation, asked.status, selection, predictor.rules.operating_point)
    asked.say("logging the model to MLflow")
    with tempfile.TemporaryDirectory() as scratch:
        model = predictor.save(Path(scratch) / "model")
        registered = asked.registry.register(
            asked.name, key, asked.status, model, folder, test.evaluation, validation.evaluation,
            _opening(asked.test_part, tested),
        )  # fmt: skip
        return Made(registered, test, validation, read_config(model))


def _opening(part: str, tested: str) -> dict[str, str]:
    """Tags by which the opening of a test part is counted; none for data that have none."""
    return {**tags_of_part(part), TESTED: tested[:KEY_LETTERS]} if part else {}


def found_again(asked: Proposal, known: Registered) -> Made:
    """What was registered before, with the evidence that was kept."""
    asked.say(f"version {known.version} was made of the same trials; reading its evidence")
    asked.registry.settle(asked.name, known)
    try:
        test, validation = (evidence.read(asked.registry.evidence(known.run_id, p)) for p in ("test", "validation"))
    except PromotionBlockedError:
        raise
    except (OSError, ValueError, KeyError, PromotionError) as problem:
        raise PromotionBlockedError(
            f"the evidence of {asked.name} version {known.version} cannot be read: {problem}"
        ) from problem
    config = read_config(asked.registry.download(f"models:/{asked.name}/{known.version}"))
    if why := caveat(config.provenance):
        asked.note(why)
    for told in external.external_data(config.provenance, [member.settings for member in config.members]):
        asked.note(f"external data: {told}")
    return Made(known, test, validation, config)


def built(asked: Proposal, selection: Selection) -> tuple[Predictor, Candidate]:
    """The model with the rules that validation asks for, and its scores there."""
    status, data = asked.status, asked.data
    provenance: dict[str, Any] = {
        "study": status.name,
        # Where the data lie on this machine is nobody else's business.
        "identity": replace(status.identity, location="").to_json(),
        "trials": [{"number": _name(row), "value": row.value, "seed": row.seed} for row in selection.rows],
    }
    starts = asked.members.starts_of(selection.rows)
    refuse_seen(starts, digests_in(photos_of(asked.test_part)))  # by those that the manifest names: nothing is opened
    members = tuple(map(asked.members.of, selection.rows))
    settings = [member.settings for member in members]
    provenance |= external.provenance_of(data, settings)
    provenance |= provenance_of(data, starts, max(map(external.share_of, settings)))
    for told in external.external_data(provenance, settings):
        asked.note(f"external data: {told}")
    plain = Predictor(members, data.classes, asked.views, None, data.name, provenance)
    splits = (
        [status.identity.split] if selection.judged is None else sorted({row.split or "" for row in selection.rows})
    )
    rows, probabilities = _unseen(plain, data, selection, splits)
    provenance[SET_ON] = set_on(len(rows), asked.views, len(members) // len(splits), len(members))
    if why := caveat(provenance):
        asked.note(why)
    rules = rules_of(asked.gates, probabilities, data.labels[rows], data.classes, asked.note)
    return replace(plain, rules=rules), evidence.candidate(data, probabilities, rules, rows)


def _unseen(
    plain: Predictor, data: PackedDataset, selection: Selection, splits: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The validation rows of `splits` and their probabilities, each by those members that had not trained on it."""
    rows = [data.split(name).validation for name in splits]
    if len(splits) == 1:
        return rows[0], plain.predict(data.images[rows[0]], data.table.iloc[rows[0]])
    # Members of folds have trained on parts of any validation part. Those of a fold are asked as the model will be, in
    # all its views: what they said in training was of one.
    judges = [
        replace(
            plain, members=tuple(m for m, row in zip(plain.members, selection.rows, strict=True) if row.split == name)
        )
        for name in splits
    ]
    parts = [judge.predict(data.images[part], data.table.iloc[part]) for judge, part in zip(judges, rows, strict=True)]
    return np.concatenate(rows), np.concatenate(parts)


def _hash(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _named(selection: Selection) -> str:
    return "trial" + ("s " if len(selection.rows) > 1 else " ") + ", ".join(row.label for row in selection.rows)


def _name(row: TrialRow) -> int | str:
    """The number of a trial of the search, the label of a finalist."""
    return row.number if row.series is None else row.label
