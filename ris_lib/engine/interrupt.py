"""Being asked to stop: the step is finished, a checkpoint is saved, then the run ends."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any


class Stopped(Exception):  # noqa: N818  (it says what happened, as KeyboardInterrupt does)
    """A run was asked to stop and has saved a checkpoint.

    Args:
        message: Where it stopped and how to go on.
        code: Exit code for a program: 128 plus the signal's number, 143 for SIGTERM and 130 for SIGINT.
    """

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


#: Seconds within which further signals are the same request. Our decision: torchrun passes signals on at once, and a
#: person who presses Ctrl-C again because it takes too long waits longer than that.
SAME = 2.0


class StopRequest:
    """Remembers SIGTERM and SIGINT (Ctrl-C) within a ``with`` block, instead of ending the program at once.

    A further signal does what it would have done without this, but not within the first ``SAME`` seconds: launchers
    pass a signal on that the whole group has got already, so that every process gets it twice. Outside of the main
    thread, where Python allows no handlers, nothing is changed.

    Attributes:
        code: 0, or after a signal 128 plus its number.

    Example:
        >>> with StopRequest() as stop:
        ...     signal.raise_signal(signal.SIGTERM)
        ...     stop.code
        143
    """

    def __init__(self) -> None:
        self.code = 0
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.code:
            self.code, self._since = 128 + number, time.monotonic()
        elif time.monotonic() - self._since > SAME:
            signal.signal(number, self._before[number])
            signal.raise_signal(number)
