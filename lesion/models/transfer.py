"""A trained backbone as a file of weights for other searches, and for anybody's torchvision or timm."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch

from lesion.errors import WeightsError
from lesion.learnt import Learnt, metadata_of
from lesion.models import Model

SUFFIX = ".safetensors"


def save_backbone(model: Model, path: Path, learnt: Learnt | None = None) -> int:
    """Write the tensors of the backbone of `model` under its library's own names; returns how many they are.

    The file is what the setting ``backbone.<name>.weights`` takes, and what torchvision or timm load, but for their
    classifier. Its metadata say what the backbone has `learnt` from. Raises WeightsError for a backbone that is of no
    library, or a path that does not end in .safetensors.
    """
    if path.suffix != SUFFIX:
        raise WeightsError(f"{path}: a file of weights that nothing can hide in ends in {SUFFIX}")
    origin = model.backbone.origin
    if not origin:
        raise WeightsError(f"{path}: only backbones of torchvision and timm can be written, this one is our own")
    tensors = model.backbone.state_dict()
    # Contiguous copies: safetensors takes neither channels-last memory nor tensors that share it.
    state = {origin[key]: tensors[key].detach().cpu().contiguous().clone() for key in origin}
    safetensors.torch.save_file(state, path, metadata_of(learnt))
    return len(state)
