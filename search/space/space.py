"""A space as a study uses it: what is searched, on which data, for what, and within which budget.

Two files mean the same space when their `semantics` are equal: comments, the order of keys and options, the
number of trials, hours, the scheduler and the seed do not count; what a trial can be, what it is judged by and how
long it may train do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from lesion.tasks import Spelled, described
from search.space.domains import Json
from search.space.places import nearest
from search.space.resources import Resources
from search.space.tree import Branch, Parameter, Settings, Tree

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


@dataclass(frozen=True)
class Budget:
    """How much a study may spend; None is no limit.

    `trials` in all, `epochs` for one trial at most; `hours` of wall clock for one session; `device_hours` in all, of
    GPUs, or of CPU cores where trials have no GPU. A trial that is silent for `patience_minutes` is hung (see
    `search.watchdog`). With `stop_when_flat` the study ends when nothing is to be gained (see `search.flatness`).
    """

    trials: int
    epochs: int
    hours: float | None = None
    device_hours: float | None = None
    patience_minutes: float = 60.0
    stop_when_flat: bool = False


@dataclass(frozen=True)
class Asha:
    """Asynchronous successive halving: first rung after `grace` epochs, one in `reduction` goes on."""

    grace: int = 1
    reduction: int = 3


Sampler = Literal["tpe", "random"]
"""What proposes: towards what was good so far, or every option in turn and numbers at random."""
SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)


@dataclass(frozen=True)
class Space:
    """A checked space file; picklable.

    `task` is as `lesion.tasks.spelled` gives it, None for the classes of the data set as they are. `start_with` holds
    points in the names that Optuna knows; `notes` is what was left out of them, and of components, because an override
    took it away. `places` says where each key stands, ``file:line``.
    """

    path: Path
    name: str
    description: str
    data: str
    split: str | None
    objective: str
    direction: str
    budget: Budget
    scheduler: Asha | None
    seed: int
    tree: Tree
    start_with: tuple[Settings, ...] = ()
    allow_double_balancing: bool = False
    task: Spelled | None = None
    resources: Resources = field(default_factory=Resources)
    overrides: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sampler: Sampler = "tpe"
    places: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def where(self, name: str) -> str:
        """``file:line`` of a setting or key such as ``backbone.resnet18.weights``, or of what it is part of."""
        return nearest(self.places, name) or str(self.path)

    def sample(self, trial: BaseTrial) -> Settings:
        """Complete flat settings of `trial`, fixed ones included; asks for the branch taken only."""
        return self.tree.sample(trial)

    def branches(self) -> Iterator[Branch]:
        """Every combination of components, lazily."""
        return self.tree.branches()

    def branch_count(self) -> int:
        """How many combinations of components there are."""
        return self.tree.branch_count()

    def example(self, branch: Branch) -> Settings:
        """Settings of `branch` in the middle of every range."""
        return self.tree.example(branch)

    def corners(self, branch: Branch) -> tuple[Settings, Settings]:
        """Settings of `branch` at the low and at the high end of every range."""
        return self.tree.corners(branch)

    def classes(self, data: Sequence[str]) -> tuple[str, ...]:
        """What a model of this space tells apart, on a data set of the classes `data` (none where it is not there)."""
        return tuple(data) if self.task is None else tuple(str(name) for name, _ in self.task)

    def parameters(self) -> tuple[Parameter, ...]:
        """The searched parameters: name, distribution and condition in words."""
        return tuple(self.tree.parameters())

    def semantics(self) -> dict[str, Any]:
        """What identifies this space, as JSON that a ledger can keep; see `difference`."""
        tree: dict[str, Json] = {
            "general": {name: domain.spelled() for name, domain in self.tree.general},
            "components": {
                part.kind: {
                    option.name: {name: domain.spelled() for name, domain in option.settings} for option in part.options
                }
                for part in self.tree.parts
            },
        }
        if self.tree.balance_once:
            tree["balance_once"] = True
        if self.task is not None:
            tree["task"] = cast("list[Json]", self.task)
        return {"objective": self.objective, "epochs": self.budget.epochs, **tree}

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) of the semantics."""
        canonical = json.dumps(self.semantics(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two `semantics`, in words; empty when they mean the same.

    >>> difference({"objective": "mean_auc", "epochs": 4}, {"objective": "mean_auc", "epochs": 12})
    ['epochs: was 4, is 12']
    """
    before, after = _flat(old), _flat(new)
    lines = []
    for path in sorted(before.keys() | after.keys()):
        if path not in before:
            lines.append(f"{path}: is new ({after[path]})")
        elif path not in after:
            lines.append(f"{path}: is gone (was {before[path]})")
        elif before[path] != after[path]:
            lines.append(f"{path}: was {before[path]}, is {after[path]}")
    return lines


def _flat(semantics: Mapping[str, Any]) -> dict[str, str]:
    """Dotted path → what stands there, as a space file would spell it."""
    flat = {key: _text(semantics[key]) for key in semantics.keys() - {"general", "components", "task"}}
    if "task" in semantics:
        flat["task"] = described(semantics["task"])
    flat |= {name: _text(value) for name, value in semantics.get("general", {}).items()}
    for kind, options in semantics.get("components", {}).items():
        flat[kind] = ", ".join(sorted(options))
        for option, settings in options.items():
            flat |= {f"{kind}.{option}.{name}": _text(value) for name, value in settings.items()}
    return flat


def _text(value: Json) -> str:
    return json.dumps(value).replace('"', "")
