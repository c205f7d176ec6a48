"""The ``ris`` command: train, eval, predict, models, convert, bench.

Every verb is a function; its arguments are the flags. What a user did wrong ends with a message and exit code 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

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
    from ris_lib.cli.command import run_command
    from ris_lib.cli.convert import convert
    from ris_lib.cli.evaluate import evaluate
    from ris_lib.cli.models import models
    from ris_lib.cli.predict import predict
    from ris_lib.cli.train import train

    verbs = {
        "train": train,
        "eval": evaluate,
        "predict": predict,
        "models": models,
        "convert": convert,
        "bench": bench,
    }
    command = partial(
        subcommand_cli_from_dict,
        verbs,
        prog="ris",
        description=DESCRIPTION,
        args=arguments,
        config=(FlagCreatePairsOff, PositionalMetavarFromFieldName, DisallowNone),
    )
    return run_command(command, "ris")
