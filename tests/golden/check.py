"""Run our modules on golden files: ``python -m tests.golden.check FOLDER [--only PREFIX,PREFIX]``.

A line per file: component, file, largest error, tolerance there, ok | FAIL | unknown | skipped, and the output that the
error belongs to. The largest error is the one nearest to, or furthest beyond, its tolerance. Last line:
'N passed, N failed'. Exit code 1 where one failed or is unknown, or nothing was checked. A case that needs real data
which is not here is skipped, and a line before the last counts those.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path
from typing import NamedTuple

import torch

import tests.golden
from tests.golden.case import ADAPTERS, NOT_COMPARED, Case, MissingDataError, read_case
from tests.golden.compare import Difference, compare


class Line(NamedTuple):
    """What is said about one file."""

    component: str
    file: str
    status: str
    difference: Difference = Difference()
    note: str = ""

    def __str__(self) -> str:
        numbers = self.status in ("ok", "FAIL") and not self.difference.wrong
        error = f"{self.difference.error:.3g}" if numbers else "-"
        allowed = f"{self.difference.allowed:.3g}" if numbers else "-"
        detail = " ".join(part for part in (self.difference.where, self.difference.wrong, self.note) if part)
        return f"{self.component:26} {self.file:42} {error:>9} {allowed:>9} {self.status:8} {detail}".rstrip()


def run_case(case: Case) -> Line:
    """Ask the case's adapter and compare its answer."""
    name, file = case.component, case.path.name
    if name not in ADAPTERS:
        return Line(name, file, "unknown", note="no adapter yet")
    try:
        with torch.no_grad():
            mine = ADAPTERS[name](case)
    except MissingDataError as error:
        return Line(name, file, "skipped", note=f"(needs RIS_TEST_DATA: {error})")
    except Exception as error:  # whatever goes wrong in a module is this case's failure, not the end of the run
        return Line(name, file, "FAIL", Difference(wrong=f"{type(error).__name__}: {error}"))
    left_out = NOT_COMPARED[name]
    parts = [_compare_output(case, mine, output) for output in case.meta["outputs"] if output not in left_out]
    worst = max(parts, key=Difference.weight, default=Difference(wrong="no output is compared"))
    note = f"(not compared: {', '.join(left_out)})" if left_out else ""
    return Line(name, file, "ok" if worst.ok else "FAIL", worst, note)


def _compare_output(case: Case, mine: dict, output: str) -> Difference:
    for what, where in ((mine, "our answer"), (case.expected, "the file")):
        if output not in what:
            return Difference(where=output, wrong=f"is missing in {where}")
    return compare(mine[output], case.expected[output], case.meta.get("tolerance", {}).get(output), output)


def check(folder: Path, only: tuple[str, ...] | None = None) -> list[Line]:
    """Check all cases of a folder whose component starts with one of the prefixes (None: all).

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; expected one with golden files (*.npz, *.json).")
    load_adapters()
    lines = []
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".npz", ".json")):
        try:
            case = read_case(path)
        except ValueError as error:  # a file whose component cannot be told fails whatever was selected
            lines.append(Line("?", path.name, "FAIL", Difference(wrong=str(error))))
            continue
        if case is not None and (only is None or case.component.startswith(only)):
            lines.append(run_case(case))
    return lines


def load_adapters() -> None:
    """Import every ``*_cases.py`` beside this file; each registers its adapters."""
    for module in pkgutil.iter_modules(tests.golden.__path__):
        if module.name.endswith("_cases"):
            importlib.import_module(f"tests.golden.{module.name}")


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden.check", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--only", metavar="PREFIX,PREFIX", help="components that start with one of these")
    options = parser.parse_args(arguments)
    only = None if options.only is None else tuple(p.strip() for p in options.only.split(",") if p.strip())
    try:
        lines = check(options.folder, only)
    except FileNotFoundError as error:
        parser.error(str(error))
    for line in lines:
        print(line)
    count = {status: sum(line.status == status for line in lines) for status in ("ok", "FAIL", "unknown", "skipped")}
    if not lines:
        print(f"nothing was selected: no component in {options.folder} starts with {' or '.join(only or ['anything'])}")
    if count["unknown"]:
        print(f"{count['unknown']} unknown (no adapter)")
    if count["skipped"]:
        print(f"{count['skipped']} skipped (needs RIS_TEST_DATA)")
    print(f"{count['ok']} passed, {count['FAIL']} failed")
    return 0 if count["ok"] and not count["FAIL"] and not count["unknown"] else 1


if __name__ == "__main__":
    sys.exit(main())
