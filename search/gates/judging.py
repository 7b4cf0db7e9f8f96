"""Gates and evidence → verdicts: what fails stops the promotion.

What cannot be judged is said and stops nothing, unless the file requires it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from lesion.evaluation import Evaluation, decided_metrics
from lesion.metrics import (
    INFLATED,
    Interval,
    difference_interval,
    lesions_of,
    limited_by,
    metrics_of,
    resamples,
    sampled_share,
    share_interval,
)
from lesion.metrics.curves import rank
from lesion.metrics.scores import sampled_report
from lesion.metrics.variance import ROUNDING
from lesion.rules import probability_of, suspected
from lesion.subgroups import Subgroup, subgroups
from search.gates.bounds import chance
from search.gates.naming import require_known
from search.gates.reading import ChampionGate, Gates, MetricGate, SensitivityGate, SubgroupGate
from search.gates.verdict import ENDS, Verdict, bounded

Floats = npt.NDArray[np.float64]

SAMPLES = 1000
SEED = 0
UNPAIRED = "chance makes both models' larger, and not by the same: compare log_loss or brier"


@dataclass(frozen=True, eq=False)
class Champion:
    """The present champion on the same images, or `problem`: why it cannot be compared.

    `learnt` says why these images cannot judge it: it has learnt from them, or nobody knows that it has not.
    """

    version: int
    evaluation: Evaluation | None = None
    problem: str = ""
    learnt: str = ""


@dataclass(frozen=True, eq=False)
class Candidate:
    """What is judged: scores of a part of the data, and its table (age, sex, site, group), row for row."""

    evaluation: Evaluation
    table: pd.DataFrame

    @property
    def samples(self) -> Floats:
        """The bootstrap samples that all comparisons share, (samples, N)."""
        return resamples(self.evaluation.labels, groups=self.groups, samples=SAMPLES, seed=SEED)

    @property
    def lesions(self) -> npt.NDArray[np.int64]:
        """Lesions of each class, (classes,)."""
        return lesions_of(self.evaluation.labels, self.evaluation.classes, self.groups)

    @property
    def groups(self) -> list[str]:
        """Lesion ids, "" where unknown."""
        return list(map(str, self.table["group"]))


def judge(gates: Gates, candidate: Candidate, champion: Champion | None) -> tuple[Verdict, ...]:
    """Every verdict, in the order of the file; PromotionError where the file names a class that the model has not."""
    require_known(gates, candidate.evaluation.classes)
    verdicts = [_metric(gate, candidate.evaluation) for gate in gates.metrics]
    if gates.sensitivity is not None:
        verdicts += _insisted(gates.sensitivity.required, [_sensitivity(gates.sensitivity, candidate)])
    if gates.subgroups is not None:
        verdicts += _insisted(gates.subgroups.required, _subgroups(gates.subgroups, candidate))
    if gates.champion is not None:
        # Where there is no other there is nothing to be worse than: else no model could ever be the first.
        required = gates.champion.required and champion is not None
        verdicts += _insisted(required, _champion(gates.champion, candidate, champion))
    return tuple(verdicts)


def _insisted(required: bool, verdicts: list[Verdict]) -> list[Verdict]:
    """The verdicts; where they are `required`, what is not judged fails."""
    if not required:
        return verdicts
    return [
        replace(each, outcome="failed", why=f"required, and not judged: {each.why}")
        if each.outcome == "not judged"
        else each
        for each in verdicts
    ]


def looked_for(of: tuple[str, ...] | None, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The classes that a gate is of; empty where it goes by melanoma and there is none."""
    return suspected(classes) if of is None else of


def _metric(gate: MetricGate, evaluation: Evaluation) -> Verdict:
    guessed = chance(gate.metric, evaluation.classes) if gate.kind == "above_chance" else 0.0
    least = gate.kind != "at_most"
    return bounded(gate.metric, evaluation.intervals[gate.metric], gate.bound + guessed, gate.by, least=least)


def _sensitivity(gate: SensitivityGate, candidate: Candidate) -> Verdict:
    evaluation = candidate.evaluation
    classes = looked_for(gate.of, evaluation.classes)
    name = f"sensitivity at specificity {gate.specificity:.2f}"
    rule = f"≥ {gate.at_least:.3f}"
    if not classes:
        return Verdict(name, "not judged", None, rule, "no class is called melanoma: say with 'of' what is looked for")
    positive = np.isin(evaluation.labels, [evaluation.classes.index(label) for label in classes])
    p = probability_of(evaluation.probabilities, evaluation.classes, classes)
    value = sensitivity_at(p, positive, np.ones((1, len(positive))), gate.specificity)
    sampled = sensitivity_at(p, positive, candidate.samples, gate.specificity)
    found = int(sum(candidate.lesions[evaluation.classes.index(label)] for label in classes))
    fewer = min(found, int(candidate.lesions.sum()) - found)
    photos = min(int(positive.sum()), int((~positive).sum()))
    score = share_interval(sampled_share(float(value[0]), sampled, fewer, max(fewer, photos)))
    return bounded(f"{name}, {' or '.join(classes)}", score, gate.at_least, gate.by)


def sensitivity_at(score: Floats, positive: npt.NDArray[np.bool_], samples: Floats, specificity: float) -> Floats:
    """The largest sensitivity at which specificity is at least that, in each sample; NaN where a side is missing."""
    ranking = rank(score, positive, samples)
    tpr, fpr = ranking.tpr, ranking.fpr
    best = np.where(fpr <= 1 - specificity + 1e-12, tpr, -np.inf).max(axis=1)
    return np.where(np.isnan(tpr[:, -1]) | np.isnan(fpr[:, -1]), np.nan, best)


