"""Models on paper: built for their structure alone, with neither memory for weights nor numbers in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class OnPaper(TorchFunctionMode):
    """Inside ``with OnPaper():`` layers have their weights on the meta device and do not initialise them.

    Other tensors stay real, unlike under ``torch.device("meta")``: RegNet computes its widths with tensors.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if _initialises(func):
            return args[0] if args else kwargs["tensor"]
        if func is torch.empty:  # what every layer of torch makes its weights with
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def _initialises(func: Callable[..., Any]) -> bool:
    return getattr(func, "__module__", None) == "torch.nn.init" and func.__name__.endswith("_")
