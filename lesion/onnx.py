"""A model as one ONNX file: from square photos to calibrated probabilities, for runtimes without PyTorch.

The graph has everything that a `Predictor` does after decoding: normalisation, flips and turns, all members, their
mean, temperature and class weights. What comes before, and the rules that come after, are written into its metadata as
JSON under the key ``lesion``: see `preprocessing`. The number of photos in a batch is free (networks
ask for ``x.shape[0]``: ``len(x)`` would write the number that the graph was traced with).

What was written is run by onnxruntime on drawn lesions and compared with the `Predictor` before it is given its name:
first with the logits of every member and view as a second output, then as it stays.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lesion.errors import Failure, LesionError, SettingError
from lesion.metadata import COLUMNS, WIDTH
from lesion.onnx_comparison import TOLERANCE, Difference, difference, input_sizes
from lesion.prediction import dihedral, views_shown
from lesion.predictor import Predictor

FORMAT, OPSET = 1, 18
TRIED = (1, 3)
"""Batches that are compared; the graph is traced with another."""


class ExportError(LesionError, Failure):
    """A model cannot be written as ONNX, or does not compute there what it computes here."""


class Exported(nn.Module):
    """Photos (N, 3, S, S) in [0, 1], for each size that a member looks at, and people (N, width).

    Returns probabilities (N, classes), and the logits of every member and view (members × views, N, classes).
    """

    weights: torch.Tensor

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        # Copies: what a predictor holds is not changed by writing it.
        self.models = nn.ModuleList(deepcopy(member.model).eval() for member in predictor.members)
        self.sizes = input_sizes(predictor)
        self.views = views_shown(predictor.views)
        self.asks = predictor.asks_for_people
        self.temperature = predictor.rules.temperature
        weights = predictor.class_weights or (1.0,) * len(predictor.classes)
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32))

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: D102
        shown = dict(zip(sorted(set(self.sizes)), inputs, strict=False))
        people = inputs[-1] if self.asks else None
        views = len(self.views)
        several = None if people is None else people.repeat(views, 1)
        parts = []
        for model, size in zip(self.models, self.sizes, strict=True):
            turned = torch.cat([dihedral(shown[size], view) for view in self.views])  # (views N, 3, S, S)
            logits = model(turned, several)
            parts.append(logits.reshape(views, -1, logits.shape[1]))
        every = torch.cat(parts)  # (members × views, N, classes)
        mean = every.softmax(dim=2).mean(dim=0)
        if self.temperature != 1.0:
            mean = (mean.clamp_min(1e-12).log() / self.temperature).softmax(dim=1)
        weighted = mean * self.weights
        return weighted / weighted.sum(dim=1, keepdim=True), every


def export_onnx(predictor: Predictor, path: Path, say: Callable[[str], None] = lambda text: None) -> Difference:
    """Write `predictor` as an ONNX file and return its largest differences from PyTorch, at most `TOLERANCE`.

    The folder of `path` is made. Raises SettingError where the packages are missing or members decode photos
    differently, and ExportError.
    """
    if len(predictor.squares) > 1:
        raise SettingError("the members decode photos to different squares: one graph cannot take both")
    try:
        import onnx  # noqa: PLC0415 - packages that only an export needs
        import onnxruntime  # noqa: F401, PLC0415
        import onnxscript  # noqa: F401, PLC0415
    except ImportError as problem:
        raise SettingError(f"{problem.name} is not installed: pip install 'lesion-search[onnx]'") from problem
    path.parent.mkdir(parents=True, exist_ok=True)
    network = Exported(predictor).eval()
    names = [f"images_{size}" if len(set(network.sizes)) > 1 else "images" for size in sorted(set(network.sizes))]
    names += ["people"] if network.asks else []
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        say("tracing the graph")
        _trace(network, names, partial)
        graph = onnx.load(str(partial))
        _describe(graph, predictor)
        _save(graph, partial)
        say("comparing with PyTorch")
        first = _compared(predictor, partial)
        # Nobody who uses the file asks for logits; without them onnxruntime may fuse what it kept apart for them.
        _drop_output(graph, "logits")
        _save(graph, partial)
        last = _compared(predictor, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return Difference(max(first.probability, last.probability), first.logit)


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
        "then_to": sorted(set(input_sizes(predictor))),
        "second_filter": "area averaging where it shrinks (OpenCV's INTER_AREA), else bilinear",
        "range": "0 to 1 (divided by 255); the graph normalises by itself",
        "layout": "N, 3, height, width",
        "people": list(COLUMNS) if predictor.asks_for_people else None,
    }


def _compared(predictor: Predictor, path: Path) -> Difference:
    each = [difference(predictor, path, photos) for photos in TRIED]
    for found in each:
        if not found.sound:
            raise ExportError(
                f"onnxruntime differs from PyTorch by {found}, more than {TOLERANCE:g}: nothing was written. Another "
                "version of torch, onnxscript or onnxruntime may write and run the graph as it should be"
            )
    return Difference(max(found.probability for found in each), max(found.logit for found in each))


def _save(graph: Any, path: Path) -> None:
    import onnx  # noqa: PLC0415

    onnx.checker.check_model(graph)
    onnx.save(graph, str(path))


def _drop_output(model: Any, name: str) -> None:
    """Take an output out of the graph, and the nodes and constants that led to it alone."""
    graph = model.graph
    graph.output.remove(next(output for output in graph.output if output.name == name))
    while True:
        used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
        idle = [node for node in graph.node if not used & set(node.output)]
        if not idle:
            break
        for node in idle:
            graph.node.remove(node)
    for constant in [each for each in graph.initializer if each.name not in used]:
        graph.initializer.remove(constant)


def _trace(network: Exported, names: list[str], path: Path) -> None:
    inputs = _random(network, 2, seed=0)
    dynamic = ({0: torch.export.Dim("photos")},) * len(inputs)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # deprecations inside the exporter
            torch.onnx.export(
                network, inputs, str(path), dynamo=True, input_names=names, output_names=["probabilities", "logits"],
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