def _subgroups(gate: SubgroupGate, candidate: Candidate) -> list[Verdict]:
    evaluation = candidate.evaluation
    right = evaluation.decisive.argmax(axis=1) == evaluation.labels
    found = subgroups(
        candidate.table, right, evaluation.labels, evaluation.classes, gate.columns, candidate.samples,
        per_class=gate.per_class,
    )  # fmt: skip
    verdicts = [verdict for group in found for verdict in _subgroup(gate, group, evaluation.classes)]
    unknown = [column for column in gate.columns if column not in {group.column for group in found}]
    if not unknown:
        return verdicts
    name = f"subgroups by {', '.join(unknown)}" if found else "subgroups"
    why = f"nothing is known of {', '.join(unknown)} of these people"
    return [*verdicts, Verdict(name, "not judged", None, f"≥ {-gate.below_all:z.3f} against all", why)]


def _subgroup(gate: SubgroupGate, group: Subgroup, classes: tuple[str, ...]) -> list[Verdict]:
    """Against all images, and by itself where the gate has a floor; both say of which of the `classes` they are."""
    name = f"{group.column} {group.name}"
    against = bounded(name, group.gap, -gate.below_all, gate.by)
    few = ""
    if group.images < gate.images:
        few = f"{group.images} images, at least {gate.images} are judged"
    elif not group.classes:
        few = f"no class has {gate.per_class} images here"
    rule = f"{against.rule} against all"
    if few:
        score = None if math.isnan(group.gap.value) else group.gap
        return [Verdict(name, "not judged", score, rule, few)]
    told = f"balanced accuracy {group.balanced_accuracy.value:.3f} on {group.images} images"
    over = f"of {', '.join(group.classes)}"
    below = f"{told}, {-group.gap.value:z.3f} below all images ({over})"
    # A group passes whatever the model does with classes of which it has few images: the rule names them.
    few_of = [name for name in classes if name not in group.classes]
    over += f" (not judged, fewer than {gate.per_class} images: {', '.join(few_of)})" if few_of else ""
    verdicts = [replace(against, rule=f"{rule}, {over}", why=against.why and below)]
    if gate.at_least > 0:
        alone = bounded(f"{name} by itself", group.balanced_accuracy, gate.at_least, gate.by)
        verdicts.append(replace(alone, rule=f"{alone.rule}, {over}", why=alone.why and f"{told} ({over})"))
    return verdicts


def _champion(gate: ChampionGate, candidate: Candidate, champion: Champion | None) -> list[Verdict]:
    rule = champion_rule(gate)
    if champion is None:
        return [Verdict("champion", "not judged", None, rule, "there is no other model to compare with")]
    if champion.learnt:
        return [Verdict("champion", "not judged", None, rule, champion.learnt)]
    if champion.evaluation is None:
        return [Verdict("champion", "failed", None, rule, champion.problem)]
    own = _sampled(candidate.evaluation, candidate.samples)
    other = _sampled(champion.evaluation, candidate.samples)
    verdicts = []
    for metric in gate.metrics:
        name = f"{metric} against version {champion.version}"
        if metric in INFLATED:
            verdicts.append(Verdict(name, "not judged", None, rule, UNPAIRED))
            continue
        sign = 1.0 if metrics_of(candidate.evaluation.classes)[metric].direction == "maximize" else -1.0
        value = sign * (candidate.evaluation.metrics[metric] - champion.evaluation.metrics[metric])
        count = limited_by(metric, candidate.evaluation.classes, candidate.lesions)
        score = difference_interval(value, sign * (own[metric] - other[metric]), count)
        if math.isnan(score.value):
            verdicts.append(Verdict(name, "not judged", None, rule, "it is not defined on these images"))
            continue
        # What is the same to the last bits but one is not worse.
        verdict = bounded(name, score, -gate.margin - ROUNDING, gate.by)
        verdicts.append(replace(verdict, rule=rule, why=verdict.why and _worse(score)))
    return verdicts


def champion_rule(gate: ChampionGate) -> str:
    """What the difference to the champion must be, in words.

    >>> champion_rule(ChampionGate(("accuracy",), 0.02, by="low"))
    '≥ -0.020 at the low end against the champion'
    >>> champion_rule(ChampionGate(("accuracy",), 0.0))
    '≥ 0.000 against the champion'
    """
    return f"≥ {-gate.margin:z.3f}{ENDS[gate.by]} against the champion"


def _worse(difference: Interval) -> str:
    if difference.value >= 0:
        return f"not worse than the champion, but that is not shown: {difference}"
    return f"worse than the champion by {-difference.value:z.3f} ({-difference.high:z.3f} to {-difference.low:z.3f})"


def _sampled(evaluation: Evaluation, samples: Floats) -> Mapping[str, Floats]:
    """Every score in each sample; those read off decisions under the decision weights."""
    plain = sampled_report(evaluation.probabilities, evaluation.labels, evaluation.classes, samples)
    if evaluation.decision_weights is None:
        return plain
    decided = sampled_report(evaluation.decisive, evaluation.labels, evaluation.classes, samples)
    return {**plain, **{name: decided[name] for name in decided_metrics(evaluation.classes)}}
