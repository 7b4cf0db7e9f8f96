"""Laid into the environment of test hosts: trials train nothing, and write down on which host they ran.

No second epoch ends on a host while there is a file ``hold-HOST`` beside the checkpoints.

Python installs it at its start, by a line of a ``.pth`` file; it changes `search.trial` as soon as that is imported.
Imported alone, as pytest does to look for examples, it changes nothing. The
logical GPUs of the test hosts hold nothing that torch could train on.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

TRIAL = "search.trial"
HOSTS = 3


def build_training(settings: Mapping[str, Any], job: Any, seed: int) -> Any:
    """A `FakeTraining` that notes its host beside the checkpoints, and goes no further until there were `HOSTS`."""
    sys.path.append(str(Path(__file__).parent))
    from fake_training import FakeTraining, wait_for_lines

    os.environ.setdefault("FAKE_WAIT", "1")
    job.folder.mkdir(parents=True, exist_ok=True)
    notes = job.folder / "hosts.txt"
    with notes.open("a") as file:
        file.write(f"{platform.node()} {seed} {job.gpus}\n")

    class Noted(FakeTraining):
        def step(self) -> dict[str, float]:
            wait_for_lines(notes, HOSTS)
            metrics = super().step()
            hold = job.folder / f"hold-{platform.node()}"
            if hold.exists() and self.epoch > 1:
                while hold.exists():
                    time.sleep(0.1)
                with (job.folder / "held.txt").open("a") as file:
                    file.write(f"{platform.node()} {seed}\n")
            return metrics

    return Noted(settings, job, seed)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds `search.trial` as Python would, and has it changed once it is loaded."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> Any:
        if name != TRIAL:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.loader is not None
        load = spec.loader.exec_module

        def load_and_change(module: ModuleType) -> None:
            load(module)
            module.build_training = build_training  # type: ignore[attr-defined]

        spec.loader.exec_module = load_and_change  # type: ignore[method-assign]
        return spec


def install() -> None:
    """Change what this process imports from now on."""
    sys.meta_path.insert(0, _Finder())
