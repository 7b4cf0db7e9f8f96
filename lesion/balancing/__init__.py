"""Balancing: which images of the training part are drawn, how often, and what lies between them."""

from __future__ import annotations

from lesion.balancing import chains, rows, smote, weights  # noqa: F401 - importing registers
from lesion.balancing.copies import AUGMENTED, VIEWS, blended, shown
from lesion.balancing.draws import Draws, Part, Vectors, balancings

__all__ = ["AUGMENTED", "VIEWS", "Draws", "Part", "Vectors", "balancings", "blended", "shown"]
