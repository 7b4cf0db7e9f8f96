"""Searches replayed on recorded learning curves: samplers and schedulers compared in seconds, without training.

`curves` reads what real trials recorded; `replay` runs one simulated search on them, `comparison` many.
"""

from search.simulation.comparison import METHODS, Method, Outcome, compare
from search.simulation.curves import Curve, Recorded, curves_of_study, read_curves, space_of_study, write_curves
from search.simulation.replay import Moment, replay

__all__ = [
    "METHODS", "Curve", "Method", "Moment", "Outcome", "Recorded", "compare", "curves_of_study", "read_curves",
    "replay", "space_of_study", "write_curves",
]  # fmt: skip
