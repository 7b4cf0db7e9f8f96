"""Ctrl-C and SIGTERM: asked once, a session ends cleanly within seconds; asked twice, at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class StopSession(BaseException):
    """Raised in the driver's loop to leave it; not an Exception, so that nothing on the way out swallows it."""


class EndOfSession(Exception):  # noqa: N818 - no error
    """`StopSession` where Ray tidies up on the way out, which it does for an Exception alone."""


class Interrupts:
    """Context in which signals set `asked` instead of ending the process; a thread may call `ask` as well."""

    def __init__(self) -> None:
        self.asked: str | None = None
        self._count = 0
        self._before: dict[int, Any] = {}

    def ask(self, why: str) -> None:
        """Ask for the end of the session."""
        self.asked = self.asked or why

    @property
    def signalled(self) -> bool:
        """Whether a signal came: somebody waits for the end."""
        return self._count > 0

    def within(self, seconds: float) -> Callable[[], bool]:
        """Whether it is time to leave off what nobody depends on: a signal came, or `seconds` from now are over."""
        end = time.monotonic() + seconds
        return lambda: self.signalled or time.monotonic() > end

    def install(self) -> None:
        """Take the signals over; again after `ray.init`, which takes SIGTERM for itself."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.signal(number, self._received)
            self._before.setdefault(number, before)

    def _received(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        self.ask(signal.Signals(number).name)
        if self._count > 1:
            # No clean-up, which is what somebody does not want to wait for: the state is on the disk all the time.
            os.write(2, b"\nended at once; nothing is lost, the same command continues\n")
            os._exit(128 + number)

    def __enter__(self) -> Interrupts:
        self.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
