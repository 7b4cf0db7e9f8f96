"""A model as one ONNX file: from square photos to calibrated probabilities, for runtimes without PyTorch.

The graph has everything that a `Predictor` does after decoding: normalisation, flips and turns, all members, their
mean, temperature and class weights. What comes before, and the rules that come after, are written into its metadata as
JSON under the key ``lesion``: see `preprocessing`. The number of photos in a batch is free (networks
ask for ``x.shape[0]``: ``len(x)`` would write the number that the graph was traced with).

What was written is run by onnxruntime on random photos and compared with PyTorch before it is given its name.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lesion.errors import LesionError, SettingError
from lesion.metadata import COLUMNS, WIDTH
from lesion.prediction import dihedral, views_shown
from lesion.predictor import Predictor
from lesion.settings import resolve

FORMAT, OPSET = 1, 18
TOLERANCE = 1e-4
"""Largest difference of a probability between onnxruntime and PyTorch."""
TRIED = (1, 3)
"""Batches that are compared; the graph is traced with another."""


class ExportError(LesionError):
    """A model cannot be written as ONNX, or does not compute there what it computes here."""


class Exported(nn.Module):
    """Photos (N, 3, S, S) in [0, 1], for each size that a member looks at, and people (N, width) → (N, classes)."""

    weights: torch.Tensor

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        # Copies: what a predictor holds is not changed by writing it.
        self.models = nn.ModuleList(deepcopy(member.model).eval() for member in predictor.members)
        self.sizes = [input_size(member.settings) for member in predictor.members]
        self.views = views_shown(predictor.views)
        self.asks = predictor.asks_for_people
        self.temperature = predictor.rules.temperature
        weights = predictor.class_weights or (1.0,) * len(predictor.classes)
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32))

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:  # noqa: D102
        shown = dict(zip(sorted(set(self.sizes)), inputs, strict=False))
        people = inputs[-1] if self.asks else None
        views = len(self.views)
        several = None if people is None else people.repeat(views, 1)
        each = []
        for model, size in zip(self.models, self.sizes, strict=True):
            turned = torch.cat([dihedral(shown[size], view) for view in self.views])  # (views N, 3, S, S)
            logits = model(turned, several)
            each.append(logits.softmax(dim=1).reshape(views, -1, logits.shape[1]).mean(dim=0))
        mean = torch.stack(each).mean(dim=0)
        if self.temperature != 1.0:
            mean = (mean.clamp_min(1e-12).log() / self.temperature).softmax(dim=1)
        weighted = mean * self.weights
        return weighted / weighted.sum(dim=1, keepdim=True)


def input_size(settings: Mapping[str, Any]) -> int:
    """Pixels a side of what a member's network looks at."""
    return int(resolve(settings).general["image_size"])


def export_onnx(predictor: Predictor, path: Path, say: Callable[[str], None] = lambda text: None) -> float:
    """Write `predictor` as an ONNX file and return its largest difference from PyTorch, at most `TOLERANCE`.

    Raises SettingError where the packages are missing or members decode photos differently, and ExportError.
    """
    if len(predictor.squares) > 1:
        raise SettingError("the members decode photos to different squares: one graph cannot take both")
    try:
        import onnx  # noqa: PLC0415 - packages that only an export needs
        import onnxruntime  # noqa: F401, PLC0415
        import onnxscript  # noqa: F401, PLC0415
    except ImportError as problem:
        raise SettingError(f"{problem.name} is not installed: pip install 'lesion-search[onnx]'") from problem
    network = Exported(predictor).eval()
    names = [f"images_{size}" if len(set(network.sizes)) > 1 else "images" for size in sorted(set(network.sizes))]
    names += ["people"] if network.asks else []
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        say("tracing the graph")
        _trace(network, names, partial)
        graph = onnx.load(str(partial))
        _describe(graph, predictor)
        onnx.checker.check_model(graph)
        onnx.save(graph, str(partial))
        say("comparing with PyTorch")
        worst = max(difference(network, partial, batch) for batch in TRIED)
        if not worst <= TOLERANCE:
            raise ExportError(f"onnxruntime differs from PyTorch by {worst:.2g}, more than {TOLERANCE:g}")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return worst


def preprocessing(predictor: Predictor) -> dict[str, Any]:
    """What has to be done with a photo before the graph, in words, and the numbers for it."""
    ((side, geometry),) = predictor.squares
    return {
        "colours": "RGB, EXIF orientation applied",
        "geometry": {
            "stretch": "the whole frame is stretched to a square",
            "crop": "the middle square is cut out",
            "pad": "the whole frame stands between black bars",
        }[geometry],
        "decoded_to": [side, side],
        "filter": "Lanczos with a support that grows with the reduction (Pillow's LANCZOS)",
        "then_to": sorted({input_size(member.settings) for member in predictor.members}),
        "second_filter": "area averaging where it shrinks (OpenCV's INTER_AREA), else bilinear",
        "range": "0 to 1 (divided by 255); the graph normalises by itself",
        "layout": "N, 3, height, width",
        "people": list(COLUMNS) if predictor.asks_for_people else None,
    }


def difference(network: Exported, path: Path, batch: int) -> float:
    """Largest difference of a probability between the file at `path` and `network` on `batch` random photos."""
    import onnxruntime  # noqa: PLC0415

    inputs = _random(network, batch, seed=batch)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = {put.name: tensor.numpy() for put, tensor in zip(session.get_inputs(), inputs, strict=True)}
    (found,) = session.run(None, given)
    with torch.inference_mode():
        expected = network(*inputs).numpy()
    return float(np.abs(found - expected).max())


def _trace(network: Exported, names: list[str], path: Path) -> None:
    inputs = _random(network, 2, seed=0)
    dynamic = ({0: torch.export.Dim("photos")},) * len(inputs)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # deprecations inside the exporter
            torch.onnx.export(
                network, inputs, str(path), dynamo=True, input_names=names, output_names=["probabilities"],
                dynamic_shapes=(dynamic,), opset_version=OPSET, external_data=False, verbose=False,
            )  # fmt: skip
    except Exception as problem:  # the exporter raises whatever its parts raise
        first = next((line for line in str(problem).splitlines() if line.strip()), type(problem).__name__)
        raise ExportError(f"PyTorch cannot write this model as ONNX: {first.strip()}") from problem


def _random(network: Exported, batch: int, seed: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    shown = [torch.rand(batch, 3, size, size, generator=generator) for size in sorted(set(network.sizes))]
    return (*shown, *([torch.rand(batch, WIDTH, generator=generator).round()] if network.asks else []))


def _describe(graph: Any, predictor: Predictor) -> None:
    rules = asdict(predictor.rules)
    facts = {
        "format": FORMAT,
        "classes": list(predictor.classes),
        "preprocessing": preprocessing(predictor),
        "decision": "the class of the largest probability times its decision_weights",
        "decision_weights": rules["decision_weights"],
        "operating_point": rules["operating_point"],
        "temperature": "applied by the graph",
        "members": len(predictor.members),
        "views": predictor.views,
        "data": predictor.data,
        "provenance": predictor.provenance,
    }
    entry = graph.metadata_props.add()
    entry.key, entry.value = "lesion", json.dumps(facts)
