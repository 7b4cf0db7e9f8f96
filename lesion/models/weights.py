"""Pretrained weights: torchvision's by name, or a file; always with the normalisation they were trained with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import nn
from torchvision import models

from lesion.errors import WeightsError, unknown

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation, RGB in [0, 1], of torchvision's training recipes."""

Triple = tuple[float, float, float]
SUFFIXES = (".pth", ".pt", ".safetensors")


def normalisation(name: str) -> tuple[Triple, Triple]:
    """Mean and standard deviation that the weights of backbone `name` expect.

    torchvision's GoogLeNet and Inception were ported from TensorFlow and take images in [-1, 1].
    """
    if name in ("googlenet", "inception_v3"):
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    return IMAGENET


def load_pretrained(model: nn.Module, name: str, weights: str) -> None:
    """Load `weights` into the whole torchvision model `name`, whose classifier may differ or be missing.

    `weights` is a file (.pth, .pt, .safetensors) or one of torchvision's names: IMAGENET1K_V1, …, DEFAULT;
    `imagenet` means DEFAULT. Raises WeightsError when the file is missing, unreadable or of another model.
    """
    if weights.endswith(SUFFIXES):
        adapt(model, name, read_state(Path(weights)), where=weights)
        return
    known = models.get_model_weights(name)
    choice = "DEFAULT" if weights == "imagenet" else weights
    if choice not in known.__members__:
        names = [*known.__members__, "DEFAULT", "imagenet", "none"]
        raise WeightsError(unknown(f"weights of {name}", weights, names) + f"; a file ends in {', '.join(SUFFIXES)}")
    try:
        state = known[choice].get_state_dict(progress=False, check_hash=True)
    except OSError as problem:
        raise WeightsError(
            f"weights {weights} of {name} could not be downloaded: {problem}; "
            "give a file instead, or run once on a machine with a connection"
        ) from problem
    adapt(model, name, state, where=f"torchvision's {weights}")


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name from a file, without executing anything in it."""
    if not path.is_file():
        raise WeightsError(f"no weights file {path} (looked in {Path.cwd()})")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # torch and safetensors raise a dozen kinds for a damaged file
        raise WeightsError(f"{path} is not a weights file: {str(problem).partition(chr(10))[0]}") from problem
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(f"{path} holds {type(state).__name__}, must be a state dict: tensors by name")
    return dict(state)


def adapt(model: nn.Module, name: str, state: Mapping[str, torch.Tensor], *, where: str) -> None:
    """Load `state` into `model`; only the last layer, which the search replaces, may be missing or differ."""
    own = model.state_dict()
    if "encoder.pos_embedding" in state:
        state = {**state, "encoder.pos_embedding": _resampled(state, own)}
    replaced = ("classifier.", "fc.", "head.", "heads.", "AuxLogits.", "aux1.", "aux2.")
    body = {key for key in own if not key.startswith(replaced)}
    missing = sorted(body - state.keys())
    extra = sorted(key for key in state.keys() - own.keys() if not key.startswith(replaced))
    shapes = [
        f"{key} is {tuple(state[key].shape)}, must be {tuple(own[key].shape)}"
        for key in sorted(body & state.keys())
        if state[key].shape != own[key].shape
    ]
    if missing or extra or shapes:
        facts = [f"{len(missing)} tensors missing (first: {missing[0]})"] if missing else []
        facts += [f"{len(extra)} unknown (first: {extra[0]})"] if extra else []
        facts += [f"{len(shapes)} of another shape (first: {shapes[0]})"] if shapes else []
        raise WeightsError(f"{where} does not fit {name}: {'; '.join(facts)}; are these weights of another model?")
    fitting = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    model.load_state_dict(fitting, strict=False)


def _resampled(state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Position embeddings of a vision transformer, resampled to its number of patches: (1, 1 + T, C)."""
    given, wanted = state["encoder.pos_embedding"], own.get("encoder.pos_embedding")
    if wanted is None or given.shape == wanted.shape or given.shape[2] != wanted.shape[2]:
        return given
    token, grid = given[:, :1], given[:, 1:]
    old, new = round(grid.shape[1] ** 0.5), round((wanted.shape[1] - 1) ** 0.5)
    grid = grid.transpose(1, 2).reshape(1, -1, old, old)  # (1, C, old, old)
    grid = nn.functional.interpolate(grid, (new, new), mode="bicubic", align_corners=True)
    return torch.cat([token, grid.flatten(2).transpose(1, 2)], dim=1)
