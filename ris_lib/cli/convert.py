"""``ris convert``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from tyro.conf import Positional

from ris_lib.models.official.convert import convert as convert_checkpoint


def convert(checkpoint: Positional[Path], out: Positional[Path]) -> None:
    """Turn an official checkpoint of LAVT, CRIS, MagNet or LGFormer into a model of this library.

    $ ris convert lavt_refcoco.pth models/lavt_refcoco
    $ ris predict --run models/lavt_refcoco photo.jpg "the left cup"

    Args:
        checkpoint: The file that the authors published. Nothing in it is executed.
        out: Folder to write; it must not exist yet.
    """
    system = convert_checkpoint(checkpoint, out)
    Console().print(f"{system.title}: {out}", highlight=False)
