"""Sixteen fixed settings, for comparing how many trials an hour different programs train; and on which machine.

All are MobileNetV2 with three of its five stages trained, or a whole ResNet-18; learning rate, weight decay, dropout
and loss differ, none of which changes what a step costs.
"""

from __future__ import annotations

import os
import platform
from datetime import date
from importlib.metadata import version
from itertools import product
from pathlib import Path

SEED = 2017
BACKBONES = {"mobilenet_v2": 3, "resnet18": 5}
"""How many stages are trained of each."""
CHOICES = {
    "optimizer.adamw.lr": [1.0e-3, 3.0e-4],
    "optimizer.adamw.weight_decay": [0.01, 0.05],
    "head.linear.dropout": [0.2, 0.4],
    "loss": ["cross_entropy", "weighted_cross_entropy"],
}
"""What differs, by its path in a space file."""


def common(weights: str, size: int, backbone: str = "mobilenet_v2") -> dict[str, object]:
    """What is the same in all of them; `weights` is a file, or "none"; `size` is in pixels."""
    return {
        "image_size": size,
        "batch_size": 32,
        "precision": "auto",  # bfloat16 for a ResNet where the processor has AMX; stock.py is always in float32
        "backbone": backbone,
        f"backbone.{backbone}.weights": weights,
        f"backbone.{backbone}.trainable_stages": BACKBONES[backbone],
        "head": "linear",
        "augmentation": "colour",
        "balancing": "none",
        "optimizer": "adamw",
        "schedule": "cosine",
    }


def points(trials: int) -> list[dict[str, object]]:
    """The first `trials` of the sixteen; beyond that they come again."""
    every = [dict(zip(CHOICES, values, strict=True)) for values in product(*CHOICES.values())]
    return [every[number % len(every)] for number in range(trials)]


def machine() -> str:
    """Cores, processor, software and date, in one line."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    processor = next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.processor())
    software = f"torch {version('torch')}, Ray {version('ray')}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {processor}; {software}; {date.today().isoformat()}"
