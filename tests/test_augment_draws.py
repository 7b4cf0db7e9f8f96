"""What the policies of published systems draw when nothing is set, against what the systems tell of it."""

from functools import cache

import numpy as np
import pytest

from lesion.augment import Augmenter, augmentations, warp

TIMES = 400
PHOTO = np.random.default_rng(0).integers(40, 200, (96, 96, 3), dtype=np.uint8)


@cache
def drawn(policy):
    """By transform: what it was drawn to do, and how often it changed the photo; `matrix`: turn, zoom, shear."""
    augmenter, seen, matrices = Augmenter(augmentations[policy].build(48), seed=0), {}, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warp, "matrix", recorded(matrices))
        for position in range(TIMES):
            augmenter._seek(0, position)
            image = PHOTO
            for place, transform in enumerate(augmenter._policy):
                before, image = image, transform(image=image)["image"]
                name = type(transform).__name__
                name = f"{name} {place}" if name == "OneOf" else name
                params = getattr(transform, "params", {})
                seen.setdefault(name, []).append((dict(params), not np.array_equal(before, image)))
    turns, zooms, shears = (np.array(each) for each in zip(*matrices, strict=True)) if matrices else ((), (), ())
    return seen, {"turn": turns, "zoom": zooms, "shear": shears}


def recorded(calls):
    matrix = warp.matrix

    def recording(turn, zoom, shear):
        calls.append((turn, zoom, shear))
        return matrix(turn, zoom, shear)

    return recording


def values(policy, transform, name):
    return np.array([params[name] for params, _ in drawn(policy)[0][transform] if params])


def share(policy, transform):
    """How often it did anything."""
    return np.mean([changed for _, changed in drawn(policy)[0][transform]])


def spans(numbers, low, high):
    """Whether numbers fill a range: none beyond it, some within a twentieth of either end, their mean in the middle."""
    edge = (high - low) / 20
    assert low - 1e-9 <= numbers.min() <= low + edge
    assert high - edge <= numbers.max() <= high + 1e-9
    assert numbers.mean() == pytest.approx((low + high) / 2, abs=2 * edge)


def test_system_a():
    policy, (seen, moved) = "crop_shear_jitter", drawn("crop_shear_jitter")
    assert list(seen) == ["Warp", "VerticalFlip", "ColorJitter"]
    spans(values(policy, "Warp", "crop"), 0.0, 0.2)
    spans(moved["turn"], 90, 91)
    assert np.unique(moved["zoom"], axis=0).tolist() == [[0.8, 1.2]]
    spans(moved["shear"][:, 0], -20, 20)
    assert not moved["shear"][:, 1].any()
    assert share(policy, "VerticalFlip") == pytest.approx(0.5, abs=0.08)
    spans(values(policy, "ColorJitter", "brightness"), 0.7, 1.3)
    spans(values(policy, "ColorJitter", "contrast"), 0.7, 1.3)
    spans(values(policy, "ColorJitter", "saturation"), 0.9, 1.1)
    spans(values(policy, "ColorJitter", "hue"), -0.02, 0.02)


def test_system_c():
    policy, (seen, _) = "crop_flip_jitter", drawn("crop_flip_jitter")
    assert list(seen) == [
        "RandomResizedCrop", "HorizontalFlip", "VerticalFlip", "RandomBrightnessContrast", "ColorJitter",
    ]  # fmt: skip
    left, top, right, bottom = values(policy, "RandomResizedCrop", "crop_coords").T
    areas, aspects = (right - left) * (bottom - top) / len(PHOTO) ** 2, (right - left) / (bottom - top)
    assert 0.48 < areas.min() < 0.53  # whole pixels
    assert 0.95 < areas.max() <= 1.0
    assert 0.73 < aspects.min() < 0.8
    assert 1.25 < aspects.max() < 1.36
    for flip in ("HorizontalFlip", "VerticalFlip"):
        assert share(policy, flip) == pytest.approx(0.5, abs=0.08)
    spans(values(policy, "RandomBrightnessContrast", "beta"), -32, 32)
    assert set(values(policy, "RandomBrightnessContrast", "alpha")) == {1.0}
    assert set(values(policy, "ColorJitter", "brightness")) == {1.0}
    spans(values(policy, "ColorJitter", "contrast"), 0.5, 1.5)
    spans(values(policy, "ColorJitter", "saturation"), 0.5, 1.5)
    spans(values(policy, "ColorJitter", "hue"), -0.2, 0.2)


def test_challenge_winners():
    policy, (seen, moved) = "challenge", drawn("challenge")
    assert list(seen) == ["Warp", "ColorJitter", "OneOf 2", "OneOf 3", "CLAHE", "CoarseDropout"]
    spans(moved["turn"], -180, 180)
    for axis in (0, 1):
        spans(moved["zoom"][:, axis], 0.8, 1.2)
        spans(moved["shear"][:, axis], -10, 10)
    assert not values(policy, "Warp", "crop").any()
    assert not values(policy, "Warp", "shift").any()
    mirrored = np.linalg.det(values(policy, "Warp", "linear")) < 0
    assert mirrored.mean() == pytest.approx(0.5, abs=0.08)
    for name in ("brightness", "contrast", "saturation"):
        spans(values(policy, "ColorJitter", name), 0.8, 1.2)
    spans(values(policy, "ColorJitter", "hue"), -0.02, 0.02)
    blurred, distorted, hole = (share(policy, name) for name in ("OneOf 2", "OneOf 3", "CoarseDropout"))
    assert blurred == pytest.approx(0.3, abs=0.08)
    assert distorted == pytest.approx(0.3, abs=0.08)
    assert share(policy, "CLAHE") == pytest.approx(0.2, abs=0.08)
    assert hole == pytest.approx(0.5, abs=0.08)
