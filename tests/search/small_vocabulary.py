"""A vocabulary of a few components, so that messages about space files do not change with every new loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from lesion.errors import SettingError
from lesion.registry import Component, Range, Registry, Setting, Value
from search.space import Vocabulary
from search.space.vocabulary import direction

backbones, losses, balancings = Registry("backbone"), Registry("loss"), Registry("balancing")


@backbones.register
def resnet(*, weights: str = "none", stages: Annotated[int, Range(1, 5)] | None = None, frozen: bool = False) -> None:
    """A backbone with a text, an optional number and a truth value."""


@backbones.register
def vgg(*, depth: Annotated[int, Range(11, 19)]) -> None:
    """A backbone that needs its depth."""


@losses.register
def cross_entropy(*, smoothing: Annotated[float, Range(0, 0.9)] = 0.0) -> None:
    """A loss."""


@losses.register
def focal(*, gamma: Annotated[float, Range(0, 10)] = 2.0, reduce: Literal["mean", "sum"] = "mean") -> None:
    """A loss with a choice of words."""


@losses.register(corrects=lambda settings: settings.get("exponent") != 0)
def weighted(*, exponent: Annotated[float, Range(0, 2)] = 1.0) -> None:
    """A loss that corrects imbalance unless its exponent is 0."""


@balancings.register
def none() -> None:
    """No resampling."""


@balancings.register(corrects=lambda settings: True)
def oversample(*, ratio: Annotated[float, Range(0, 1)] = 1.0) -> None:
    """Resampling."""


@balancings.register(corrects=lambda settings: True)
def downsample(*, ratio: Annotated[float, Range(1, None)] = 1.0) -> None:
    """Resampling."""


@dataclass(frozen=True)
class Chain(Component):
    """Balancings joined by +, their settings by the name of their link."""

    @property
    def settings(self) -> Mapping[str, Setting]:  # type: ignore[override]
        """Of all links."""
        links = [balancings[link] for link in self.name.split("+")]
        return {
            f"{link.name}.{name}": replace(setting, name=f"{link.name}.{name}")
            for link in links
            for name, setting in link.settings.items()
        }


def chain(name: str) -> Component | None:
    """A family of chains."""
    if "+" not in name:
        return None
    if missing := [link for link in name.split("+") if link not in balancings]:
        raise SettingError(f"balancing {name}: no balancing {missing[0]!r}")
    return Chain("balancing", name, lambda: None, lambda settings: True)


def net(name: str) -> Component | None:
    """A family of backbones with dots in their names."""
    return Component("backbone", name, resnet) if name.startswith("net/") else None


balancings.add_family(chain)
backbones.add_family(net)


def general(
    *,
    image_size: Annotated[int, Range(16, 1024)] = 128,
    decay: Annotated[float, Range(0, 1)] = 0.0,
    views: Literal[1, 2, 4] = 1,
) -> None:
    """General settings."""


KINDS = {registry.kind: registry for registry in (backbones, losses, balancings)}


def corrects(kind: str, name: str, settings: Mapping[str, Value]) -> bool:
    """As the components say: balancing always, a weighted loss with an exponent."""
    return KINDS[kind][name].corrects(settings)


def resolve(flat: Mapping[str, Any]) -> None:
    """Every setting belongs to the chosen component and has its type; large images are too much for a VGG."""
    for path, value in flat.items():
        kind, *rest = path.split(".", 1)
        if not rest and kind in KINDS:
            own = f"{kind}.{value}."
            KINDS[kind][value].fill({p.removeprefix(own): v for p, v in flat.items() if p.startswith(own)})
        elif not rest:
            Component("training", "general", general).setting(kind).check(value)
        elif not rest[0].startswith(f"{flat[kind]}."):
            raise SettingError(f"{path} is set, but the {kind} is {flat[kind]}")
    if flat.get("backbone") == "vgg" and flat.get("image_size", 0) > 512:
        raise SettingError("a vgg takes images of 512 pixels at most")


def build(flat: Mapping[str, Any], classes: Sequence[str]) -> None:
    """Nothing is built."""
    resolve(flat)


WORDS = Vocabulary(
    KINDS, Component("training", "general", general), direction, corrects, resolve, build, frozenset({"balancing"})
)
