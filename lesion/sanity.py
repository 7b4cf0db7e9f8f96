"""Whether maps explain the model or only the photo: they must change when the weights are made random.

A method that draws the same map for a network that learnt nothing is an edge detector (Adebayo et al. 2018,
arXiv:1810.03292, section 3: model parameter randomisation). Weights are made random from the head downwards, a stage of
the backbone at a time, and the maps are compared with the true ones by Spearman's rank correlation: 1 is the same map.
Each tensor's values are shuffled, so layers keep the scale of what they compute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from lesion.explain import Map, explain
from lesion.models import Model
from lesion.predictor import Predictor

ALIKE = 0.5
"""Correlation from which on maps of a random model are told to be like the true ones: a quarter of the ranks' variance.

The paper names no bound; it compares curves by eye.
"""
ENOUGH = 5
"""Photos from which on the mean is told as a verdict: the maps of one photo are alike by chance now and then."""


@dataclass(frozen=True)
class Cascade:
    """Mean rank correlations by what was made random, over the photos that were `compared`; none where there are none.

    A photo on which nothing speaks for the target has a true map that is the same everywhere, which no map can be like
    or unlike: it is left out.
    """

    correlations: Mapping[str, float]
    compared: int

    @property
    def in_words(self) -> str:
        """What the correlations say of the maps, in one line, by the one where all weights are random.

        >>> Cascade({"nothing": 1.0, "head": 0.3, "stage 1": 0.04}, 40).in_words
        'the maps depend on the model: their correlation is 0.04 when all is random, and 1 would be the same maps'
        """
        if not self.compared:
            return "nothing to compare: no photo has a map that is not the same everywhere"
        end = list(self.correlations.values())[-1]
        if self.compared < ENOUGH:
            photos = "1 photo" if self.compared == 1 else f"{self.compared} photos"
            return f"{photos} can tell little (give {ENOUGH} or more): the correlation is {end:.2f} when all is random"
        if abs(end) < ALIKE:
            told = f"the maps depend on the model: their correlation is {end:.2f} when all is random"
            return f"{told}, and 1 would be the same maps"
        told = f"the maps hardly depend on the model: their correlation is still {end:.2f} when all is random"
        return f"{told}, as if they showed the photo alone"


def cascade(
    predictor: Predictor,
    photos: Sequence[str | Path],
    *,
    target: str,
    people: pd.DataFrame | None = None,
    views: int = 1,
    seed: int = 0,
) -> Cascade:
    """Mean rank correlation of the maps of `target` with the true ones, after each part was made random as well.

    Keys are "nothing", "head", then the stages of the backbone from the last to the first. Members are made random
    together, from the head on: where one has fewer stages it stays random to the last while others go on, and a key
    names the stage of each ("stage 5/4" to "stage 2/1", "stage 1"). `people` as of `Predictor.judge`.
    """

    def maps_of(model: Predictor) -> list[Map]:
        return [why.map for why in explain(model, photos, target=target, people=people, views=views)]

    whole = maps_of(predictor) if photos else []
    telling = [place for place, each in enumerate(whole) if np.ptp(each) > 0]
    if not telling:
        return Cascade({}, 0)
    photos, true = [photos[place] for place in telling], [whole[place] for place in telling]
    people = None if people is None else people.iloc[telling]
    found = {"nothing": 1.0}
    members = [list(randomised(member.model, seed + k)) for k, member in enumerate(predictor.members)]
    for step in range(max(map(len, members))):
        steps = [models[min(step, len(models) - 1)] for models in members]
        broken = tuple(
            replace(member, model=model) for member, (_, model) in zip(predictor.members, steps, strict=True)
        )
        maps = maps_of(replace(predictor, members=broken))
        key = _together([name for name, _ in steps])
        found[key] = float(np.mean([rank_correlation(a, b) for a, b in zip(true, maps, strict=True)]))
    return Cascade(found, len(telling))


def randomised(model: Model, seed: int) -> Iterator[tuple[str, Model]]:
    """The model with more and more of its weights shuffled: ("head", …), then ("stage 5", …) down to the first."""
    generator = torch.Generator().manual_seed(seed)
    broken = deepcopy(model)
    parts = [("head", broken.added)]
    stages = list(broken.backbone.stages)
    parts += [(f"stage {n}", stages[n - 1]) for n in range(len(stages), 0, -1)]
    for name, part in parts:
        _shuffle(part, generator)
        yield name, deepcopy(broken)


def rank_correlation(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Spearman's correlation of two maps; 0 where one of them is the same everywhere, which says nothing.

    >>> rank_correlation([[0, 1], [2, 3]], [[0, 10], [100, 1000]])
    1.0
    """
    ranks = [pd.Series(np.asarray(values).ravel()).rank().to_numpy(np.float64) for values in (first, second)]
    a, b = (rank - rank.mean() for rank in ranks)
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread > 0 else 0.0


def _together(names: Sequence[str]) -> str:
    """The names of members' parts as one: "stage 5" and "stage 4" are "stage 5/4"."""
    numbers = dict.fromkeys(name.removeprefix("stage ") for name in names)
    return names[0].removesuffix(next(iter(numbers))) + "/".join(numbers)


@torch.no_grad()
def _shuffle(part: nn.Module, generator: torch.Generator) -> None:
    for tensor in part.parameters():
        order = torch.randperm(tensor.numel(), generator=generator)
        tensor.copy_(tensor.flatten()[order.to(tensor.device)].view_as(tensor))
