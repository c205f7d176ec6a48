"""The ``ris`` command: train, eval, predict, models, convert, bench.

Every verb is a function; its arguments are the flags. What a user did wrong ends with a message and exit code 2.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

#: Exit codes besides 0. A run that was asked to stop ends with 128 plus the signal's number: 143 for SIGTERM.
WRONG_INPUT, INTERRUPTED = 2, 130

DESCRIPTION = """Referring image segmentation: an image and a sentence go in, the mask of the one object that the sentence means comes out.

`ris VERB --help` lists the flags of a verb."""  # noqa: E501  (wrapped by the terminal)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Words after ``ris``; None = those of this process.

    Returns:
        The exit code: 0, 2 for wrong input, 143 and 130 after SIGTERM and Ctrl-C.

    Example:
        >>> main(["eval", "--run", "no/such/folder"])
        2
    """
    from tyro.conf import DisallowNone, FlagCreatePairsOff, PositionalMetavarFromFieldName
    from tyro.extras import subcommand_cli_from_dict

    from ris_lib.cli.bench import bench
    from ris_lib.cli.convert import convert
    from ris_lib.cli.evaluate import evaluate
    from ris_lib.cli.models import models
    from ris_lib.cli.predict import predict
    from ris_lib.cli.train import train
    from ris_lib.engine.interrupt import Stopped

    verbs = {
        "train": train,
        "eval": evaluate,
        "predict": predict,
        "models": models,
        "convert": convert,
        "bench": bench,
    }
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            subcommand_cli_from_dict(
                verbs,
                prog="ris",
                description=DESCRIPTION,
                args=arguments,
                config=(FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone),
            )
        except Stopped as stopped:
            return _complain(str(stopped), stopped.code)
        except BrokenPipeError:  # whoever reads our output has had enough, as `head` has
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (Python flushes it at the very end)
        except (ValueError, OSError) as error:
            return _complain(_message(error), WRONG_INPUT)
        except KeyboardInterrupt:
            return _complain("interrupted", INTERRUPTED)
    return 0


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"ris: {message}\n")
    return code


def _message(error: Exception) -> str:
    """What went wrong; of an error in a worker process, which comes with its traceback as text, the last line."""
    if isinstance(error, OSError) and error.strerror:  # the system's own words, and a number that says nothing
        file = error.filename or "a file"
        return f"{file} cannot be read or written: {error.strerror}. Choose another place, or mend this one."
    text = str(error)
    if "Original Traceback" in text:
        text = text.rstrip().splitlines()[-1].partition(": ")[2]
    return text or type(error).__name__


def _show_warning(message: Warning | str, *where: object, **more: object) -> None:
    sys.stderr.write(f"ris: warning: {message}\n")
