"""Searches in processes of their own, to be killed by pid: `start` one, wait until it has come somewhere, strike.

A driver prints a line for each change of its state, so that a test need not guess where it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NEIGHBOURS = f"{HERE}:{HERE.parent / 'search'}"
WORKERS = {
    "PYTHONPATH": f"{NEIGHBOURS}:{os.environ.get('PYTHONPATH', '')}",
    "OMP_NUM_THREADS": "1",
}
"""What workers need to find the fake training; for `monkeypatch.setenv` where the driver is the test itself."""


@dataclass(frozen=True)
class Driver:
    """A running search and the file that it prints to."""

    process: subprocess.Popen[str]
    log: Path

    @property
    def said(self) -> str:
        """All that it printed so far."""
        return self.log.read_text()

    @property
    def running(self) -> dict[int, int]:
        """Trials that workers have, with their last epoch, as the driver last said."""
        lines = [line for line in self.said.splitlines() if line.startswith("state ")]
        return dict(json.loads(lines[-1].split(" ", 2)[2])) if lines else {}

    @property
    def ended(self) -> int:
        """How many trials have ended, as the driver last said."""
        lines = [line for line in self.said.splitlines() if line.startswith("state ")]
        return int(lines[-1].split(" ", 2)[1]) if lines else 0

    def kill(self) -> None:
        """SIGKILL, and wait until Ray's processes under it have noticed: all that can run a trial, or hand one out.

        Ray's agents take a minute, and do nothing meanwhile.
        """
        children = set(offspring(self.process.pid)) - set(offspring(self.process.pid, "gent"))
        self.process.kill()
        self.process.wait()
        wait_for(lambda: not any(alive(pid) for pid in children))


STARTED: list[Driver] = []
"""Drivers that the present test has started; those that are left are killed at its end."""


def start(workspace: Path, *, wait: float = 0.0, environment: dict[str, str] | None = None, **plan: Any) -> Driver:
    """A search of `workspace` whose epochs take `wait` seconds; `plan` is what `driver.py` takes."""
    log = workspace / f"driver-{len(list(workspace.glob('driver-*.log')))}.log"
    merged = {**os.environ, **WORKERS, "FAKE_WAIT": str(wait), **(environment or {})}
    command = [sys.executable, str(HERE / "driver.py"), str(workspace), json.dumps(plan)]
    with log.open("w") as file:
        process = subprocess.Popen(
            command, env=merged, stdout=file, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
    STARTED.append(Driver(process, log))
    return STARTED[-1]


def finish(workspace: Path, *, seconds: float = 250.0, **plan: Any) -> str:
    """Run a search to its end; what it printed."""
    driver = start(workspace, **plan)
    code = driver.process.wait(seconds)
    assert code == 0, driver.said
    return driver.said


def wait_for(condition: Callable[[], Any], seconds: float = 200.0) -> None:
    """Until `condition` holds; fails when it takes longer than a busy machine would."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def offspring(pid: int, name: str = "") -> list[int]:
    """Processes under `pid`, those whose command line has `name` in it."""
    listing = subprocess.run(["ps", "-wweo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    table = [(int(own), int(parent), args) for own, parent, args in (x.split(None, 2) for x in listing.splitlines())]
    found, reached = [], {pid}
    while new := [(own, args) for own, parent, args in table if parent in reached and own not in reached]:
        reached |= {own for own, _ in new}
        found += [own for own, args in new if name in args]
    return found


def come_to(driver: Driver, epochs: int) -> None:
    """Wait until the running trials have `epochs` behind them, or one has ended."""
    wait_for(lambda: driver.running and (sum(driver.running.values()) >= epochs or driver.ended))


def gone(driver: Driver, seconds: float) -> float:
    """Seconds until the driver has ended by itself."""
    began = time.monotonic()
    driver.process.wait(seconds)
    return time.monotonic() - began
