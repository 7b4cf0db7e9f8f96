"""The anatomy of a network that is run whole: which of its modules run, in what order, and where its map shrinks.

torchvision's models are cut by a rule for each family (`lesion/models/cuts.py`). For a hundred families there is no
such list, so the network is run once on the meta device, where nothing is computed, and watched. It is cut into units,
the largest modules in which the map shrinks at most once, and a stage ends before a unit that shrinks it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isqrt
from typing import Any

import torch
from torch import nn

SHRINKS_ONCE = 3.0
"""A module whose map is at most so many times smaller has shrunk it once: 5 → 2 places is one halving."""


@dataclass(frozen=True)
class Anatomy:
    """Stages as names of modules, in the order in which they run, and the children that do not run."""

    stages: tuple[tuple[str, ...], ...]
    idle: tuple[str, ...]


@dataclass
class _Pass:
    """The sides of the map before and after a module."""

    before: int | None
    after: int | None = None

    @property
    def factor(self) -> float:
        """How many times smaller the map became."""
        return 1.0 if not self.before or not self.after else self.before / self.after


@dataclass(frozen=True)
class _Run:
    """What was seen: the passes of modules, and when each began, or the first of those inside it."""

    passes: dict[str, _Pass] = field(default_factory=dict)
    begun: dict[str, int] = field(default_factory=dict)

    def begin(self, name: str, given: Any) -> None:
        self.passes.setdefault(name, _Pass(_side(given)))
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            self.begun.setdefault(".".join(parts[:depth]), len(self.begun))


def dissect(model: nn.Module, features: Callable[[torch.Tensor], Any], images: torch.Tensor) -> tuple[Anatomy, Any]:
    """Run ``features(images)`` of a `model` on the meta device; returns its anatomy and what `features` gave."""
    run = _Run()
    given = _watch(model, features, images, run)
    units = [unit for child in _children("", model, run) for unit in _units(*child, run)]
    stages = _with_parameters(model, _stages(units, run))
    if len(stages) < 3:
        stages = _quarters(model, units, run) or stages
    idle = [name for name, child in model.named_children() if name not in run.begun and _has_parameters(child)]
    return Anatomy(tuple(map(tuple, stages)), tuple(idle)), given


def _watch(model: nn.Module, features: Callable[[torch.Tensor], Any], images: torch.Tensor, run: _Run) -> Any:
    def begin(name: str) -> Callable[..., None]:
        return lambda module, given: run.begin(name, given)

    def end(name: str) -> Callable[..., None]:
        return lambda module, given, made: setattr(run.passes[name], "after", _side(made))

    named = [(name, module) for name, module in model.named_modules() if name]
    hooks = [module.register_forward_pre_hook(begin(name)) for name, module in named]
    hooks += [module.register_forward_hook(end(name)) for name, module in named]
    try:
        with torch.no_grad():
            return features(images)
    finally:
        for hook in hooks:
            hook.remove()


def _side(value: Any) -> int | None:
    """Shorter side of the first map or row of tokens in `value`, whichever axis its channels are on."""
    if isinstance(value, (tuple, list)):
        return next((side for part in value if (side := _side(part)) is not None), None)
    if not isinstance(value, torch.Tensor) or value.ndim not in (3, 4):
        return None
    if value.ndim == 3:
        return isqrt(value.shape[1])
    _, a, b, c = value.shape
    return min(a, b) if a == b else min(b, c)


def _children(name: str, module: nn.Module, run: _Run) -> list[tuple[str, nn.Module]]:
    """The children that run, or in which something does, in the order in which they begin."""
    inside = [(f"{name}.{child}" if name else child, part) for child, part in module.named_children()]
    return sorted((pair for pair in inside if pair[0] in run.begun), key=lambda pair: run.begun[pair[0]])


def _units(name: str, module: nn.Module, run: _Run) -> list[str]:
    """`name` itself, or the units among its children where the map shrinks more than once, or it is only a list."""
    if name in run.passes and not _shrinks_repeatedly(name, module, run):
        return [name]
    return [unit for child in _children(name, module, run) for unit in _units(*child, run)]


def _shrinks_repeatedly(name: str, module: nn.Module, run: _Run) -> bool:
    whole = run.passes[name].factor
    if whole < SHRINKS_ONCE:
        return False
    shrunk = {other for other, seen in run.passes.items() if seen.factor > 1}
    parts = [(child, part) for child, part in _children(name, module, run) if child in shrunk]
    return any(run.passes[child].factor < whole or _shrinks_repeatedly(child, part, run) for child, part in parts)


def _stages(units: Sequence[str], run: _Run) -> list[list[str]]:
    stages: list[list[str]] = [[]]
    smallest: int | None = None
    for unit in units:
        side = run.passes[unit].after
        if side is not None and (smallest is None or side < smallest):
            smallest = side
            if stages[-1]:
                stages.append([])
        stages[-1].append(unit)
    return stages


def _with_parameters(model: nn.Module, stages: list[list[str]]) -> list[list[str]]:
    """A stage of pooling alone has nothing to train: it goes with the stage behind it, or before it at the end."""
    joined: list[list[str]] = [[]]
    for stage in stages:
        if any(_has_parameters(model.get_submodule(unit)) for unit in joined[-1]):
            joined.append([])
        joined[-1] += stage
    if len(joined) > 1 and not any(_has_parameters(model.get_submodule(unit)) for unit in joined[-1]):
        pooling = joined.pop()
        joined[-1] += pooling
    return joined


def _quarters(model: nn.Module, units: Sequence[str], run: _Run) -> list[list[str]]:
    """Four stages of equal depth, cut through the longest row of like modules; nothing where no row has four."""
    rows = {name: _children(name, module, run) for name, module in model.named_modules() if name in run.begun}
    alike = [name for name, row in rows.items() if len(row) >= 4 and len({type(part) for _, part in row}) == 1]
    if not alike:
        return []
    longest = max(alike, key=lambda name: sum(p.numel() for p in model.get_submodule(name).parameters()))
    units = [part for unit in units for part in _opened(unit, longest, rows)]
    inside = [at for at, unit in enumerate(units) if unit.startswith(f"{longest}.")]
    ends = [inside[len(inside) * quarter // 4] for quarter in (1, 2, 3)]
    return [units[a:b] for a, b in pairwise((0, *ends, len(units)))]


def _opened(unit: str, row: str, rows: Mapping[str, list[tuple[str, nn.Module]]]) -> list[str]:
    """`unit`, or its parts where `row` is inside it, down to the parts of `row` itself."""
    if unit != row and not row.startswith(f"{unit}."):
        return [unit]
    return [part for child, _ in rows[unit] for part in _opened(child, row, rows)]


def _has_parameters(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())
