"""The data of a study, found again after it: where the ledger says they were, and seen through the study's task.

A data set is known by its name in the workspace, or by a path outside it, and recognised by its content hash; its test
part lies beside it, or in the workspace, and is recognised in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from lesion.data.packed import PackedDataset, open_data, open_test
from lesion.data.travel import is_source, local_copy
from lesion.errors import DataError
from lesion.tasks import Task
from search.errors import PromotionBlockedError
from search.identity import Identity
from search.workspace import Workspace


def data_of(place: Workspace, study: str, identity: Identity) -> PackedDataset:
    """The packed set that `study` was searched on; PromotionBlockedError when what is there now holds something else.

    Raises DataError where there is nothing.
    """
    openers = [partial(open_data, place.path, identity.data)]
    if identity.location:
        openers.append(partial(_at, identity.location, identity.data_hash))
    found, problem = _first_sound(openers, identity.data_hash)
    if found is not None:
        return found
    if isinstance(problem, PackedDataset):
        raise PromotionBlockedError(
            f"{study} was searched on other data than {problem.path} holds now (content hash was "
            f"{identity.data_hash[:12]}, is {problem.content_hash[:12]}); prepare the data as they were"
        )
    raise problem


def open_test_of(place: Workspace, data: PackedDataset) -> PackedDataset:
    """The test part of `data`; DataError when it has none, PromotionBlockedError when what is there is another's."""
    own = data.manifest.get("test") or {}
    homes = dict.fromkeys([data.path.absolute().parent.parent, place.path])
    if not own:
        raise DataError(f"{data.path} has no test part; prepare it again with a test share, e.g. 0.15")
    found, problem = _first_sound([partial(open_test, home, data.name) for home in homes], own["content_hash"])
    if found is not None:
        return found
    if isinstance(problem, PackedDataset):
        raise PromotionBlockedError(
            f"{problem.path} is the test part of other data than {data.path}; prepare the data again, with both parts"
        )
    raise problem


def _at(location: str, content_hash: str) -> PackedDataset:
    return PackedDataset.open(local_copy(location, content_hash) if is_source(location) else Path(location))


def through_task(identity: Identity, data: PackedDataset) -> PackedDataset:
    """`data` as the trials of the study saw them."""
    return data if identity.task is None else Task.read(identity.task, data.classes).apply(data)


def _first_sound(
    openers: Sequence[Callable[[], PackedDataset]], content_hash: str
) -> tuple[PackedDataset | None, PackedDataset | DataError]:
    """The first set of this hash, or None; and what stood in the way: a set of another hash, or no set at all."""
    others: list[PackedDataset] = []
    problems: list[DataError] = []
    for data in _opened(openers, problems):
        if data.content_hash == content_hash:
            return data, data
        others.append(data)
    return None, (others or problems)[0]


def _opened(openers: Sequence[Callable[[], PackedDataset]], problems: list[DataError]) -> Iterator[PackedDataset]:
    for opener in openers:
        try:
            yield opener()
        except DataError as problem:
            problems.append(problem)
