"""Policies of published systems, each named for what it does."""

from __future__ import annotations

from math import pi
from typing import Annotated

import albumentations as A

from lesion.augment.augmenter import Policy, augmentations
from lesion.augment.policies import Strength, any_turn, even_jitter, hole
from lesion.augment.transforms import jitter
from lesion.augment.warp import BORDER, Ranges, Warp
from lesion.registry import Range

Share = Annotated[float, Range(0.0, 1.0)]
Span = Annotated[float, Range(0.0, 0.9)]
Hue = Annotated[float, Range(0.0, 0.5)]


@augmentations.register
def crop_shear_jitter(
    size: int,
    *,
    crop: Annotated[float, Range(0.0, 0.45)] = 0.2,
    shear: Annotated[float, Range(0.0, 45.0)] = 20.0,
    light: Span = 0.3,
    hue: Hue = 0.02,
) -> Policy:
    """Zoom in, a quarter turn, shear, flip up-down at times, brightness, contrast, hue and saturation.

    From "Skin-Lesion-Classification" (system A): up to `crop` is cut off every side; scale x 0.8 and y 1.2, a turn to
    the left by 90 to 91 degrees, shear ± `shear` degrees; brightness and contrast ×(1 ± light). Their hue and
    saturation were shifted by up to 0.1 of 255, which rounds to nothing; here hue moves by ± `hue` of the circle and
    saturation by ×(1 ± 5 hue).
    """
    return [
        Warp(size, Ranges((90, 91), (0.8, 0.8), (1.2, 1.2), shear, 0.0, crop=crop)),
        A.VerticalFlip(p=0.5),
        jitter(brightness=light, contrast=light, saturation=min(5 * hue, 0.9), hue=hue),
    ]


@augmentations.register
def crop_flip_jitter(
    size: int,
    *,
    area: Annotated[float, Range(0.05, 1.0)] = 0.5,
    brightness: Annotated[float, Range(0.0, 0.5)] = 0.125,
    colour: Span = 0.5,
    hue: Hue = 0.2,
) -> Policy:
    """A random crop, flips both ways, brightness, contrast, saturation and hue.

    From Barata et al. 2021, doi:10.1016/j.patcog.2020.107413 (system C): the crop has a share of the image's area
    from `area` to 1 and an aspect from 0.75 to 1.33; `brightness` is added or taken away, as a share of 255 (32/255 is
    0.125); contrast and saturation ×(1 ± colour); hue ± `hue` of the circle.
    """
    return [
        A.RandomResizedCrop((size, size), scale=(area, 1.0), ratio=(0.75, 1.33), area_for_downscale="image", p=1.0),
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.5),
        A.RandomBrightnessContrast(brightness_limit=brightness, contrast_limit=0.0, brightness_by_max=True, p=1.0),
        jitter(contrast=colour, saturation=colour, hue=hue),
    ]


@augmentations.register
def challenge(
    size: int, *, strength: Strength = 1.0, distortion: Share = 0.3, clahe: Share = 0.2, cutout: Share = 0.5
) -> Policy:
    """What challenge winners used: any turn, zoom, shear, colour, and at times blur, distortion, CLAHE and cutout.

    From the ISIC winners of 2018 to 2020 (Gessert et al. 2020, doi:10.1016/j.mex.2020.100864; Ha et al. 2020,
    arXiv:2010.05351): all flips and turns, scale 0.8 to 1.2, shear ± 10 degrees. `strength` is that of the colour;
    the others are probabilities: `distortion` of a blur, and again of a lens, grid or elastic distortion.
    """
    return [
        any_turn(size, scale=0.2, shear=10.0),
        even_jitter(strength),
        A.OneOf(
            [A.GaussianBlur(blur_limit=(3, 5)), A.MotionBlur(blur_limit=(3, 5)), A.MedianBlur((3, 5))], p=distortion
        ),
        A.OneOf([_lens(), A.GridDistortion(distort_limit=0.2, border_mode=BORDER), _elastic(size)], p=distortion),
        A.CLAHE(clip_limit=(1.0, 3.0), p=clahe),
        hole(0.1, 0.35, p=cutout),
    ]


def _lens() -> A.BasicTransform:
    return A.OpticalDistortion(distort_limit=0.4, border_mode=BORDER)


def _elastic(size: int) -> A.BasicTransform:
    """Moves pixels by about a hundredth of the side, as their neighbours over a sixteenth; twice as far folds skin."""
    sigma = size / 16
    # White noise from -1 to 1 has a standard deviation of 1/√3; smoothed by a Gaussian, 1 / (2 σ √π) of that is left.
    alpha = size / 100 * 2 * sigma * (3 * pi) ** 0.5
    return A.ElasticTransform(alpha=alpha, sigma=sigma, noise_distribution="uniform", border_mode=BORDER)
