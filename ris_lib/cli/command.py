"""How a command ends: with 0, or with one line that says what was wrong and an exit code, never with a traceback."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable

#: Exit codes besides 0. A run that was asked to stop ends with 128 plus the signal's number: 143 for SIGTERM.
WRONG_INPUT, INTERRUPTED = 2, 130


def run_command(command: Callable[[], object], name: str) -> int:
    """Call what a command does; warnings and errors of its user become lines on stderr.

    Args:
        command: Does it.
        name: Of the command; every line begins with it.

    Returns:
        The exit code: 0, 2 for wrong input, 143 and 130 after SIGTERM and Ctrl-C.

    Example:
        >>> run_command(lambda: None, "ris")
        0
    """
    from ris_lib.engine.interrupt import Stopped

    def complain(message: str, code: int) -> int:
        sys.stderr.write(f"{name}: {message}\n")
        return code

    def show_warning(message: Warning | str, *where: object, **more: object) -> None:
        sys.stderr.write(f"{name}: warning: {message}\n")

    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        try:
            command()
        except Stopped as stopped:
            return complain(str(stopped), stopped.code)
        except BrokenPipeError:  # whoever reads our output has had enough, as `head` has
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (Python flushes it at the very end)
        except (ValueError, OSError) as error:
            return complain(_message(error), WRONG_INPUT)
        except KeyboardInterrupt:
            return complain("interrupted", INTERRUPTED)
    return 0


def _message(error: Exception) -> str:
    """What went wrong; of an error in a worker process, which comes with its traceback as text, the last line."""
    if isinstance(error, OSError) and error.strerror:  # the system's own words, and a number that says nothing
        file = error.filename or "a file"
        return f"{file} cannot be read or written: {error.strerror}. Choose another place, or mend this one."
    text = str(error)
    if "Original Traceback" in text:
        text = text.rstrip().splitlines()[-1].partition(": ")[2]
    return text or type(error).__name__
