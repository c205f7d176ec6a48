"""The assignments for students, teachers and the grader, each made from its one master notebook.

    python -m book._assignments                     # all, into _build/assignments
    python -m book._assignments 1_metrics_and_data

For every notebook of ``book/assignments``, in which solutions and hidden checks stand:

- ``student/NAME.zip``: a folder with the notebook without solutions, and the checks that a student may see;
- ``autograder/NAME.zip``: what ``otter grade`` and ``otter run`` take;
- ``solutions/NAME.ipynb``: the notebook with solutions, for the teacher.

The solution is graded on the way: a master whose own solution does not score full points is refused.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

from otter.assign import main as assign

from ris_lib._names import unknown
from ris_lib._urls import BOOK

MASTERS = Path(__file__).parent / "assignments"
RESULT = Path(__file__).parents[1] / "_build" / "assignments"
#: The version that made the autograder has to be the one that checks on Colab.
OTTER = f"otter-grader=={version('otter-grader')}"


def checks_cell(name: str) -> dict:
    """The cell that makes ``grader.check`` work, in Jupyter and on Colab, where a notebook is opened without its folder.

    Args:
        name: The assignment, which is its notebook's name without the ending.
    """
    source = f"""\
# The checks of this assignment. On Colab they come from the book's site; elsewhere they lie beside this notebook.
if "google.colab" in sys.modules:
    %pip install -q {OTTER}
    if not os.path.isdir("tests"):
        import shutil
        import urllib.request

        shutil.unpack_archive(urllib.request.urlretrieve("{BOOK}/assignments/{name}.zip")[0], ".", "zip")
        os.chdir("{name}")
import otter

grader = otter.Notebook("{name}.ipynb", tests_dir="tests")"""
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": "checks",
        "metadata": {"deletable": False, "editable": False},
        "outputs": [],
        "source": source.splitlines(keepends=True),
    }


def with_checks(notebook: dict, name: str) -> dict:
    """The notebook with the cell of the checks behind its set-up cell."""
    cells = list(notebook["cells"])
    place = next(
        number for number, cell in enumerate(cells) if cell.get("id") == "setup"
    )
    return {
        **notebook,
        "cells": [*cells[: place + 1], checks_cell(name), *cells[place + 1 :]],
    }


def make(master: Path, result: Path = RESULT, check: bool = True) -> None:
    """Make the three versions of an assignment.

    Args:
        master: Its master notebook.
        result: The folder with ``student``, ``autograder`` and ``solutions``.
        check: Grade the solution.

    Raises:
        RuntimeError: Its own solution does not pass its checks.
    """
    name = master.stem
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / master.name
        copy.write_text(
            json.dumps(with_checks(json.loads(master.read_text("utf-8")), name)),
            "utf-8",
        )
        made = Path(scratch) / "made"
        assign(str(copy), str(made), no_pdfs=True, no_run_tests=not check)
        for folder in ("student", "autograder", "solutions"):
            (result / folder).mkdir(parents=True, exist_ok=True)
        (made / "student").rename(made / name)
        shutil.make_archive(str(result / "student" / name), "zip", made, name)
        (archive,) = (made / "autograder").glob("*.zip")
        shutil.copy(archive, result / "autograder" / f"{name}.zip")
        shutil.copy(
            made / "autograder" / master.name, result / "solutions" / master.name
        )


def masters() -> dict[str, Path]:
    """The master notebooks, by name."""
    return {path.stem: path for path in sorted(MASTERS.glob("*.ipynb"))}


def main() -> None:
    """Make assignments."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"default: all, {', '.join(masters())}"
    )
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    for name in asked.names:
        if name not in masters():
            parser.error(str(unknown("assignment", name, masters())))
    for name in asked.names or masters():
        make(masters()[name], asked.out)
        print(f"{name}: made in {asked.out}")


if __name__ == "__main__":
    main()
