"""The registry reads a signature as a schema."""

from typing import Annotated, Literal

import pytest

from lesion.errors import SettingError
from lesion.registry import Component, Range, Registry

things = Registry("thing")


@things.register
def sample(
    given: object,
    *,
    rate: Annotated[float, Range(0.0, 1.0)],
    count: Annotated[int, Range(1, None)] | None = None,
    mode: Literal["a", "b"] = "a",
    views: Literal[1, 2] = 1,
    flag: bool = False,
) -> None:
    """A thing.

    More of it.
    """


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("rate", 1.5, "rate is 1.5, must be from 0 to 1"),
        ("rate", float("nan"), "rate is nan, must be finite"),
        ("rate", "high", "rate is 'high', must be float"),
        ("rate", True, "rate is True, must be float"),
        ("count", 0, "count is 0, must be at least 1"),
        ("count", 1.5, "count is 1.5, must be int or nothing"),
        ("mode", "c", "no mode 'c'; known: a, b"),
        ("views", True, "no views 'True'; known: 1, 2"),
        ("flag", 1, "flag is 1, must be bool"),
        ("rat", 1.0, r"no setting of thing sample 'rat'; known: .* \(did you mean 'rate'\?\)"),
    ],
)
def test_a_bad_value_is_refused_with_the_rule(setting, value, message):
    with pytest.raises(SettingError, match=message):
        things["sample"].setting(setting).check(value)


def test_fill_completes_with_defaults():
    assert things["sample"].fill({"rate": 1}) == {"rate": 1, "count": None, "mode": "a", "views": 1, "flag": False}


def test_a_required_setting_is_asked_for():
    with pytest.raises(SettingError, match="thing sample needs rate"):
        things["sample"].fill({})


def test_a_name_is_given_once():
    with pytest.raises(ValueError, match="registered twice"):
        things.register(sample)


def test_summary_is_the_first_line():
    assert things["sample"].summary == "A thing."


def test_a_family_is_asked_for_names_that_nothing_was_registered_under():
    registry = Registry("shape")

    @registry.register(corrects=lambda settings: settings.get("sides") == 3)
    def polygon(*, sides: int = 4) -> int:
        """A polygon."""
        return sides

    def stars(name: str) -> Component | None:
        if not name.startswith("star/"):
            return None
        if not name[5:].isdigit():
            raise SettingError(f"shape {name}: a star has a number of points")
        return Component("shape", name, lambda: int(name[5:]))

    registry.add_family(stars)
    assert registry["star/5"].build() == 5
    assert "star/5" in registry
    assert "star/many" not in registry
    assert list(registry) == ["polygon"]
    with pytest.raises(SettingError, match="a star has a number of points"):
        registry["star/many"]
    with pytest.raises(SettingError, match="no shape 'sphere'; known: polygon"):
        registry["sphere"]
    assert registry["polygon"].corrects({"sides": 3})
    assert not registry["polygon"].corrects({})
    assert not registry["star/5"].corrects({})
