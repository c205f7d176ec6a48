"""Grade a class: every notebook of a folder, one line each in a table.

    python -m book._grade 1_metrics_and_data handed_in --out grades.csv

This RUNS what students wrote, on this machine, with your rights. Use it for people whom you trust, or inside a
container or a virtual machine; ``otter grade`` makes a container itself, where Docker is installed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import csv
import io
import sys
from pathlib import Path

import nbformat
from book._assignments import RESULT
from IPython.core.inputtransformer2 import TransformerManager
from otter.api import grade_submission

from ris_lib.data.cache import atomic_write


def no_python(notebook: Path) -> list[str]:
    """Which cells are no Python, and why: whatever they define is missing, and grading says no more than that.

    Args:
        notebook: A notebook that can be read.

    Returns:
        A line for each such cell; cells count from 1, those of text included.
    """
    found = []
    cells = nbformat.read(notebook, as_version=4).cells
    for number, cell in enumerate(cells, start=1):
        if cell.cell_type != "code":
            continue
        try:
            ast.parse(TransformerManager().transform_cell(cell.source))
        except SyntaxError as error:
            found.append(f"cell {number}, line {error.lineno}: {error.msg}")
        except (ValueError, RecursionError, MemoryError) as error:
            found.append(f"cell {number}: {error or type(error).__name__}")
    return found


def grade(
    notebook: Path, autograder: Path
) -> tuple[dict[str, float | str], dict[str, float]]:
    """The points of a notebook, task by task.

    Args:
        notebook: What was handed in.
        autograder: The zip file of the assignment.

    Returns:
        ``total``, then every task by name, and ``error`` where cells are no Python; or ``error`` alone where the
        notebook cannot be graded at all. And what each task is worth, by name.
    """
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            results = grade_submission(str(notebook), str(autograder), quiet=True)
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}".splitlines()[0]}, {}
    tasks = sorted(results.results.items())
    row = {"total": results.total, **{task: found.score for task, found in tasks}}
    if broken := no_python(notebook):
        row["error"] = "; ".join(broken)
    return row, {task: found.possible for task, found in tasks}


def grade_all(folder: Path, autograder: Path, out: Path) -> list[dict]:
    """Grade the notebooks of a folder, and write the table.

    Args:
        folder: Holds notebooks, at any depth; a notebook's name in the table is its path below the folder.
        autograder: The zip file of the assignment.
        out: The table, CSV.

    Returns:
        The rows of the table.

    Raises:
        FileNotFoundError: There is no autograder, or no notebook.
    """
    if not autograder.is_file():
        raise FileNotFoundError(
            f"there is no {autograder}; make it with: make assignments"
        )
    notebooks = sorted(
        p for p in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts
    )
    if not notebooks:
        raise FileNotFoundError(f"{folder} holds no notebook.")
    rows, worth = [], {}
    for number, notebook in enumerate(notebooks, start=1):
        name = notebook.relative_to(folder).as_posix()
        row, of_tasks = grade(notebook, autograder)
        rows.append({"notebook": name, **row})
        worth |= of_tasks
        said = [str(row[column]) for column in ("total", "error") if column in row]
        print(f"{number} of {len(notebooks)}  {name}: {', '.join(said)}")
    if worth:
        each = ", ".join(f"{task} {points:g}" for task, points in worth.items())
        print(f"of {sum(worth.values()):g} points: {each}")
    columns = ["notebook", "total", *worth]
    if any("error" in row for row in rows):
        columns.append("error")
    with (
        atomic_write(out) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return rows


def main() -> None:
    """Grade."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", help="of the assignment, such as 1_metrics_and_data")
    parser.add_argument("folder", type=Path, help="with the notebooks handed in")
    parser.add_argument("--out", type=Path, default=Path("grades.csv"))
    parser.add_argument("--made", type=Path, default=RESULT)
    asked = parser.parse_args()
    try:
        rows = grade_all(
            asked.folder, asked.made / "autograder" / f"{asked.name}.zip", asked.out
        )
    except FileNotFoundError as error:
        sys.exit(f"book._grade: {error}")
    print(f"{len(rows)} notebooks, {asked.out}")


if __name__ == "__main__":
    main()
