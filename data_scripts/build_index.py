"""Build the index of RefCOCO, RefCOCO+ or RefCOCOg once, so that every later start is instant.

    python data_scripts/build_index.py --root data --dataset refcoco
    python data_scripts/build_index.py --root data --dataset refcocog --split-by google

`ris_lib.load_dataset`, `ris train` and `ris eval` do the same on their first load, and find what this has built. A
second time it builds nothing; files that have changed are read again. Stop it at any time: nothing half-made is ever
found.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from ris_lib.cli.command import run_command
from ris_lib.cli.output import JsonFile, check_json, report
from ris_lib.data.index import Index
from ris_lib.data.refer import refer_index
from ris_lib.data.verify import Counts


def build_index(
    data: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--dataset"], metavar="NAME ...")] = (),
    root: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("data"),
    split_by: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    json: JsonFile = None,
) -> None:
    """Read the official files into one Arrow file in the cache folder ($RIS_CACHE, or ~/.cache/ris_lib).

    Args:
        data: Data sets: refcoco, refcoco+, refcocog.
        root: Folder with refcoco/, refcoco+/ and refcocog/; photographs are not looked at.
        split_by: unc, umd or google; by default unc, for refcocog umd.
        json: Also write where the indices are and what they hold as JSON; - = to stdout.
    """
    if not data:
        raise ValueError("nothing to index; name data sets: --dataset refcoco refcoco+ refcocog.")
    check_json(json)
    say = partial(Console(stderr=json == "-").print, soft_wrap=True, markup=False, highlight=False)
    values = {}
    for name in dict.fromkeys(data):
        start = time.perf_counter()
        kept = refer_index(root, name, split_by)
        how = f"built in {time.perf_counter() - start:.1f} s" if kept.new else "was there"
        cut, parts = kept.index.row(0)["split_by"], _parts(kept.index)
        say(f"{name} ({cut}) in {root}: {how}, {kept.path.stat().st_size / 1e6:.2f} MB at {kept.path}")
        for split, part in parts.items():
            missing = part.without_mask()
            say(f"  {split}: {Counts(**part.counts())}" + (f"; {missing:,} refs without a mask" if missing else ""))
        splits = {split: part.counts() | {"without_mask": part.without_mask()} for split, part in parts.items()}
        values[name] = {"split_by": cut, "path": str(kept.path), "new": kept.new, "splits": splits}
    report([], values, json)


def _parts(index: Index) -> dict[str, Index]:
    """The rows of each split, in the file's order."""
    return {split: index.filter(split=split) for split in dict.fromkeys(index.column("split"))}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it with these arguments, by default the command line's; the exit status."""
    cli = lambda: tyro.cli(build_index, args=arguments, config=(tyro.conf.FlagCreatePairsOff,))  # noqa: E731
    return run_command(cli, "build_index.py")


if __name__ == "__main__":
    sys.exit(main())
