"""Events that MLflow has not taken yet, on disk: one JSON line each, flushed to the device.

A line that a crash tore is the last one and is passed over. Lines may be delivered twice, when a crash falls between
delivering and forgetting; the mirror recognises what is there already.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

Event = Mapping[str, Any]


class Spool:
    """An append-only file of events, emptied when all of them were delivered."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def append(self, event: Event) -> None:
        """Write `event` to the disk; raises OSError when there is no room."""
        line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                if file.tell() and not self._ends_a_line():
                    line = b"\n" + line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())

    def events(self) -> list[Event]:
        """All events, oldest first, without torn lines."""
        with self._lock:
            if not self.path.exists():
                return []
            lines = self.path.read_bytes().split(b"\n")
        events: list[Event] = []
        for line in lines:
            with suppress(ValueError):  # torn by a crash
                event = json.loads(line)
                if isinstance(event, dict):
                    events.append(event)
        return events

    def clear(self) -> None:
        """Forget all events: they were delivered."""
        with self._lock:
            self.path.unlink(missing_ok=True)

    def _ends_a_line(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
