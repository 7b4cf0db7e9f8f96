"""The tree of a space: kinds, their options, the options' settings, and every branch through it.

A branch is one option of every kind. Branches are numbered, so that a space of millions can be counted by
arithmetic, walked in constant memory and sampled without listing it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lesion.registry import Value
from search.space.domains import Domain, Fixed

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Settings = dict[str, Value]
"""Flat settings of a trial: dotted path → scalar."""


@dataclass(frozen=True)
class Option:
    """A component that a kind may be, with its settings; `corrects`: it can correct class imbalance."""

    name: str
    settings: tuple[tuple[str, Domain], ...] = ()
    corrects: bool = False


@dataclass(frozen=True)
class Part:
    """A kind and its options, in canonical order."""

    kind: str
    options: tuple[Option, ...]

    @property
    def searched(self) -> bool:
        """Whether there is anything to choose."""
        return len(self.options) > 1

    def option(self, name: Value) -> Option | None:
        """The option called `name`."""
        return next((option for option in self.options if option.name == name), None)


@dataclass(frozen=True)
class Branch:
    """One option of every kind, by name."""

    choices: tuple[tuple[str, str], ...]

    def __getitem__(self, kind: str) -> str:
        return dict(self.choices)[kind]

    def __str__(self) -> str:
        return ", ".join(f"{kind} {name}" for kind, name in self.choices)


@dataclass(frozen=True)
class Parameter:
    """One searched parameter: its dotted name, its domain in words, and when it is asked for."""

    name: str
    distribution: str
    condition: str = ""


@dataclass(frozen=True)
class Tree:
    """General settings and parts.

    With `balance_once`, no branch holds two options that correct imbalance: after one did, a later part keeps
    only those of its options that do not.
    """

    general: tuple[tuple[str, Domain], ...]
    parts: tuple[Part, ...]
    balance_once: bool = False

    def open_options(self, part: Part, corrected: bool) -> tuple[Option, ...]:
        """The options left for `part` once imbalance is `corrected`, or not, by an earlier part."""
        if self.balance_once and corrected:
            return tuple(option for option in part.options if not option.corrects)
        return part.options

    def sample(self, trial: BaseTrial) -> Settings:
        """Complete flat settings, define-by-run: only the branch taken is asked for."""
        settings: Settings = {name: domain.suggest(trial, name) for name, domain in self.general}
        corrected = False
        for part in self.parts:
            options = self.open_options(part, corrected)
            names = [option.name for option in options]
            chosen = names[0] if len(names) == 1 else trial.suggest_categorical(part.kind, names)
            option = options[names.index(str(chosen))]
            settings[part.kind] = option.name
            for name, domain in option.settings:
                path = f"{part.kind}.{option.name}.{name}"
                settings[path] = domain.suggest(trial, path)
            corrected = corrected or option.corrects
        return settings

    def branch_count(self) -> int:
        """How many branches there are, without listing them."""
        return self._count(0, False)

    def _count(self, first: int, corrected: bool) -> int:
        """Branches through the parts from number `first` on."""
        free, used = (0, 1) if corrected else (1, 0)  # ways to get here, by whether imbalance is corrected
        for part in self.parts[first:]:
            plain = sum(not option.corrects for option in part.options)
            correcting = len(part.options) - plain
            again = 0 if self.balance_once else correcting
            free, used = free * plain, used * (plain + again) + free * correcting
        return free + used

    def branch(self, index: int) -> Branch:
        """Branch number `index`; IndexError outside 0 … branch_count() − 1."""
        if not 0 <= index < self.branch_count():
            raise IndexError(f"no branch {index} of {self.branch_count()}")
        choices: list[tuple[str, str]] = []
        corrected = False
        for number, part in enumerate(self.parts):
            for option in self.open_options(part, corrected):
                below = self._count(number + 1, corrected or option.corrects)
                if index < below:
                    break
                index -= below
            choices.append((part.kind, option.name))
            corrected = corrected or option.corrects
        return Branch(tuple(choices))

    def branches(self) -> Iterator[Branch]:
        """Every branch, one at a time."""
        return map(self.branch, range(self.branch_count()))

    def example(self, branch: Branch) -> Settings:
        """Settings of `branch` in the middle of every range."""
        return self._probe(branch, 1)

    def corners(self, branch: Branch) -> tuple[Settings, Settings]:
        """Settings of `branch` at the low and at the high end of every range."""
        return self._probe(branch, 0), self._probe(branch, 2)

    def _probe(self, branch: Branch, which: int) -> Settings:
        settings: Settings = {name: domain.probes[which] for name, domain in self.general}
        for part in self.parts:
            option = part.option(branch[part.kind])
            if option is None:
                raise KeyError(f"{part.kind} {branch[part.kind]} is not in this space")
            settings[part.kind] = option.name
            for name, domain in option.settings:
                settings[f"{part.kind}.{option.name}.{name}"] = domain.probes[which]
        return settings

    def parameters(self) -> Iterator[Parameter]:
        """Every searched parameter, in the order in which they are asked for."""
        for name, domain in self.general:
            if domain.searched:
                yield Parameter(name, str(domain))
        corrected: list[str] = []
        for part in self.parts:
            names = [option.name for option in part.options]
            if part.searched:
                narrowed = self.balance_once and corrected and any(o.corrects for o in part.options)
                condition = f"unless {' or '.join(corrected)}" if narrowed else ""
                yield Parameter(part.kind, "one of " + ", ".join(names), condition)
            corrected += [f"{part.kind} is {option.name}" for option in part.options if option.corrects]
            for option in part.options:
                condition = f"{part.kind} is {option.name}" if part.searched else ""
                for name, domain in option.settings:
                    if domain.searched:
                        yield Parameter(f"{part.kind}.{option.name}.{name}", str(domain), condition)

    def domains(self) -> Mapping[str, Domain]:
        """The domain of every setting by dotted path, fixed ones too; kinds are not among them."""
        paths = {
            f"{part.kind}.{option.name}.{name}": domain
            for part in self.parts
            for option in part.options
            for name, domain in option.settings
        }
        return {**dict(self.general), **paths}

    def fixed(self) -> Settings:
        """What every trial of this space has in common."""
        return {name: domain.value for name, domain in self.general if isinstance(domain, Fixed)}
