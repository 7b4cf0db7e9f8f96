"""Grad-CAM: which places of a photo spoke for a class, and what a head with attention looked at.

The last feature map F of the backbone, (channels, h, w), is weighed by how much the class score would grow with each
channel: ReLU(Σ_k α_k F_k), α_k the mean over all places of ∂ score / ∂ F_k (Selvaraju et al. 2017, arXiv:1610.02391,
equations 1 and 2). The score is the logit before the softmax. Any head will do, whether it is linear or recurrent: only
the slope at F is asked for, so nothing goes back through the backbone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from lesion.devices import autocast
from lesion.models import Model
from lesion.prediction import dihedral, dihedral_back, views_shown


@dataclass(frozen=True, eq=False)
class Look:
    """Maps (N, h, w), not negative, in the scale of the logits; attention (N, steps, h, w) of heads that have it.

    `words` names the steps of each photo, where the head spells classes along a taxonomy.
    """

    maps: torch.Tensor
    attention: torch.Tensor | None = None
    words: tuple[tuple[str, ...], ...] = ()


def grad_cam(
    model: Model,
    images: torch.Tensor,
    targets: torch.Tensor,
    people: torch.Tensor | None = None,
    *,
    views: int = 1,
    dtype: torch.dtype = torch.float32,
) -> Look:
    """What in images (N, 3, S, S), in [0, 1], speaks for the classes `targets` (N,).

    `people` (N, width) as `lesion.metadata` encodes them. Maps are averaged over `views` flips and turns, each turned
    back. Attention is that of the class asked for, along its path where the head spells. The model must be in
    evaluation mode; its weights get no gradients.
    """
    shown = views_shown(views)
    looks = [_in_view(model, images, targets, people, view, dtype) for view in shown]
    attention = [look.attention for look in looks if look.attention is not None]
    return Look(
        torch.stack([look.maps for look in looks]).mean(dim=0),
        torch.stack(attention).mean(dim=0) if attention else None,
        looks[0].words,
    )


def _in_view(
    model: Model,
    images: torch.Tensor,
    targets: torch.Tensor,
    people: torch.Tensor | None,
    view: int,
    dtype: torch.dtype,
) -> Look:
    turned = dihedral(images, view).contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), autocast(images.device, dtype):
        features = model.features(turned)
    features = features.float().requires_grad_()
    # cuDNN's recurrent layers have no gradients in evaluation mode.
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        score = model.classify(features, people).gather(1, targets[:, None]).sum()
        (slopes,) = torch.autograd.grad(score, features)
    with torch.no_grad():
        weights = slopes.mean(dim=(2, 3), keepdim=True)  # (N, C, 1, 1)
        maps = (weights * features).sum(dim=1, keepdim=True).relu()  # (N, 1, h, w)
        attention = _attention(model, features.detach(), targets, people)
    back = None if attention is None else dihedral_back(attention, view)
    return Look(dihedral_back(maps, view)[:, 0], back, _words(model, targets))


def _attention(
    model: Model, features: torch.Tensor, targets: torch.Tensor, people: torch.Tensor | None
) -> torch.Tensor | None:
    """Where a head with attention looked, (N, steps, h, w); along the path of the class, where it has one."""
    if model.spells:
        model.classify(features, people, targets)
    found: torch.Tensor | None = getattr(model.head, "attention", None)
    return found


def _words(model: Model, targets: torch.Tensor) -> tuple[tuple[str, ...], ...]:
    if not model.spells:
        return ()
    head: Any = model.head
    paths = head.paths[targets.to(head.paths.device)].tolist()
    return tuple(tuple(head.taxonomy.words[word] for word in path) for path in paths)
