"""A source of images, recognised by the names of its files.

Three layouts: ISIC 2017 Part 3, ISIC 2018 Task 3, and any folder or zip of images with a CSV manifest.
"""

from __future__ import annotations

from pathlib import Path

from lesion.data.listing import Listing
from lesion.data.manifests import read_manifest
from lesion.data.official import OFFICIAL, belongs, read_official, refuse_piece
from lesion.errors import DataError


def read_listing(source: Path) -> Listing:
    """Recognise `source` (a folder, a zip or a CSV manifest) and read its table.

    Raises DataError only where nothing can be listed: no such path, no layout that fits, a damaged zip.
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    if source.is_dir():
        names = [p.name for p in source.iterdir()]
        fitting = [o for o in OFFICIAL.values() if any(belongs(o, name) for name in names)]
        if len(fitting) > 1:
            raise DataError(f"{source} holds files of ISIC 2017 and of ISIC 2018: keep each in a folder of its own")
        if fitting:
            return read_official(source, fitting[0])
    else:
        refuse_piece(source)
    return read_manifest(source)
