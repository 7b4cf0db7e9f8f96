"""What the rules of a model (temperature, weights, threshold) were set on, kept with it, and what follows from it.

Rules hold for the model whose probabilities they were fitted to. Members of folds have trained on parts of any
validation part, so that each image speaks through those alone that had not seen it; the model is the mean of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lesion.predictor import Predictor
from lesion.rules import Rules

SET_ON = "rules_set_on"
"""Key of a model's provenance."""
FOLD = "fold-"
"""In the label of a member that was trained on a fold."""


def set_on(images: int, views: int, networks: int, members: int) -> dict[str, int]:
    """The entry of provenance: each of `images` was judged by `networks` of the `members` in `views` views."""
    return {"images": images, "views": views, "networks": networks, "members": members}


def caveat(provenance: Mapping[str, Any]) -> str:
    """Why validation does not show how well a model's rules fit it; "" where it does.

    >>> caveat({SET_ON: set_on(900, 8, 1, 5)}).partition(":")[0]
    'temperature, weights and threshold were set on images each judged by 1 of the 5 networks in 8 views'
    >>> caveat({SET_ON: set_on(150, 8, 5, 5)})
    ''
    """
    told, trials = provenance.get(SET_ON), provenance.get("trials")
    labels = (
        [str(each.get("number")) for each in trials if isinstance(each, Mapping)] if isinstance(trials, list) else []
    )
    if not isinstance(told, Mapping):
        # Earlier releases noted nothing, and set the rules of folds on what the members had said in training.
        told = set_on(0, 1, 1, len(labels)) if any(FOLD in label for label in labels) else {}
    networks, members, views = (told.get(key) for key in ("networks", "members", "views"))
    if not isinstance(networks, int) or not isinstance(members, int) or networks >= members:
        return ""
    return (
        f"temperature, weights and threshold were set on images each judged by {networks} of the {members} networks in "
        f"{views} view{'' if views == 1 else 's'}: by those that had not trained on it. The mean of all {members} is "
        "another model, so figures on validation do not show how well these rules fit it; those of the test part do"
    )


def other_views(predictor: Predictor, views: int) -> str:
    """What it means to ask a model for so many `views`; "" where its rules were set for them, or it has none."""
    if views == predictor.views or predictor.rules == Rules():
        return ""
    return (
        f"the model's temperature, weights and threshold were set for {predictor.views} views: with {views}, "
        "calibration, decisions and the sensitivity of what is flagged are not those that were measured"
    )
