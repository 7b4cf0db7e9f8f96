"""Bytes of a photo → a square of uint8 RGB.

Done once, at preparation: photos of the archive have up to 30 megapixels, an epoch must not pay for that.

The filter is Lanczos with a support that grows with the reduction. What tells lesions apart (pigment network,
dots, the edge) is near the finest frequency that a small image can hold; a box filter blurs that and lets coarser
hair alias, and where a photo is smaller than the target (150 → 192 pixels) a box would draw blocks. Photos
of more than twice the target are first reduced by JPEG's own 1/2, 1/4 or 1/8 decoding, never below twice
the target, so the filter still decides; that makes a 12 megapixel photo about four times as fast.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from lesion.errors import DataError

Geometry = Literal["stretch", "crop", "pad"]
GEOMETRIES: tuple[Geometry, ...] = get_args(Geometry)
"""How a photo becomes a square: whole frame stretched; middle square cut out; whole frame between black bars."""

MAX_SIDE = 20_000
MAX_PIXELS = 100_000_000
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")

_FILTER = Image.Resampling.LANCZOS
_GAP = 3.0  # Pillow: from 3.0 on, reducing before the filter cannot be told from the filter alone


def decode(data: bytes, size: int, geometry: Geometry) -> NDArray[np.uint8]:
    """Decode a JPEG, PNG, TIFF, BMP or WebP into (size, size, 3) RGB.

    EXIF orientation is applied; grey is repeated; CMYK and palettes are converted; 16-bit grey is scaled by 1/257;
    transparency lies on black, which is what a dermatoscope shows around its field. Raises DataError with the
    reason; the dimensions are checked before a pixel is decoded.
    """
    with _explained(data):
        return _decode(data, size, geometry)


def decode_whole(data: bytes) -> NDArray[np.uint8]:
    """Decode a photo at its own size into (height, width, 3) RGB; otherwise as `decode`."""
    with _explained(data), Image.open(io.BytesIO(data), formats=FORMATS) as photo:
        _check_dimensions(photo)
        return np.asarray(_rgb(_upright(photo)), dtype=np.uint8)


@contextmanager
def _explained(data: bytes) -> Iterator[None]:
    """Turn whatever decoding `data` raises into a DataError with the reason."""
    if not data:
        raise DataError("is empty (zero bytes)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on metadata; the bomb warning is replaced by our own limit
        try:
            yield
        except UnidentifiedImageError as error:
            raise DataError(f"is no image that can be read (known: {', '.join(FORMATS)})") from error
        except Image.DecompressionBombError as error:
            raise DataError(
                f"is too large to decode: it has more than {MAX_PIXELS:,} pixels: scale it down or leave it out"
            ) from error
        except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, OverflowError) as error:
            raise DataError(f"is damaged ({error})") from error


def _decode(data: bytes, size: int, geometry: Geometry) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data), formats=FORMATS) as photo:
        _check_dimensions(photo)
        photo.draft(photo.mode, _draft_size(photo.size, size, geometry))
        return np.asarray(_squared(_rgb(_upright(photo)), size, geometry), dtype=np.uint8)


def _check_dimensions(photo: Image.Image) -> None:
    width, height = photo.size
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise DataError(
            f"has {width} × {height} pixels; the limits are {MAX_SIDE:,} a side and {MAX_PIXELS:,} in all: "
            "scale it down or leave it out"
        )


def _draft_size(photo: tuple[int, int], size: int, geometry: Geometry) -> tuple[int, int]:
    """Least (width, height) that a draft may have: twice what the filter will make of the photo."""
    if geometry != "pad":
        return 2 * size, 2 * size
    longer = max(photo)
    return max(1, 2 * size * photo[0] // longer), max(1, 2 * size * photo[1] // longer)


def _upright(photo: Image.Image) -> Image.Image:
    photo.load()
    return ImageOps.exif_transpose(photo)


def _rgb(photo: Image.Image) -> Image.Image:
    if photo.mode in ("I", "F"):
        raise DataError(f"has 32-bit pixels (mode {photo.mode}), whose range nobody knows: convert it to 8 bits")
    if photo.mode.startswith("I;16"):
        wide = np.asarray(photo).astype(np.uint32)
        photo = Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    if photo.has_transparency_data:
        layer = photo.convert("RGBA")
        photo = Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer)
    return photo if photo.mode == "RGB" else photo.convert("RGB")


def _squared(photo: Image.Image, size: int, geometry: Geometry) -> Image.Image:
    width, height = photo.size
    if geometry == "stretch":
        return photo.resize((size, size), _FILTER, reducing_gap=_GAP)
    if geometry == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return photo.resize((size, size), _FILTER, (left, top, left + side, top + side), reducing_gap=_GAP)
    longer = max(width, height)
    inner = max(1, round(size * width / longer)), max(1, round(size * height / longer))
    square = Image.new("RGB", (size, size))
    small = photo.resize(inner, _FILTER, reducing_gap=_GAP)
    square.paste(small, ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return square
