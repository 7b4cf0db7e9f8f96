"""Explanations as files: four Grad-CAM pictures a photo, the photo, a JSON, attention, and a contact sheet of all.

The names of the four are those of system B of the published systems that `spaces/published` reproduces.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from lesion.contact_sheets import contact_sheet
from lesion.explain import Attention, Explanation, Map
from lesion.figures import write_png
from lesion.photos import Pixels
from lesion.writing import write_atomically

OPACITY = 0.45
"""Of the colours that lie on the photo."""
METHOD = "Grad-CAM (Selvaraju et al. 2017) of the last feature map of the backbone, for the logit of the target"
ROWS, SIDE = 20, 176
"""Photos on a contact sheet, and the pixels a side of each picture there."""


class ExplanationFolder:
    """Writes explanations into a folder, which is made, one after the other; `close` adds the contact sheets.

    `labels` tells the true class by the name of the photo, where it is known.
    """

    def __init__(self, folder: Path, labels: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._labels = folder, labels or {}
        self._stems: set[str] = set()
        self._rows: list[tuple[str, list[Pixels]]] = []

    def add(self, why: Explanation) -> Path:
        """Write the files of one photo and return its JSON."""
        stem = self._stem(why.name)
        coloured = colours(why.map)
        files = {
            "original": self._picture(f"{stem}_original.png", why.photo),
            "raw": self._picture(f"{stem}_gradcam_raw.png", np.round(why.map * 255).astype(np.uint8)),
            "raw_npy": self._array(f"{stem}_gradcam_raw.npy", why.map),
            "raw_color": self._picture(f"{stem}_gradcam_raw_color.png", coloured),
            "overlay": self._picture(f"{stem}_gradcam_overlay.png", overlay(why.photo, why.map)),
        }
        attention = [self._attention(stem, number, why, look) for number, look in enumerate(why.attention, 1)]
        facts = described(why, self._labels.get(why.name)) | {"attention": attention, "files": files}
        path = self.folder / f"{stem}.json"
        write_atomically(path, (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode())
        self._remember(stem, why, facts)
        return path

    def close(self) -> list[Path]:
        """Draw the contact sheets: contact_sheet.png, and so on."""
        sheets = []
        for start in range(0, len(self._rows), ROWS):
            rows = self._rows[start : start + ROWS]
            name = "contact_sheet.png" if not start else f"contact_sheet-{start // ROWS + 1}.png"
            title = "Grad-CAM: what speaks for a class"
            pictures = [each for _, each in rows]
            looks = range(1, max(map(len, pictures)) - 2)
            columns = ("photo", "on the photo", "map", *(f"look {number}" for number in looks))
            figure = contact_sheet(pictures, [label for label, _ in rows], title, columns=columns)
            sheets.append(write_png(self.folder / name, figure))
        return sheets

    def _stem(self, name: str) -> str:
        """A file name for a photo; photos of one name in several folders get a number that no other name ends in."""
        stem = re.sub(r"[^\w.-]+", "_", Path(name).stem, flags=re.ASCII) or "photo"
        numbered = (f"{stem}-{number}" for number in count(2))
        free = next(name for name in chain([stem], numbered) if name.casefold() not in self._stems)
        self._stems.add(free.casefold())  # some file systems hold a.json and A.json to be one
        return free

    def _attention(self, stem: str, number: int, why: Explanation, look: Attention) -> dict[str, Any]:
        start = f"{stem}_attention" if number == 1 else f"{stem}_attention{number}"
        pictures = []
        for step, (word, seen) in enumerate(zip(look.words, look.maps, strict=True), 1):
            name = f"{start}_{step}_{re.sub(r'[^A-Za-z0-9-]+', '_', word)}.png"
            pictures.append(self._picture(name, overlay(why.photo, seen)))
        array = self._array(f"{start}.npy", look.maps)
        return {"words": list(look.words), "members": look.members, "pictures": pictures, "npy": array}

    def _remember(self, stem: str, why: Explanation, facts: Mapping[str, Any]) -> None:
        true = f"\ntrue: {facts['true']}" if facts["true"] else ""
        other = why.target != facts["predicted"]
        target = f"\nshown: {why.target} {facts['probabilities'][why.target]:.2f}" if other else ""
        silent = "" if why.map.any() else "\nnothing speaks for it"
        label = f"{stem}{true}\nsays: {facts['predicted']}\n{facts['confidence']:.2f}{target}{silent}"
        pictures = [why.photo, overlay(why.photo, why.map), colours(why.map)]
        pictures += [overlay(why.photo, seen) for look in why.attention for seen in look.maps]
        small = [cv2.resize(each, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.uint8) for each in pictures]
        self._rows.append((label, small))

    def _picture(self, name: str, pixels: NDArray[np.uint8]) -> str:
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "PNG")
        write_atomically(self.folder / name, content.getbuffer())
        return name

    def _array(self, name: str, values: Map) -> str:
        content = io.BytesIO()
        np.save(content, values, allow_pickle=False)
        write_atomically(self.folder / name, content.getbuffer())
        return name


def described(why: Explanation, true: str | None) -> dict[str, Any]:
    """An explanation in words and numbers, for JSON."""
    said = dict(why.said)
    members = len(why.peaks)
    scaled = "scaled to a largest value of 1"
    return {
        "image": why.name,
        "true": true,
        "predicted": said["decision"],
        "correct": None if true is None else said["decision"] == true,
        "confidence": said["confidence"],
        "probabilities": {k.removeprefix("p_"): v for k, v in said.items() if k.startswith("p_")},
        **{name: _plain(said[name]) for name in ("flagged", "entropy", "disagreement") if name in said},
        "target": why.target,
        "method": METHOD,
        "map": scaled if members == 1 else f"mean of the {members} members' maps, each {scaled}; then {scaled} again",
        "members": members,
        "views": why.views,
        "peaks": list(why.peaks),
        "feature_maps": [list(side) for side in why.sides],
    }


def colours(values: Map) -> Pixels:
    """A map (S, S), 0 to 1, in colours from dark blue to dark red, (S, S, 3)."""
    return np.asarray(np.round(colormaps["turbo"](values)[..., :3] * 255), np.uint8)


def overlay(photo: Pixels, values: Map) -> Pixels:
    """The photo under the colours of a map (S, S); (S, S, 3)."""
    mixed = (1 - OPACITY) * photo + OPACITY * colours(values)
    return np.asarray(np.round(mixed), np.uint8)


def write_explanations(
    folder: Path, explanations: Iterable[Explanation], labels: Mapping[str, str] | None = None
) -> Sequence[Path]:
    """Write all of them and the contact sheets; returns the JSON files, then the sheets."""
    files = ExplanationFolder(folder, labels)
    written = [files.add(why) for why in explanations]
    return [*written, *files.close()]


def _plain(value: Any) -> Any:
    """A number of numpy's as Python's own; None for one that JSON cannot spell."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
