"""A training that reads the images of its data set, mapped as trials map them, over and over for half a second."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from fake_training import FakeTraining

from lesion.data.packed import PackedDataset


class Mapped(FakeTraining):
    """Worth what the fake training is worth."""

    def __init__(self, settings: Mapping[str, Any], job: Any, seed: int) -> None:
        super().__init__(settings, job, seed)
        self.data = PackedDataset.open(job.data)

    def step(self) -> dict[str, float]:
        """An epoch, all of whose images are read."""
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            brightness = float(self.data.images.mean())
        return {**super().step(), "brightness": brightness}
