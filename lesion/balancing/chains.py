"""Chains: balancings one after the other, named by their links joined with ``+``.

>>> chain = balancings["copies+cap"]
>>> sorted(chain.settings)
['cap.count', 'cap.fraction', 'cap.of_class', 'copies.of']
>>> balancings["copies+cup"]  # doctest: +ELLIPSIS
Traceback (most recent call last):
...
lesion.errors.SettingError: balancing copies+cup: no balancing 'cup'; known: ... (did you mean 'cap'?)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lesion.balancing.draws import Draws, Part, balancings
from lesion.errors import SettingError
from lesion.registry import Component, Setting, Value

JOINT = "+"


@dataclass(frozen=True)
class Chain(Component):
    """Balancings in their order; the setting `x` of the link `name` is called `name.x`."""

    links: tuple[Component, ...] = ()

    @cached_property
    def settings(self) -> Mapping[str, Setting]:
        """The settings of all links, each by the name of its link."""
        return {
            f"{link.name}.{setting.name}": replace(setting, name=f"{link.name}.{setting.name}")
            for link in self.links
            for setting in link.settings.values()
        }

    @property
    def summary(self) -> str:
        """The links in words."""
        return f"{', then '.join(link.name for link in self.links)}."


def split_settings(links: tuple[str, ...], settings: Mapping[str, Value]) -> dict[str, dict[str, Value]]:
    """Settings of a chain by link, without the link's name.

    >>> split_settings(("copies", "cap"), {"cap.count": 5})
    {'copies': {}, 'cap': {'count': 5}}
    """
    return {
        link: {path[len(link) + 1 :]: value for path, value in settings.items() if path.startswith(f"{link}.")}
        for link in links
    }


def chain(name: str) -> Component | None:
    """The chain called `name`; None for a name without a joint, SettingError for a wrong link."""
    if JOINT not in name:
        return None
    links = _links(name)
    names = tuple(link.name for link in links)

    def build(part: Part, draws: Draws, rng: np.random.Generator, **settings: Value) -> Draws:
        for link in links:
            draws = link.build(part, draws, rng, **split_settings(names, settings)[link.name])
        return draws

    def corrects(settings: Mapping[str, Value]) -> bool:
        return any(link.corrects(split_settings(names, settings)[link.name]) for link in links)

    return Chain(balancings.kind, name, build, corrects, links)


def _links(name: str) -> tuple[Component, ...]:
    names = name.split(JOINT)
    repeated = next((link for link in names if names.count(link) > 1), None)
    if repeated is not None:
        raise SettingError(f"balancing {name}: {repeated} stands twice, and its settings would be of both")
    if "none" in names:
        raise SettingError(f"balancing {name}: none does nothing; leave it out of the chain")
    try:
        return tuple(balancings[link] for link in names)
    except SettingError as problem:
        raise SettingError(f"balancing {name}: {problem}") from None


balancings.add_family(chain)
