"""Tasks: which classes of a data set a model tells apart, each alone, or several taken together.

A data set says what each lesion is; a task says what is asked: one class against the rest, or any grouping in which
every class has its place.

>>> Task.read("melanoma", ("melanoma", "seborrheic_keratosis", "nevus")).groups
{'rest': ('seborrheic_keratosis', 'nevus'), 'melanoma': ('melanoma',)}
>>> Task.read({"benign": "rest", "malignant": ["MEL", "BCC"]}, ("MEL", "NV", "BCC")).groups
{'benign': ('NV',), 'malignant': ('MEL', 'BCC')}

Images, splits and lesions stay what they are; labels and class names become those of the groups.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from lesion.data.packed import PackedDataset
from lesion.errors import SettingError, unknown

Spec: TypeAlias = "str | Mapping[str, str | Sequence[str]] | Sequence[Sequence[Any]]"
"""A task as it is written: one class, or groups by name; the groups may also be pairs, as JSON keeps their order."""
Spelled: TypeAlias = "list[list[str | list[str]]]"

REST = "rest"
"""Name of the other side of one class; as the value of a group: every class that no other group has."""
GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}")
"""What a group may be called: its name becomes part of the names of metrics and columns."""


@dataclass(frozen=True)
class Task:
    """Groups of classes by name, in the order of the model's outputs; every class of the data in exactly one."""

    groups: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, spec: Spec, classes: Sequence[str]) -> Task:
        """The task that `spec` means for a data set of `classes`; SettingError says all that is wrong with it."""
        written = spelled(spec)
        named = [label for _, members in written if members != REST for label in members]
        problems = [unknown("class", label, classes) for label in dict.fromkeys(named) if label not in classes]
        left = tuple(label for label in classes if label not in named)
        rest = [name for name, members in written if members == REST]
        if left and not rest and not problems:
            problems.append(
                f"{', '.join(left)} {'is' if len(left) == 1 else 'are'} in no group: every class needs its place; "
                f"add it to one, or write one group as '{REST}'"
            )
        if rest and not left and not problems:
            problems.append(f"nothing is left for {rest[0]}: the other groups have every class already")
        if problems:
            raise SettingError("task: " + "; ".join(problems))
        chosen = {str(name): left if members == REST else members for name, members in written}
        return cls({name: tuple(label for label in classes if label in members) for name, members in chosen.items()})

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the groups: the classes of whatever is trained on this task."""
        return tuple(self.groups)

    def apply(self, data: PackedDataset) -> PackedDataset:
        """`data` with labels and classes of the groups; its content hash is that of data and task together.

        Raises SettingError unless every class of `data` is in a group.
        """
        group_of = {label: number for number, members in enumerate(self.groups.values()) for label in members}
        strangers = [label for label in data.classes if label not in group_of]
        if strangers:
            raise SettingError(f"task: {', '.join(strangers)} of {data.path} in no group; the groups: {self}")
        to_group = np.array([group_of[label] for label in data.classes], dtype=np.int64)
        table = data.table.assign(label=to_group[data.labels])
        content = hashlib.sha256(f"{data.content_hash} {json.dumps(list(self.groups.items()))}".encode()).hexdigest()
        facts = {each.name: getattr(data, each.name) for each in fields(PackedDataset)}
        facts |= {"classes": self.classes, "content_hash": content, "table": table}
        return _Regrouped(**facts, original=data, task=self)

    def __str__(self) -> str:
        return described([[name, list(members)] for name, members in self.groups.items()])

    def __eq__(self, other: object) -> bool:
        # Mappings are equal in any order; here the order is that of the model's outputs.
        return isinstance(other, Task) and list(self.groups.items()) == list(other.groups.items())

    def __hash__(self) -> int:
        return hash(tuple(self.groups.items()))


def spelled(spec: Spec) -> Spelled:
    """`spec` as JSON keeps it: [group, classes or "rest"] in order; SettingError where it is no task.

    Two ways to write one task are spelled alike:

    >>> spelled("melanoma") == spelled({"rest": "rest", "melanoma": ["melanoma"]})
    True
    """
    if isinstance(spec, str):
        spec = {REST: REST, spec: [spec]} if spec != REST else {}
    pairs = list(spec.items()) if isinstance(spec, Mapping) else [tuple(pair) for pair in spec]
    written: Spelled = [
        [name, members if members == REST else sorted(_listed(members), key=str)] for name, members in pairs
    ]
    problems = _problems(written)
    if problems:
        raise SettingError("task: " + "; ".join(problems))
    return written


def described(written: Sequence[Sequence[Any]]) -> str:
    """A spelled task in words.

    >>> described(spelled({"benign": ["nevus", "seborrheic_keratosis"], "melanoma": ["melanoma"]}))
    'benign (nevus, seborrheic_keratosis) | melanoma'
    """
    words = []
    for name, members in written:
        inside = "the rest" if members == REST else ", ".join(members)
        words.append(name if members in (name, [name]) else f"{name} ({inside})")
    return " | ".join(words)


def _listed(members: Any) -> list[str]:
    return [members] if isinstance(members, str) else list(members)


def _problems(written: Spelled) -> list[str]:
    names = [str(name) for name, _ in written]
    problems = [
        f"{name!r} is no name of a group: letters, digits, blanks, _ - and ."
        for name in names
        if not GROUP.fullmatch(name)
    ]
    if len(names) < 2:
        problems.append("it takes one class that is told from the rest, or two groups or more")
    problems += [f"the group {name} has no class" for name, members in written if not members]
    problems += [
        f"{label!r} in group {name} is no name of a class"
        for name, members in written
        for label in members
        if not isinstance(label, str)
    ]
    if sum(members == REST for _, members in written) > 1:
        problems.append(f"only one group can be the '{REST}'")
    named = [label for _, members in written if members != REST for label in members]
    problems += [f"{label} is in two groups" for label in dict.fromkeys(named) if named.count(label) > 1]
    return problems + [f"{name} is given twice" for name in dict.fromkeys(names) if names.count(name) > 1]


@dataclass(frozen=True)
class _Regrouped(PackedDataset):
    """A packed set seen through a task."""

    original: PackedDataset = field(repr=False, kw_only=True)
    task: Task = field(kw_only=True)

    def __reduce__(self) -> tuple[Callable[..., PackedDataset], tuple[Any, ...]]:
        return _regroup, (self.path, self.task)

    def verify(self) -> None:
        """As `PackedDataset.verify`: the hash of what is on the disk."""
        self.original.verify()


def _regroup(path: Path, task: Task) -> PackedDataset:
    return task.apply(PackedDataset.open(path))
