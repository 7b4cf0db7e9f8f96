"""Pretrained weights: torchvision's by name, or a file; always with the normalisation they were trained with."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from math import isqrt
from pathlib import Path

import safetensors.torch
import torch
from torch import nn
from torchvision import models

from lesion.errors import WeightsError, unknown
from lesion.models.cuts import cut

Triple = tuple[float, float, float]
SUFFIXES = (".pth", ".pt", ".safetensors")
REPLACED = ("classifier.", "fc.", "head.", "heads.", "AuxLogits.", "aux1.", "aux2.")
"""Where classifiers are, also those that a model was built without."""

POSITIONS = "encoder.pos_embedding"
_FORMER_NAMES = (
    # torchvision's own files of DenseNets and vision transformers have them still.
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"(\.mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"(\.mlp)\.linear_2\."), r"\1.3."),
)


def normalisation_of(name: str, weights: str) -> tuple[Triple, Triple]:
    """Mean and standard deviation, of RGB in [0, 1], that `weights` of backbone `name` expect.

    torchvision says it of each of its weights (EfficientNetV2-L and the features of VGG-16 are not like the rest); a
    file is taken to be like the default ones. GoogLeNet and Inception were ported from TensorFlow and take [-1, 1],
    which torchvision makes of its usual numbers inside them.
    """
    if name in ("googlenet", "inception_v3"):
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    known = models.get_model_weights(name).__members__
    recipe = known.get(weights, known["DEFAULT"]).transforms()
    mean, std = ((float(r), float(g), float(b)) for r, g, b in (recipe.mean, recipe.std))
    return mean, std


def load_pretrained(model: nn.Module, name: str, weights: str) -> None:
    """Load `weights` into the whole torchvision model `name`, whose classifier may differ or be missing.

    `weights` is a file (.pth, .pt, .safetensors) or one of torchvision's names: IMAGENET1K_V1, …, DEFAULT;
    `imagenet` means DEFAULT. Raises WeightsError when the file is missing, unreadable or of another model.
    """
    if weights.endswith(SUFFIXES):
        adapt(model, name, read_state(Path(weights)), body=body_of(model), where=weights)
        return
    known = models.get_model_weights(name)
    choice = "DEFAULT" if weights == "imagenet" else weights
    if why := why_unknown(name, weights):
        raise WeightsError(why)
    try:
        state = known[choice].get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
    except Exception as problem:  # no connection, another hash, a full disk, a torn file of an earlier download
        raise WeightsError(
            f"weights {weights} of {name} could not be fetched: {fact(problem)}; give a file instead, or run once "
            f"on a machine with a connection and copy {Path(torch.hub.get_dir(), 'checkpoints')}"
        ) from problem
    adapt(model, name, state, body=body_of(model), where=f"torchvision's {weights}")


def why_unknown(name: str, weights: str) -> str:
    """Why torchvision's backbone `name` has no weights called so; "" where it has, or is none of torchvision's."""
    if name not in models.list_models():
        return ""
    names = [*models.get_model_weights(name).__members__, "imagenet", "none"]
    if weights in names:
        return ""
    return unknown(f"weights of {name}", weights, names) + f"; a file ends in {', '.join(SUFFIXES)}"


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name from a file, without executing anything in it."""
    if not path.is_file():
        raise WeightsError(f"no weights file {path} (looked in {Path.cwd()})")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # torch and safetensors raise a dozen kinds for a damaged file
        raise WeightsError(f"{path} is not a weights file: {fact(problem)}") from problem
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(f"{path} holds {type(state).__name__}, must be a state dict: tensors by name")
    return dict(state)


def body_of(model: nn.Module) -> set[str]:
    """The tensors of a torchvision model that make its feature map, by name."""
    kept = {id(t) for part in cut(model) for t in (*part.parameters(), *part.buffers())}
    return {key for key, tensor in model.state_dict(keep_vars=True).items() if id(tensor) in kept}


def adapt(model: nn.Module, name: str, state: Mapping[str, torch.Tensor], *, body: set[str], where: str) -> None:
    """Load the tensors called `body` from `state` into `model`; others, the classifier, may be missing or differ."""
    own = model.state_dict(keep_vars=True)
    given = {_present_name(key): tensor for key, tensor in state.items()}
    if POSITIONS in given and POSITIONS in own:
        given[POSITIONS] = _resampled(given[POSITIONS], own[POSITIONS])
    # Old files do not count batches; nothing is computed from the count.
    missing = sorted(key for key in body - given.keys() if not key.endswith("num_batches_tracked"))
    extra = sorted(key for key in given.keys() - own.keys() if not key.startswith(REPLACED))
    shapes = [
        f"{key} is {tuple(given[key].shape)}, must be {tuple(own[key].shape)}"
        for key in sorted(body & given.keys())
        if given[key].shape != own[key].shape
    ]
    if missing or extra or shapes:
        facts = [f"{len(missing)} tensors missing (first: {missing[0]})"] if missing else []
        facts += [f"{len(extra)} unknown (first: {extra[0]})"] if extra else []
        facts += [f"{len(shapes)} of another shape (first: {shapes[0]})"] if shapes else []
        raise WeightsError(f"{where} does not fit {name}: {'; '.join(facts)}; are these weights of another model?")
    # Laid over the model's own, which say of which version they are: MNASNet refuses tensors that do not.
    merged = model.state_dict()
    merged.update({key: given[key] for key in body & given.keys()})
    model.load_state_dict(merged)


def _present_name(key: str) -> str:
    for former, present in _FORMER_NAMES:
        key = former.sub(present, key)
    return key


def fact(problem: Exception) -> str:
    """What went wrong in one line; torch's own advice for such files is to run the code in them."""
    if isinstance(problem, pickle.UnpicklingError):
        return "it is damaged, or holds more than tensors, which could run code; save the model's state_dict() alone"
    return str(problem).partition("\n")[0] or type(problem).__name__


def _resampled(given: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Position embeddings of a vision transformer, resampled to its number of patches: (1, 1 + T, C)."""
    if given.shape == wanted.shape or given.ndim != 3 or given.shape[2] != wanted.shape[2]:
        return given
    old, new = isqrt(max(0, given.shape[1] - 1)), isqrt(wanted.shape[1] - 1)
    if old == 0 or old**2 + 1 != given.shape[1]:
        return given
    token, grid = given[:, :1], given[:, 1:]
    grid = grid.transpose(1, 2).reshape(1, -1, old, old)  # (1, C, old, old)
    grid = nn.functional.interpolate(grid, (new, new), mode="bicubic", align_corners=True)
    return torch.cat([token, grid.flatten(2).transpose(1, 2)], dim=1)
