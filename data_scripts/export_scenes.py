"""Write the drawn scenes as files in RefCOCO's layout, for programs that read nothing else.

    python data_scripts/export_scenes.py --out scenes
    python data_scripts/export_scenes.py --out scenes --split train val --size 480

Programs read the folder as RefCOCO, cut unc; this library by `load_dataset("refcoco", "val", root="scenes")`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from ris_lib.cli.command import run_command
from ris_lib.data.dataset import DEFAULT_SCENE_SIZE
from ris_lib.data.export import NAME, SPLIT_BY, export_scenes
from ris_lib.data.scenes import SPLITS
from ris_lib.data.verify import Counts


def export(
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")],
    split: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = tuple(SPLITS),
    size: int = DEFAULT_SCENE_SIZE,
    limit: int | None = None,
) -> None:
    """Write refs, annotations and pictures (PNG: not a pixel changes) of some splits.

    Args:
        out: Folder to make.
        split: Splits: train, val, test, testA, testB, compositional; by default all. The refer toolkit takes test for
            all three whose names begin so, and does not know compositional.
        size: Side of the pictures in pixels.
        limit: The first so many pictures of each split only.
    """
    say = partial(Console().print, soft_wrap=True, markup=False, highlight=False)
    for name, counts in export_scenes(out, split, size, limit=limit).items():
        say(f"{name}: {Counts(**counts)}")
    say(
        f"To read them: ris_lib.load_dataset({NAME!r}, {split[0]!r}, root={str(out)!r}); other programs: REFER(", end=""
    )
    say(f"{str(out)!r}, {NAME!r}, {SPLIT_BY!r})")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it with these arguments, by default the command line's; the exit status."""
    cli = lambda: tyro.cli(export, args=arguments, config=(tyro.conf.FlagCreatePairsOff,))  # noqa: E731
    return run_command(cli, "export_scenes.py")


if __name__ == "__main__":
    sys.exit(main())
