"""What the last words of a trial's worker mean, as Ray hands them on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.ledger import Ending


def ending_of(result: Mapping[str, Any], epochs: int) -> Ending:
    """How a trial ended, by its last result: over means complete, a failure class failed, else it was pruned.

    A training that stops by itself before its last epoch is over as well.
    """
    if "failure" in result:
        return Ending("failed", result["epoch"], failure=result["failure"], message=result["message"])
    state = "complete" if result.get("over") or result["epoch"] >= epochs else "pruned"
    return Ending(state, result["epoch"], result["value"])


def metrics_of(result: Mapping[str, Any]) -> dict[str, float]:
    """Metrics of one epoch out of a result that Ray has flattened with slashes."""
    return {name.removeprefix("metrics/"): value for name, value in result.items() if name.startswith("metrics/")}
