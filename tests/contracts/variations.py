"""Every component with its defaults, and with each of its settings at every choice and at both ends of its range."""

from collections.abc import Iterator
from typing import Any

import pytest

from lesion.registry import Component, Registry, Setting

LARGEST = 7
"""Whole numbers go no further: layers of the largest allowed take gigabytes, and classes here have few images."""


def every(registry: Registry) -> pytest.MarkDecorator:
    """Parameters `name` and `given`, one thing off its default at a time."""
    cases = [(name, given) for name, component in registry.items() for given in variations(component)]
    return pytest.mark.parametrize(("name", "given"), cases, ids=[_told(name, given) for name, given in cases])


def variations(component: Component) -> Iterator[dict[str, Any]]:
    """Settings that a space file may give."""
    yield {}
    for setting in component.settings.values():
        yield from ({setting.name: value} for value in _values(setting) if value != setting.default)


def _values(setting: Setting) -> Iterator[Any]:
    if setting.choices or bool in setting.types:
        yield from setting.choices or (True, False)
    elif setting.range is not None:
        whole = float not in setting.types
        for end in (setting.range.low, setting.range.high):
            if end is not None:
                yield min(int(end), LARGEST) if whole else float(end)


def _told(name: str, given: dict[str, Any]) -> str:
    return "-".join([name, *(f"{setting}={value}" for setting, value in given.items())])
