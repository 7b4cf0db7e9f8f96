"""Losses: from logits and labels to what is minimised.

A loss is built from the class counts of the training part, before balancing and after, so that a weight need never
correct what a resampler corrected already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lesion.classes import ClassCounts
from lesion.errors import SettingError
from lesion.losses import class_balanced, cost_matrix, entropy, focal, logit_adjusted, path  # noqa: F401 - importing registers
from lesion.losses.base import Loss, MeanLoss, losses
from lesion.losses.entropy import class_weights
from lesion.losses.path import PathLoss
from lesion.losses.reweighted import weighted
from lesion.taxonomy import find_taxonomy

if TYPE_CHECKING:
    from lesion.settings import Plan

__all__ = ["Loss", "MeanLoss", "build_loss", "class_weights", "losses", "weighted"]


def build_loss(plan: Plan, classes: ClassCounts) -> Loss:
    """The loss of a plan; one over a taxonomy teaches the words that the head spells, unless it names its own.

    Raises SettingError as the loss does, and where head and loss are of two taxonomies.
    """
    loss, spelled = plan.choices["loss"], plan.choices["head"].settings.get("taxonomy")
    settings = dict(loss.settings)
    if spelled is not None and settings.get("taxonomy") == "auto":
        settings["taxonomy"] = spelled
    built: Loss = losses[loss.name].build(classes, **settings)
    if isinstance(built, PathLoss) and spelled not in (None, settings["taxonomy"]):
        _agree_on_words(spelled, built)
    return built


def _agree_on_words(spelled: str, loss: PathLoss) -> None:
    """Two taxonomies of one shape would pass for each other, and the loss would teach the wrong words."""
    if find_taxonomy(spelled, loss.names).spelled != loss.taxonomy.spelled:
        raise SettingError(
            f"the head spells along taxonomy {spelled}, the loss teaches {loss.taxonomy.name}: give both the same, "
            "or leave the loss's at auto, which is the head's"
        )
