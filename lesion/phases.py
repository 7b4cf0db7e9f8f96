"""What a training is fed from epoch to epoch: external photos in the first of them, and only its own in the rest.

Photos of another source teach what the own ones are too few for, and are not quite like them: labels mean something
else, cameras differ. So a training can begin with both and end with its own, as one that starts from another's weights
does (`external_epochs` in `lesion.settings`), in one run and with one schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from lesion.data.external import limited
from lesion.data.packed import PackedDataset, Split
from lesion.losses import Loss
from lesion.material import Material


@dataclass(frozen=True, eq=False)
class Phase:
    """The epochs before `end`, counted from 0, from where the phase before ends."""

    end: int
    material: Material
    loss: Loss


class Phases:
    """The phases of a training, in order; there is one at least."""

    def __init__(self, phases: Sequence[Phase]) -> None:
        self._phases = tuple(phases)

    def at(self, epoch: int) -> Phase:
        """The phase of `epoch`; after the last one, the last."""
        return next((phase for phase in self._phases if epoch < phase.end), self._phases[-1])

    @property
    def steps(self) -> int:
        """Steps of an epoch as schedules count them, those of the first phase."""
        return self._phases[0].material.steps

    def step(self, epoch: int, index: int) -> int:
        """Step `index` of `epoch` on the clock of the schedules, on which every epoch has `steps`."""
        return epoch * self.steps + index * self.steps // self.at(epoch).material.steps

    def examples(self, epochs: int) -> int:
        """Examples that so many epochs have seen."""
        materials = [self.at(epoch).material for epoch in range(epochs)]
        return sum(material.steps * material.batch_size for material in materials)


def parts(data: PackedDataset, split: Split, share: float, epochs: int) -> list[tuple[int, Split]]:
    """The splits that are trained on, each with the epoch before which it is.

    The `share` (0 to 1) of the `epochs`, the first ones, have the external photos of `split`, the others none. Any
    share above 0 has them in the first epoch at least.
    """
    end = ceil(round(share * epochs, 6))  # a third of three epochs is one, however it is written
    own = split if end >= epochs else limited(data, split, 0.0)
    return [(epochs, own)] if own is split or end == 0 else [(end, split), (epochs, own)]
