"""What a space needs of this machine before its first trial: its data set, and its files of weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lesion.data.packed import PackedDataset, open_data
from lesion.errors import DataError, WeightsError
from search.errors import WorkspaceError
from search.space import Choice, Domain, Space
from search.workspace import existing_workspace

SUFFIXES = (".pth", ".pt", ".safetensors")


def find_data(workspace: Path | None, name: str) -> tuple[PackedDataset | None, str]:
    """The packed data set `name`, or None and why it is not there."""
    try:
        return open_data(existing_workspace(workspace).path, name), ""
    except (DataError, WorkspaceError) as problem:
        return None, str(problem)


def weights_files(space: Space) -> Iterator[tuple[str, str]]:
    """Backbone and file, for every file of weights that a trial of `space` may load."""
    for part in space.tree.parts:
        if part.kind != "backbone":
            continue
        for option in part.options:
            for name, domain in option.settings:
                if name == "weights":
                    yield from ((option.name, file) for file in _files(domain))


def missing_weights(space: Space) -> list[str]:
    """Weights files that are not there, in words."""
    return [
        f"{space.path}: backbone {name}: no weights file {file} (looked in {Path.cwd()})"
        for name, file in weights_files(space)
        if not Path(file).is_file()
    ]


def misfit_weights(space: Space) -> list[str]:
    """Weights files that do not fit their backbone, in words; each is loaded once."""
    from lesion.models import build_model  # noqa: PLC0415 - torch takes seconds, and most spaces name no file
    from lesion.settings import resolve  # noqa: PLC0415

    found = []
    sizes = {name: domain.probes[0] for name, domain in space.tree.general if name == "image_size"}
    for name, file in weights_files(space):
        if not Path(file).is_file():
            continue
        try:
            build_model(resolve({**sizes, "backbone": name, f"backbone.{name}.weights": file}), 2, pretrained=True)
        except WeightsError as problem:
            found.append(f"{space.path}: backbone {name}: {problem}")
    return found


def require_weights(space: Space) -> None:
    """Raise WeightsError, a line for every weights file that is missing or does not fit."""
    mistakes = [*missing_weights(space), *misfit_weights(space)]
    if mistakes:
        raise WeightsError("\n".join(mistakes))


def _files(domain: Domain) -> list[str]:
    values = domain.options if isinstance(domain, Choice) else domain.probes[:1]
    return [value for value in values if isinstance(value, str) and value.endswith(SUFFIXES)]
