"""The packages that a machine of a cluster must have, as this installation of lesion-search names them."""

from __future__ import annotations

from functools import lru_cache
from importlib import metadata


@lru_cache(maxsize=1)
def required() -> dict[str, str | None]:
    """Package names, with the version that this machine has of each; None where it has none itself.

    They are the requirements of lesion-search and of what a cluster needs besides; those of tests are left out.
    """
    from packaging.requirements import Requirement  # noqa: PLC0415 - heavy imports wait until they are needed

    names = {"lesion-search"}
    for line in metadata.requires("lesion-search") or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": "cluster"}):
            names.add(requirement.name)
    return {name: _version(name) for name in sorted(names)}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
