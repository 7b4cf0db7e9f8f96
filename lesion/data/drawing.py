"""Drawn lesions: pictures with what dermatologists look for, so that a demo and a test can learn something.

A style says how a class looks; `strength` mixes it with an ordinary mole, so that some pictures are hard and a few
hopeless. Skin tone, place, size, light, hairs and vignette vary without regard to the class. It is no model
of skin: a score on drawn lesions says that the machinery works, nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Field = NDArray[np.float32]  # half the time of float64, and no picture is finer than 1/255

_FAIR: Colour = (232, 190, 170)
_DARK: Colour = (158, 110, 86)
_WHITE: Colour = (226, 204, 194)
_OVER = 2  # drawn larger and scaled down: hairs and dots get soft edges


@dataclass(frozen=True)
class Style:
    """How a class looks. `jagged`: depth of the border's bays; `edge`: width of its fading, both in radii.

    `mottled` is the share of the area where `palette` replaces the first colour; `dots` and `vessels` are
    numbers of drawn marks; `scar` is the strength of a white centre; `skewed` that of an asymmetry.
    """

    palette: tuple[Colour, ...]
    jagged: float = 0.03
    edge: float = 0.10
    mottled: float = 0.10
    dots: int = 0
    dot: Colour = (240, 225, 205)
    vessels: int = 0
    scar: float = 0.0
    skewed: float = 0.05


NEVUS = Style(((128, 82, 56), (108, 66, 44)))
MELANOMA = Style(
    ((96, 58, 42), (44, 30, 30), (92, 90, 104), (138, 74, 62), (62, 42, 36)),
    jagged=0.20, edge=0.06, mottled=0.75, scar=0.2, skewed=0.45,
)  # fmt: skip
KERATOSIS = Style(((150, 112, 66), (126, 92, 56), (170, 134, 84)), jagged=0.07, edge=0.02, mottled=0.4, dots=22)

STYLES: Mapping[str, Style] = {
    "melanoma": MELANOMA,
    "seborrheic_keratosis": KERATOSIS,
    "nevus": NEVUS,
    "MEL": MELANOMA,
    "NV": NEVUS,
    "BCC": Style(((206, 136, 124), (150, 120, 130), (222, 160, 148)), jagged=0.08, mottled=0.3, vessels=9),
    "AKIEC": Style(
        ((204, 122, 104), (224, 176, 150)), jagged=0.12, edge=0.28, mottled=0.5, dots=26, dot=(244, 232, 220)
    ),
    "BKL": KERATOSIS,
    "DF": Style(((172, 122, 96), (150, 100, 80)), edge=0.26, mottled=0.1, scar=0.9),
    "VASC": Style(((150, 34, 48), (96, 20, 60), (190, 60, 70)), jagged=0.06, edge=0.05, mottled=0.5, dots=0),
}


def draw_lesion(
    name: str, lesion: np.random.Generator, view: np.random.Generator, width: int, height: int
) -> Image.Image:
    """Draw a lesion of the class `name`; `lesion` decides what it is, `view` how this photo shows it."""
    shape = (height * _OVER, width * _OVER)
    style, ordinary = STYLES[name], STYLES["nevus"]
    strength = lesion.beta(2.2, 1.3)
    skin = _skin(lesion, view, shape)
    distance, angle, radius = _polar(lesion, view, shape)
    jagged = ordinary.jagged + strength * (style.jagged - ordinary.jagged) + lesion.uniform(0, 0.06)
    border = _border(lesion, angle, jagged)
    inside = _fade(border - distance, style.edge * strength + ordinary.edge * (1 - strength))
    colours = _colours(style, ordinary, strength, lesion, distance, angle)
    picture = skin * (1 - inside[..., None]) + colours * inside[..., None]
    canvas = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    _draw_marks(canvas, style, strength, lesion, inside, radius)
    _draw_hairs(canvas, view)
    return _photographed(canvas, view).resize((width, height), Image.Resampling.LANCZOS)


def _vector(colour: Colour) -> Field:
    return np.array(colour, dtype=np.float32)


def _skin(lesion: np.random.Generator, view: np.random.Generator, shape: tuple[int, int]) -> Field:
    tone = lesion.beta(1.2, 2.0)
    base = _vector(_FAIR) * np.float32(1 - tone) + _vector(_DARK) * np.float32(tone)
    texture = 7 * _clouds(view, shape, 5) + 5 * _clouds(view, shape, 24) + 4 * _clouds(view, shape, 60)
    return np.asarray(base + texture[..., None] * np.array([1.0, 0.9, 0.85], dtype=np.float32))


def _clouds(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> Field:
    """Smooth noise of unit variance with about `cells` blobs a side."""
    coarse = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
    field = np.asarray(coarse.resize(shape[::-1], Image.Resampling.BICUBIC), dtype=np.float32)
    return np.asarray(field / max(float(field.std()), 1e-6))


def _polar(
    lesion: np.random.Generator, view: np.random.Generator, shape: tuple[int, int]
) -> tuple[Field, Field, float]:
    """Distance from the lesion's centre in radii, angle, and the radius in pixels."""
    height, width = shape
    radius = height * lesion.uniform(0.20, 0.36) * view.uniform(0.9, 1.1)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x -= width * (0.5 + view.uniform(-0.08, 0.08))
    y -= height * (0.5 + view.uniform(-0.08, 0.08))
    turn, squeeze = view.uniform(0, 2 * np.pi), lesion.uniform(0.82, 1.0)
    u, v = x * np.cos(turn) + y * np.sin(turn), (y * np.cos(turn) - x * np.sin(turn)) / squeeze
    return np.hypot(u, v) / radius, np.arctan2(v, u), radius


