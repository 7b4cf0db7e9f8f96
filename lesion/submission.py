"""The CSV in which the ISIC scorer takes predictions: `image`, then one column a category.

ISIC 2017 has two categories, melanoma and seborrheic_keratosis, nevus being what is neither; later challenges have
every class.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lesion.errors import DataError
from lesion.metrics import official_categories, official_ranking
from lesion.writing import write_atomically


def write_submission(path: Path, images: Sequence[str], probabilities: npt.ArrayLike, classes: Sequence[str]) -> Path:
    """Write (N, classes) probabilities in the official layout; a file is there whole or not at all.

    A photo's suffix is dropped from its id. Raises DataError for ids that repeat or do not fit the rows.
    """
    p = np.asarray(probabilities, np.float64)
    if p.shape != (len(images), len(classes)):
        raise DataError(f"probabilities are {p.shape}, must be ({len(images)}, {len(classes)}): images, classes")
    ids = image_ids(images)
    categories = official_categories(classes)
    columns = [classes.index(name) for name in categories]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *categories])
    # repr keeps the decimal point of 0.0 and 1.0: the scorer refuses a column of integers
    writer.writerows([name, *map(repr, row)] for name, row in zip(ids, p[:, columns].tolist(), strict=True))
    write_atomically(path, text.getvalue().encode())
    return path


def submitted(
    probabilities: npt.NDArray[np.float64], decisive: npt.NDArray[np.float64], classes: Sequence[str]
) -> npt.NDArray[np.float64]:
    """The numbers (N, classes) that a submission holds: the probabilities, or those by which is decided.

    A challenge that ranks by balanced accuracy decides by the largest number of a row, so it is given `decisive`. One
    that ranks by AUC is given `probabilities`: of three classes, w p / Σ w p orders the images of a column anew.
    """
    return probabilities if official_ranking(classes) == "auc" else decisive


def image_ids(images: Sequence[str]) -> list[str]:
    """Names without photo suffix, and without folder unless two folders hold the same name.

    Raises DataError naming the first that occurs twice all the same.

    >>> image_ids(["photos/ISIC_0000001.jpg", "ISIC_0000002"])
    ['ISIC_0000001', 'ISIC_0000002']
    >>> image_ids(["melanoma/1.jpg", "nevus/1.jpg"])
    ['melanoma/1', 'nevus/1']
    """
    ids = [_image_id(name) for name in images]
    if len(set(ids)) < len(ids):
        ids = [str(Path(name).with_name(_image_id(name))) for name in images]
    seen: dict[str, str] = {}
    for given, name in zip(images, ids, strict=True):
        if name in seen:
            raise DataError(f"image id {name} occurs twice ({seen[name]}, {given}); an id stands for one image")
        seen[name] = given
    return ids


def _image_id(name: str) -> str:
    path = Path(name)
    photo = path.suffix.lower() in (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
    return path.stem if photo else path.name
