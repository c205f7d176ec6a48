"""Being asked to stop: the step is finished, a checkpoint is saved, then the run ends."""

from __future__ import annotations

import signal
import threading
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


class StopRequest:
    """Remembers SIGTERM and SIGINT (Ctrl-C) within a ``with`` block, instead of ending the program at once.

    A second signal of the same kind does what it would have done without this. Outside of the main thread, where Python
    allows no handlers, nothing is changed.

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
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.code = 128 + number
        signal.signal(number, self._before[number])