def _border(rng: np.random.Generator, angle: Field, jagged: float) -> Field:
    around = np.linspace(-np.pi, np.pi, 721)
    border = np.ones_like(around)
    for k in range(2, 9):
        border += jagged / np.sqrt(k) * rng.normal() * np.cos(k * around + rng.uniform(0, 2 * np.pi))
    return np.interp(angle, around, border).astype(np.float32)


def _fade(depth: Field, edge: float) -> Field:
    return np.asarray(1 / (1 + np.exp(-np.clip(depth / max(edge, 0.01) * 3, -40, 40))))


def _colours(
    style: Style, ordinary: Style, strength: float, rng: np.random.Generator, distance: Field, angle: Field
) -> Field:
    """(H, W, 3): the first colour, with blobs of the others and a white centre."""
    light = rng.normal(0, 12) + rng.normal(0, 3, 3)
    first = _vector(style.palette[0]) * strength + _vector(ordinary.palette[0]) * (1 - strength)
    field = np.broadcast_to((first + light).astype(np.float32), (*distance.shape, 3)).copy()
    field *= (0.86 + 0.14 * np.clip(distance, 0, 1.3))[..., None]  # pigment is denser in the middle
    tilt = style.skewed * np.cos(angle + rng.uniform(0, 2 * np.pi)) * distance
    for colour in style.palette[1:]:
        level = np.quantile(blobs := _clouds(rng, distance.shape, 6) + tilt, 1 - style.mottled * strength * 0.6)
        share = _fade(blobs - level, 0.5)[..., None]
        field = field * (1 - share) + _vector(colour) * share
    scar = style.scar * strength * np.exp(-((distance / 0.35) ** 2))
    field = field * (1 - scar[..., None]) + _vector(_WHITE) * scar[..., None]
    return np.asarray(field + 4 * _clouds(rng, distance.shape, 40)[..., None])


def _draw_marks(
    canvas: Image.Image, style: Style, strength: float, rng: np.random.Generator, inside: Field, radius: float
) -> None:
    pen = ImageDraw.Draw(canvas)
    places = np.argwhere(inside > 0.85)
    if not len(places):
        return
    for _ in range(rng.poisson(style.dots * strength)):
        y, x = places[rng.integers(len(places))]
        r = radius * rng.uniform(0.03, 0.07)
        dark = rng.random() < 0.3
        pen.ellipse((x - r, y - r, x + r, y + r), fill=(84, 56, 36) if dark else style.dot)
    for _ in range(rng.poisson(style.vessels * strength)):
        y, x = places[rng.integers(len(places))]
        _curve(pen, rng, float(x), float(y), radius * 0.6, (168, 30, 40), 2)


def _draw_hairs(canvas: Image.Image, rng: np.random.Generator) -> None:
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.poisson(6) if rng.random() < 0.4 else 0):
        x, y = rng.uniform(0, canvas.width), rng.uniform(0, canvas.height)
        shade = int(rng.integers(15, 60))
        _curve(pen, rng, x, y, canvas.height * 0.7, (shade, shade - 8, shade - 12), int(rng.integers(1, 4)))


def _curve(
    pen: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, y: float, length: float, colour: Colour, width: int
) -> None:
    heading, bend, steps = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.08), 12
    points = [(x, y)]
    for _ in range(steps):
        x, y, heading = x + np.cos(heading) * length / steps, y + np.sin(heading) * length / steps, heading + bend
        points.append((x, y))
    pen.line(points, fill=colour, width=width, joint="curve")


def _photographed(canvas: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Light, its colour, grain, and for some the dark corners of the dermatoscope."""
    light = (rng.uniform(0.88, 1.08) * rng.normal(1.0, 0.025, 3)).astype(np.float32)
    picture = np.asarray(canvas, dtype=np.float32) * light
    picture += 3 * rng.standard_normal(picture.shape, dtype=np.float32)
    if rng.random() < 0.35:
        y, x = np.mgrid[-1 : 1 : canvas.height * 1j, -1 : 1 : canvas.width * 1j]
        field = np.hypot(x, y * canvas.height / canvas.width)
        picture *= _fade(rng.uniform(0.9, 1.1) - field, 0.12)[..., None]
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
