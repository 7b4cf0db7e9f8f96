"""What our pages are made of: one HTML file each, which asks nobody for anything and is light or dark as its reader is.

Charts are vectors in the page's own colours: drawn by matplotlib in black on white, the black becomes the colour of
the text, and the grid that of the page's lines.
"""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from lesion.augment import resize

if TYPE_CHECKING:
    import jinja2

SIDE, QUALITY = 160, 80

_COLOURS = {"#000000": "currentColor", "#ededed": "var(--line)", "#cccccc": "var(--faint)"}
_FONT = "'DejaVu Sans', 'Verdana', system-ui, sans-serif"
"""Matplotlib lays text out as wide as DejaVu Sans; what a reader has instead is no wider."""


def style() -> str:
    """The style sheet of every page."""
    return Path(__file__).with_name("page.css").read_text("utf-8")


def template(file: Path) -> jinja2.Template:
    """The template in `file`; what is put into it is escaped, and a name that it lacks is an error."""
    import jinja2  # noqa: PLC0415 - only who makes a page waits for it

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(file.parent), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.get_template(file.name)


def thumbnail(image: NDArray[np.uint8], side: int = SIDE) -> str:
    """An image (S, S, 3), uint8 RGB, as the ``src`` of an ``img``: a JPEG of `side` pixels within the text."""
    file = io.BytesIO()
    Image.fromarray(resize(np.asarray(image), side)).save(file, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def inline_svg(figure: Figure, name: str) -> str:
    """`figure` as an ``svg`` element as wide as its place; `name` keeps its ids apart from those of other charts."""
    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]  # without the prolog and what it refers to on the web
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg role="img" \1>', text, count=1)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", _FONT, text)
    for drawn, shown in _COLOURS.items():
        text = text.replace(drawn, shown)
    return text
