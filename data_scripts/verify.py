"""Check RefCOCO, RefCOCO+ or RefCOCOg on the disk, line by line, and what leaks between them.

    python data_scripts/verify.py --root data --dataset refcoco refcoco+
    python data_scripts/verify.py --root data --dataset refcocog --split-by google --json report.json
    python data_scripts/verify.py --root data --dataset refcoco+ --fix-leaks clean

Ends with 0 where nothing differs, 1 where something does, 2 where the files cannot be read at all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from ris_lib.cli.command import run_command
from ris_lib.cli.output import JsonFile, check_json, report
from ris_lib.data.cache import check_new_folder
from ris_lib.data.verify import STATES, Counts, find_leaks, read_files, verify_files, write_without_leaks
from ris_lib.metrics.known_scores import check_scores


def verify(
    data: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--dataset"], metavar="NAME ...")] = (),
    root: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("data"),
    split_by: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    fix_leaks: Annotated[Path | None, tyro.conf.arg(metavar="OUT")] = None,
    google: bool = False,
    json: JsonFile = None,
) -> None:
    """Compare data sets with their official counts, look for faults, and report leaks to and from other sets.

    Each line says ok, differs (what came, what was expected), leaks, or cannot (be checked here, and why). Leaks and
    what cannot be checked do not change the exit status.

    Args:
        data: Data sets: refcoco, refcoco+, refcocog.
        root: Folder with refcoco/, refcoco+/, refcocog/ and images/.
        split_by: unc, umd or google; by default unc, for refcocog umd.
        fix_leaks: Also make this folder: one data set without training images that any set in FOLDER holds out.
        google: With --fix-leaks: images that only google cuts hold out go, too. Those cuts divide objects, so that
            these are many; needed where something will be scored on them, and always for --split-by google.
        json: Also write all verdicts with all faults as JSON; - = to stdout.
    """
    names = tuple(dict.fromkeys(data))
    if not names:
        raise ValueError("nothing to verify; name data sets: --dataset refcoco refcoco+ refcocog.")
    if fix_leaks is not None:
        if len(names) > 1:
            raise ValueError(f"--fix-leaks makes one data set, and {len(names)} are named; run it for each of them.")
        check_new_folder(fix_leaks)
    check_json(json)
    say = partial(Console(stderr=json == "-").print, soft_wrap=True, markup=False, highlight=False)
    found = {}
    try:
        for name in names:
            files = read_files(root, name, split_by)
            verdicts = [*verify_files(files), *check_scores(files.scorable()), *find_leaks(root, name, files.split_by)]
            say(f"{files} in {root}")
            for verdict in verdicts:
                say(str(verdict))
            states = {state: sum(verdict.state == state for verdict in verdicts) for state in STATES}
            say(
                f"{states['ok']} ok, {states['differs']} differ, {states['leaks']} leak, "
                f"{states['cannot']} cannot be checked"
            )
            verdicts = [verdict.to_dict() for verdict in verdicts]
            found[name] = {"split_by": files.split_by, "counts": states, "verdicts": verdicts}
            if fix_leaks is not None:
                found[name]["without_leaks"] = _without_leaks(root, name, files.split_by, fix_leaks, google, say)
    finally:
        if found:
            report([], found, json)
    if any(one["counts"]["differs"] for one in found.values()):
        say("Files that differ are fetched again by data_scripts/download.py, once they are moved out of the way.")
        raise SystemExit(1)


def _without_leaks(root: Path, name: str, split_by: str, out: Path, google: bool, say: Callable) -> dict[str, Any]:
    """Write the data set without what leaks, and say what went."""
    ignored = () if google or split_by == "google" else ("google",)
    record = write_without_leaks(root, name, split_by, out, ignored)
    before, after = Counts(**record["before"]), Counts(**record["after"])
    say(f"{out}: train has {after}; before {before}. Photographs: {record['photographs']}")
    for where, numbers in record["left_out"].items():
        say(f"left out: {len(numbers):,} images of {where}")
    if absent := record["not_compared_with"]:
        say(f"not compared with {', '.join(absent)}: ignored, or not in {root}")
    return record


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it with these arguments, by default the command line's; the exit status."""
    return run_command(lambda: tyro.cli(verify, args=arguments, config=(tyro.conf.FlagCreatePairsOff,)), "verify.py")


if __name__ == "__main__":
    sys.exit(main())
