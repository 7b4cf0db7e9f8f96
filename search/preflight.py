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


def named_weights(space: Space) -> Iterator[tuple[str, str]]:
    """Backbone and weights, a file or torchvision's name, for all that a trial of `space` may load."""
    for part in space.tree.parts:
        if part.kind != "backbone":
            continue
        for option in part.options:
            for name, domain in option.settings:
                if name == "weights":
                    yield from ((option.name, weights) for weights in _weights(domain))


def missing_weights(space: Space) -> list[str]:
    """Weights files that are not there, in words."""
    return [
        f"{space.path}: backbone {name}: no weights file {file} (looked in {Path.cwd()})"
        for name, file in named_weights(space)
        if file.endswith(SUFFIXES) and not Path(file).is_file()
    ]


def misfit_weights(space: Space, *, fetch: bool = False) -> list[str]:
    """Weights that do not fit their backbone, in words; each is loaded once.

    With `fetch` torchvision's own are downloaded too, so that no trial finds out that there is no connection.
    """
    from lesion.models import build_model  # noqa: PLC0415 - torch takes seconds, and most spaces name no file
    from lesion.settings import resolve  # noqa: PLC0415

    found = []
    sizes = {name: domain.probes[0] for name, domain in space.tree.general if name == "image_size"}
    for name, file in named_weights(space):
        if not (Path(file).is_file() if file.endswith(SUFFIXES) else fetch):
            continue
        try:
            build_model(resolve({**sizes, "backbone": name, f"backbone.{name}.weights": file}), 2, pretrained=True)
        except WeightsError as problem:
            found.append(f"{space.path}: backbone {name}: {problem}")
    return found


def require_weights(space: Space) -> None:
    """Raise WeightsError, a line for all weights that are missing, cannot be had or do not fit."""
    mistakes = [*missing_weights(space), *misfit_weights(space, fetch=True)]
    if mistakes:
        raise WeightsError("\n".join(mistakes))


def _weights(domain: Domain) -> list[str]:
    values = domain.options if isinstance(domain, Choice) else domain.probes[:1]
    return [value for value in values if isinstance(value, str) and value != "none"]
