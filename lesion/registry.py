"""Components by name: what a trial can be made of.

A component is a function. What the training code supplies is positional; what a space file may set is
keyword-only, so the signature is the schema that space files are checked against before a GPU is booked:

>>> from typing import Annotated
>>> shapes = Registry("shape")
>>> @shapes.register
... def circle(canvas: object, *, radius: Annotated[float, Range(0, 10)] = 1.0) -> float:
...     "A circle."
...     return radius
>>> shapes["circle"].settings["radius"].check(12.0)
Traceback (most recent call last):
...
lesion.errors.SettingError: radius is 12.0, must be from 0 to 10
>>> shapes["cirle"]
Traceback (most recent call last):
...
lesion.errors.SettingError: no shape 'cirle'; known: circle (did you mean 'circle'?)
"""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, overload

from lesion.errors import SettingError, unknown

Value = bool | int | float | str | None
"""What a setting may hold: anything that a space file, a database and an MLflow parameter can spell."""

F = TypeVar("F", bound=Callable[..., Any])
REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class Range:
    """Closed range of a number, given as ``Annotated[float, Range(0, 1)]``; None leaves a side open."""

    low: float | None = None
    high: float | None = None

    def __contains__(self, value: float) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"at least {self.low:g}" if self.high is None else f"at most {self.high:g}"
        return f"from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Setting:
    """One keyword-only argument of a component: its type, default and bounds."""

    name: str
    types: tuple[type, ...]
    default: Any
    range: Range | None = None
    choices: tuple[Value, ...] = ()

    @property
    def required(self) -> bool:
        """Whether a space file has to give a value."""
        return self.default is REQUIRED

    def check(self, value: Value) -> None:
        """Raise SettingError unless `value` has the type and lies in the bounds."""
        if self.choices:
            if not any(value == choice and type(value) is type(choice) for choice in self.choices):
                raise SettingError(unknown(f"{self.name}", str(value), map(str, self.choices)))
            return
        if not self._has_type(value):
            raise SettingError(f"{self.name} is {value!r}, must be {self.type_name}")
        if isinstance(value, int | float) and not isinstance(value, bool):
            if isinstance(value, float) and not math.isfinite(value):
                raise SettingError(f"{self.name} is {value}, must be finite")
            if self.range is not None and value not in self.range:
                raise SettingError(f"{self.name} is {value}, must be {self.range}")

    def _has_type(self, value: Value) -> bool:
        if isinstance(value, bool):
            return bool in self.types
        if isinstance(value, int):
            return int in self.types or float in self.types
        return isinstance(value, self.types)

    @property
    def type_name(self) -> str:
        """The types in words, for messages."""
        return " or ".join("nothing" if t is types.NoneType else t.__name__ for t in self.types)


def _never(settings: Mapping[str, Value]) -> bool:
    return False


@dataclass(frozen=True)
class Component:
    """A registered function, with its settings read from its signature."""

    kind: str
    name: str
    build: Callable[..., Any]
    corrects: Callable[[Mapping[str, Value]], bool] = _never
    """Whether it corrects class imbalance under these settings, which may leave out what has a default."""

    @property
    def neutral(self) -> bool:
        """Whether it corrects no class imbalance, whatever its settings."""
        return self.corrects is _never

    @cached_property
    def settings(self) -> Mapping[str, Setting]:
        """What a space file may set, by name: the keyword-only arguments."""
        hints = typing.get_type_hints(self.build, include_extras=True)
        return {
            p.name: _setting(p.name, hints.get(p.name, Any), p.default)
            for p in inspect.signature(self.build).parameters.values()
            if p.kind is inspect.Parameter.KEYWORD_ONLY
        }

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.build) or "").partition("\n")[0]

    def setting(self, name: str) -> Setting:
        """The setting called `name`; SettingError names the known ones."""
        if name not in self.settings:
            raise SettingError(unknown(f"setting of {self.kind} {self.name}", name, self.settings))
        return self.settings[name]

    def fill(self, given: Mapping[str, Value]) -> dict[str, Any]:
        """Check `given` and complete it with the defaults; SettingError at the first mistake."""
        for name, value in given.items():
            self.setting(name).check(value)
        missing = [s.name for s in self.settings.values() if s.required and s.name not in given]
        if missing:
            raise SettingError(f"{self.kind} {self.name} needs {', '.join(missing)}")
        return {name: given.get(name, s.default) for name, s in self.settings.items()}


Family = Callable[[str], Component | None]
"""Finds components whose names follow a pattern, such as ``timm/<name>``."""


class Registry(Mapping[str, Component]):
    """The components of one kind, by name; iteration lists those registered one by one, not the families."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._components: dict[str, Component] = {}
        self._families: list[Family] = []

    @overload
    def register(self, function: F) -> F: ...

    @overload
    def register(self, *, corrects: Callable[[Mapping[str, Value]], bool]) -> Callable[[F], F]: ...

    def register(
        self, function: F | None = None, *, corrects: Callable[[Mapping[str, Value]], bool] = _never
    ) -> F | Callable[[F], F]:
        """Decorator: make a function known under its own name (a trailing underscore is dropped).

        `corrects` tells whether the component corrects class imbalance under given settings; none does unless it
        says so.
        """

        def known(function: F) -> F:
            self.add(function.__name__.rstrip("_"), function, corrects=corrects)
            return function

        return known if function is None else known(function)

    def add(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        corrects: Callable[[Mapping[str, Value]], bool] = _never,
    ) -> None:
        """Make `function` known as `name`; a name is given once."""
        if name in self._components:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._components[name] = Component(self.kind, name, function, corrects)

    def add_family(self, family: Family) -> None:
        """Ask `family` for every name that nothing was registered under.

        It returns the component, or None when the name is not one of its own; it raises SettingError when the name is
        its own and wrong. The components of a family are found by name and not listed: there may be no end of them.
        """
        self._families.append(family)

    def __getitem__(self, name: str) -> Component:
        if name in self._components:
            return self._components[name]
        for family in self._families:
            if (component := family(name)) is not None:
                return component
        raise SettingError(unknown(self.kind, name, self._components))

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and self[name] is not None
        except SettingError:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(self._components)

    def __len__(self) -> int:
        return len(self._components)


def _setting(name: str, hint: Any, default: Any) -> Setting:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    members, bounds = [], None
    for member in typing.get_args(hint) if is_union else (hint,):
        if typing.get_origin(member) is typing.Annotated:
            member, *extras = typing.get_args(member)  # noqa: PLW2901
            bounds = next((e for e in extras if isinstance(e, Range)), None)
        members.append(member)
    if typing.get_origin(members[0]) is typing.Literal:
        choices = typing.get_args(members[0])
        return Setting(name, tuple({type(c) for c in choices}), default, choices=choices)
    return Setting(name, tuple(members), default, bounds)
