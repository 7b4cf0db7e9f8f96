"""When to stop and which epoch to keep, by what the validation part says after each epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lesion.errors import SettingError
from lesion.metrics import objectives


class Pace:
    """Follows `monitor`, a metric of the validation part, from epoch to epoch.

    `patience` is how many epochs may pass without a better one before the training is over; 0 never ends it.
    """

    def __init__(self, monitor: str, classes: Sequence[str], patience: int) -> None:
        self._monitor, self._patience = monitor, patience
        self._sign = 1.0 if objectives(classes)[monitor].direction == "maximize" else -1.0
        self._best, self._since = float("-inf"), 0

    def observe(self, scores: Mapping[str, float]) -> bool:
        """Whether the epoch with these scores is the best so far; equal to the best does not count."""
        better = self.worth(scores) > self._best
        self._best = max(self._best, self.worth(scores))
        self._since = 0 if better else self._since + 1
        return better

    def worth(self, scores: Mapping[str, float]) -> float:
        """The monitored score, turned so that higher is better; SettingError when it is not defined."""
        score = scores[self._monitor]
        if math.isnan(score):
            # Nothing is ever better than NaN: the weights of the start would be kept as the best.
            raise SettingError(
                f"monitor {self._monitor} is not defined on this validation part, where a class has no image; "
                "monitor log_loss or accuracy, or take another split"
            )
        return self._sign * score

    @property
    def exhausted(self) -> bool:
        """Whether the patience is over."""
        return 0 < self._patience <= self._since

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs."""
        return {"best": self._best, "since": self._since}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._best, self._since = state["best"], state["since"]
