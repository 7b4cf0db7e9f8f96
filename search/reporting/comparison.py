"""Judgements side by side, and whether their differences are more than noise: paired tests on the same images.

>>> from search import compare                                          # doctest: +SKIP
>>> compare(["isic2017:24", "isic2017:16"]).pairs[0].tests              # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lesion.evaluation import decided_metrics
from lesion.metrics import METRICS, Paired, decisions, delong, holm, mcnemar, paired_bootstrap, summary
from search.errors import ReportError
from search.reporting.judgements import Judgement, judgement_named
from search.workspace import Workspace, existing_workspace

MIXED = ("mean_auc", "balanced_accuracy", "macro_auc", "macro_ap", "macro_f1", "log_loss", "brier")
"""Scores that have no test of their own: the bootstrap's."""


@dataclass(frozen=True)
class Tested:
    """One score of a pair: the test, and `holm`, its p adjusted for all tests of the pair."""

    score: str
    result: Paired
    holm: float

    @property
    def verdict(self) -> str:
        """Which of the two is better, if the adjusted p is below 0.05."""
        name = self.score if self.score in METRICS else ""
        lower_is_better = bool(name) and METRICS[name].direction == "minimize"
        if not self.holm < 0.05:
            return "not distinguishable"
        return "second is better" if (self.result.difference < 0) != lower_is_better else "first is better"


@dataclass(frozen=True, eq=False)
class Pair:
    """Two judgements of the same images."""

    first: Judgement
    second: Judgement
    tests: tuple[Tested, ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """All judgements, in the order of the first one's images, and each of the others against the first.

    `notes` say what the tests do not know.
    """

    judgements: tuple[Judgement, ...]
    scores: tuple[dict[str, float], ...]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]


def compare(
    names: Sequence[str],
    workspace: Workspace | Path | str | None = None,
    *,
    seed: int = 0,
    progress: Callable[[str], None] = lambda text: None,
) -> Comparison:
    """Compare judgements by name (see `search.reporting.judgements`) with the first of them.

    Raises ReportError for judgements of different images or classes, which no paired test can compare.
    """
    if len(names) < 2:
        raise ReportError(
            "at least two are compared: studies, trials as STUDY:12, finalists as STUDY:12/1, STUDY:test, or tables"
        )
    place = existing_workspace(workspace)
    first, *others = [judgement_named(place, name) for name in names]
    everyone = _of_the_same_lesions([first, *(_aligned(first, other) for other in others)])
    first, *aligned = everyone
    pairs = []
    for other in aligned:
        progress(f"{first.name} against {other.name}")
        pairs.append(Pair(first, other, _tests(first, other, seed)))
    scores = tuple(map(_scores, everyone))
    return Comparison(everyone, scores, tuple(pairs), tuple(_notes(everyone)))


def _aligned(first: Judgement, other: Judgement) -> Judgement:
    """`other` in the order of `first`'s images and classes."""
    where = f"{first.name} and {other.name} cannot be compared image by image:"
    if set(first.classes) != set(other.classes):
        raise ReportError(f"{where} their classes are {', '.join(first.classes)} and {', '.join(other.classes)}")
    if set(first.images) != set(other.images) or len(first.images) != len(other.images):
        shared = len(set(first.images) & set(other.images))
        raise ReportError(
            f"{where} {first.name} is of {len(first.images)} images ({first.part}), {other.name} of "
            f"{len(other.images)} ({other.part}), and {shared} are in both"
        )
    places = {image: place for place, image in enumerate(other.images)}
    order = np.array([places[image] for image in first.images])
    columns = [other.classes.index(name) for name in first.classes]
    labels = np.argsort(columns)[other.labels[order]]
    wrong = np.flatnonzero(labels != first.labels)
    if len(wrong):
        raise ReportError(f"{where} {len(wrong)} labels differ, {first.images[wrong[0]]} among them")
    probabilities, decisive = (each[order][:, columns] for each in (other.probabilities, other.decisive))
    groups = tuple(other.groups[place] for place in order)
    return replace(
        other, classes=first.classes, images=first.images, labels=labels, groups=groups, probabilities=probabilities,
        decisive=decisive,
    )  # fmt: skip


def _of_the_same_lesions(everyone: Sequence[Judgement]) -> tuple[Judgement, ...]:
    """All with the lesion ids of the one that knows most: a table has none, wherever it stands."""
    groups = max((each.groups for each in everyone), key=lambda ids: sum(map(bool, ids)))
    return tuple(replace(each, groups=groups) for each in everyone)


def _scores(told: Judgement) -> dict[str, float]:
    """Scores of the probabilities, and those that are read off decisions by the rules that decided."""
    decided = summary(told.decisive, told.labels, told.classes)
    of_decisions = {name: decided[name] for name in decided_metrics(told.classes) if name in decided}
    return summary(told.probabilities, told.labels, told.classes) | of_decisions


def _tests(first: Judgement, second: Judgement, seed: int) -> tuple[Tested, ...]:
    labels, classes = first.labels, first.classes
    groups = list(first.groups)
    truth = np.array(classes, dtype=object)[labels]
    right = [np.array(decisions(each.decisive, classes), dtype=object) == truth for each in (first, second)]
    drawn = paired_bootstrap(first.probabilities, second.probabilities, labels, classes, groups=groups, seed=seed)
    decided = paired_bootstrap(first.decisive, second.decisive, labels, classes, groups=groups, seed=seed)
    alone = _lesions(first) == len(labels)  # McNemar's test is of independent photos
    tests: dict[str, Paired] = {"accuracy": mcnemar(*right) if alone else decided["accuracy"]}
    for k, name in enumerate(classes):
        own = labels == k
        if not own.any() or own.all():
            continue
        if len(classes) > 2 or k == 1:  # of two classes each is the other's rest: one AUC
            scores = (first.probabilities[:, k], second.probabilities[:, k])
            tests[f"auc_{name}"] = delong(*scores, own, groups)
        share = f"sensitivity_{name}"
        tests[share] = mcnemar(right[0][own], right[1][own]) if alone else decided[share]
    read_off = decided_metrics(classes)
    tests |= {name: (decided if name in read_off else drawn)[name] for name in MIXED}
    tests = {name: test for name, test in tests.items() if np.isfinite(test.p)}
    ordered = sorted(tests, key=lambda name: (name not in MIXED, list(tests).index(name)))
    adjusted = holm([tests[name].p for name in ordered])
    return tuple(Tested(name, tests[name], p) for name, p in zip(ordered, adjusted, strict=True))


def _lesions(told: Judgement) -> int:
    return len(set(told.groups) - {""}) + sum(group == "" for group in told.groups)


def _notes(everyone: Sequence[Judgement]) -> list[str]:
    first = everyone[0]
    lesions = _lesions(first)
    notes = [each.note for each in everyone if each.note]
    if lesions < len(first.images):
        notes.append(
            f"{len(first.images)} photos of {lesions} lesions: every test takes the photos of a lesion together, so "
            "shares of right decisions are tested by the bootstrap, not by McNemar's test"
        )
    if not any(first.groups):
        notes.append("which photos show the same lesion is not known of these images: each counts as independent")
    if any(each.chosen for each in everyone):
        names = ", ".join(each.name for each in everyone if each.chosen)
        notes.append(f"{names}: chosen by these very images, so a lead is partly luck; the test part would tell")
    return notes
