"""Photos as they occur in the wild become upright RGB; what is none is refused by name."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from drawn_sources import encoded, picture
from PIL import Image

from lesion.data.decode import GEOMETRIES, decode
from lesion.errors import DataError

RED = (200, 40, 30)


def flat(mode: str, colour: object, size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.new(mode, size, colour)


def centre(data: bytes) -> tuple[int, ...]:
    return tuple(int(v) for v in decode(data, 16, "stretch")[8, 8])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(encoded(flat("RGB", RED), "JPEG", quality=95), RED, id="rgb"),
        pytest.param(encoded(flat("L", 77), "JPEG"), (77, 77, 77), id="grey"),
        pytest.param(encoded(flat("L", 77), "PNG"), (77, 77, 77), id="grey png"),
        pytest.param(encoded(flat("CMYK", (0, 255, 255, 0)), "JPEG", quality=95), (255, 0, 0), id="cmyk"),
        pytest.param(encoded(flat("RGB", RED).quantize(4), "PNG"), RED, id="palette"),
        pytest.param(encoded(flat("I;16", 257 * 120), "PNG"), (120, 120, 120), id="16 bit"),
        pytest.param(encoded(flat("I;16", 65535), "TIFF"), (255, 255, 255), id="16 bit white"),
        pytest.param(encoded(flat("RGBA", (*RED, 255)), "PNG"), RED, id="opaque alpha"),
        pytest.param(encoded(flat("RGBA", (*RED, 0)), "PNG"), (0, 0, 0), id="clear lies on black"),
        pytest.param(encoded(flat("LA", (90, 255)), "PNG"), (90, 90, 90), id="grey with alpha"),
        pytest.param(encoded(flat("1", 1), "PNG"), (255, 255, 255), id="one bit"),
        pytest.param(encoded(flat("RGB", RED), "WEBP", lossless=True), RED, id="webp"),
        pytest.param(encoded(flat("RGB", RED), "BMP"), RED, id="bmp"),
    ],
)
def test_every_mode_becomes_rgb(data, expected):
    assert np.abs(np.subtract(centre(data), expected)).max() <= 4


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is that large; a decoder that trusts it takes gigabytes."""
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    idat = b"IDAT" + zlib.compress(b"\0" * 64)
    chunks = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (ihdr, idat, b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


JPEG = encoded(picture(1, 200, 150))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "is empty (zero bytes)", id="zero bytes"),
        pytest.param(b"<html>not found</html>", "is no image that can be read (known: JPEG, PNG", id="no image"),
        pytest.param(encoded(picture(1), "GIF"), "is no image that can be read", id="gif is not offered"),
        pytest.param(JPEG[: len(JPEG) // 2], "is damaged (image file is truncated", id="truncated jpeg"),
        pytest.param(encoded(picture(1), "PNG")[:60], "is damaged (", id="truncated png"),
        pytest.param(png_header(40_000, 10), "has 40000 × 10 pixels; the limits are 20,000 a side", id="40 000 wide"),
        pytest.param(png_header(11_000, 11_000), "has 11000 × 11000 pixels", id="121 megapixels"),
        pytest.param(png_header(19_000, 19_000), "has more than 100,000,000 pixels: scale", id="361 megapixels"),
        pytest.param(encoded(flat("F", 0.5), "TIFF"), "has 32-bit pixels (mode F)", id="floats"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(data, message):
    with pytest.raises(DataError) as caught:
        decode(data, 16, "stretch")
    assert message in str(caught.value)


def test_exif_orientation_is_applied():
    upright = Image.fromarray(
        np.repeat(np.array([[[255, 0, 0]], [[0, 0, 255]]], np.uint8), 32, axis=1).repeat(16, axis=0)
    )
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    data = encoded(upright.rotate(90, expand=True), "JPEG", exif=exif, quality=95)
    image = decode(data, 16, "stretch").astype(int)
    assert image[2, 8, 0] > 200 > image[13, 8, 0]
    assert image[13, 8, 2] > 200 > image[2, 8, 2]


def bands() -> bytes:
    """60 × 30: a red third, a green third, a blue third."""
    field = np.zeros((30, 60, 3), np.uint8)
    for i in range(3):
        field[:, 20 * i : 20 * (i + 1), i] = 255
    return encoded(Image.fromarray(field), "PNG")


def test_stretch_keeps_the_whole_frame():
    image = decode(bands(), 30, "stretch")
    assert [int(image[15, x].argmax()) for x in (3, 15, 27)] == [0, 1, 2]


def test_crop_keeps_the_middle_square():
    image = decode(bands(), 30, "crop")
    assert int(image[15, 15].argmax()) == 1
    assert int(image[15, 1].argmax()) == 0
    assert np.abs(image[:, 8:22].astype(int) - (0, 255, 0)).max() <= 40  # the ringing of Lanczos ends before


def test_pad_keeps_the_shape_between_black_bars():
    image = decode(bands(), 30, "pad")
    assert not image[:7].any()
    assert not image[23:].any()
    assert image[15].max() == 255


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_jpegs_quick_decoding_changes_next_to_nothing(geometry):
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)).resize(
        (1600, 1200), Image.Resampling.BICUBIC
    )
    quick = decode(encoded(coarse, "JPEG", quality=95), 64, geometry)
    whole = decode(encoded(coarse, "PNG"), 64, geometry)
    assert np.abs(quick.astype(int) - whole.astype(int)).mean() < 1.0
