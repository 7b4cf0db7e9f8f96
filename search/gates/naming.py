"""Names in a gates file against the classes that a model tells apart: wrong ones are told before anything is opened.

A file is read without them, and may be of another data set: ISIC 2017 says melanoma where ISIC 2018 says MEL.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lesion.errors import unknown
from lesion.metrics.catalogue import METRICS, split_name
from lesion.rules import suspected
from search.errors import PromotionError
from search.gates.bounds import chance
from search.gates.reading import Gates


def require_known(gates: Gates, classes: Sequence[str]) -> None:
    """Raise PromotionError, with all of them, where `gates` name classes or scores of classes that are not these."""
    mistakes = list(_mistakes(gates, classes))
    if mistakes:
        known = f"the gates of {gates.file} are judged for the classes {', '.join(classes)}"
        raise PromotionError("\n".join([f"{known}; nothing was opened", *mistakes]))


def _mistakes(gates: Gates, classes: Sequence[str]) -> Iterator[str]:
    for part, gate in (("operating_point", gates.operating_point), ("sensitivity", gates.sensitivity)):
        for name in (gate and gate.of) or ():
            if name not in classes:
                yield f"{_place(gates, part, name)}{part}, of: {_no_class(name, classes)}"
    for metric in gates.metrics:
        name, place = metric.metric, _place(gates, "metrics", metric.metric)
        yield from _metric(f"{place}metrics", name, classes)
        if metric.kind == "above_chance" and metric.bound + (guessed := chance(name, classes)) > 1:
            most = f"guessing reaches {guessed:.3f} of {len(classes)} classes: no model is more than {1 - guessed:.3f}"
            yield f"{place}metrics, {name}: above_chance is {metric.bound:g}, and {most} above"
    for name in () if gates.champion is None else gates.champion.metrics:
        yield from _metric(f"{_place(gates, 'champion', name)}champion, metrics", name, classes)


def _place(gates: Gates, part: str, name: str) -> str:
    """File and line of a name, as mistakes of a file begin; "" for gates that were read of none."""
    place = gates.places.get((part, name))
    return f"{place.file}:{place.line}: " if place else ""


def _metric(part: str, name: str, classes: Sequence[str]) -> Iterator[str]:
    if name not in METRICS and (label := split_name(name)[1]) not in classes:
        yield f"{part}, {name}: {_no_class(label, classes)}"


def _no_class(name: str, classes: Sequence[str]) -> str:
    told = unknown("class", name, classes)
    if "did you mean" not in told and suspected([name]) and suspected(classes):  # MEL is far from melanoma in letters
        return f"{told} (did you mean {suspected(classes)[0]!r}?)"
    return told
