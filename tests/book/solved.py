"""Notebooks with the printed solutions of their exercises filled in, ``_build/solved`` (``make notebooks`` runs them).

``make book`` runs every page as a reader finds it: no exercise is solved, every check says "not yet". Here each answer
cell gets the code of the folded solution below it, and behind each check stands a cell that fails unless the check has
said "right". So one run looks at both, the page and its solutions.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path

from tests.book.template import ROOT, setup

OUT = ROOT / "_build" / "solved"

#: Ids of the cells of an exercise: to fill in, check, solution.
FORM = ("exercise-{}-answer", "exercise-{}-check", "exercise-{}-solution")
_HEADING = re.compile(r"^### Exercise (\d+)\b", re.MULTILINE)
_ID = re.compile(r"exercise-(\d+)(?:-\w+)?")
_CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def exercises(notebook: dict) -> list[int]:
    """Numbers of the exercises, from headings and from ids: what only one of both knows is not overlooked."""
    found = set()
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            found |= {int(number) for number in _HEADING.findall(_text(cell))}
        if match := _ID.fullmatch(cell["id"]):
            found.add(int(match[1]))
    return sorted(found)


def solved(notebook: dict) -> dict:
    """A copy in which every exercise has its printed solution, and a cell that asks for "right" behind its check.

    The solution stands below what the answer cell holds already, as a learner may write it there: what it does not
    define anew is kept.

    Raises:
        ValueError: An exercise has not the three cells that it should have, or not one block of Python as its solution.
    """
    notebook = copy.deepcopy(notebook)
    for number in exercises(notebook):
        answer, check, solution = _cells(notebook, number)
        blocks = _CODE.findall(_text(solution))
        if len(blocks) != 1:
            raise ValueError(
                f"{solution['id']} has {len(blocks)} blocks of Python; expected one, between ```python and ```."
            )
        answer["source"] = f"{_text(answer)}\n\n\n{blocks[0]}"
        check["source"] = f"%%capture exercise_{number}_said\n{_text(check)}"
        notebook["cells"].insert(notebook["cells"].index(check) + 1, _says_right(number))
    return notebook


def _cells(notebook: dict, number: int) -> list[dict]:
    """The cells to fill in, to check, and with the solution of one exercise."""
    cells = {cell["id"]: cell for cell in notebook["cells"]}
    wanted = [name.format(number) for name in FORM]
    found = [cells.get(name) for name in wanted]
    if [cell and cell["cell_type"] for cell in found] != ["code", "code", "markdown"]:
        have = [name for name, cell in cells.items() if (match := _ID.fullmatch(name)) and int(match[1]) == number]
        raise ValueError(
            f"exercise {number} has the cells {have}; expected code, code and markdown with the ids {wanted}."
        )
    return found


def _text(cell: dict) -> str:
    return "".join(cell["source"])


def _says_right(number: int) -> dict:
    """A cell that fails where the check before it has not said "right" in a line of its own."""
    lines = f"exercise_{number}_said.stdout.splitlines()"
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": f"exercise-{number}-right",
        "metadata": {},
        "outputs": [],
        "source": f"assert 'Exercise {number}: right.' in {lines}, {lines}",
    }


def write(out: Path = OUT) -> list[Path]:
    """Write every notebook outside the assignments, solved, with the results that notebooks read beside it.

    Args:
        out: Folder for them; what it holds is removed first.

    Raises:
        ValueError: An exercise of a notebook cannot be solved.
    """
    made = {}
    for path in setup.notebooks():
        place = path.relative_to(setup.BOOK)
        if place.parts[0] == "assignments":
            continue
        try:
            made[out / place] = solved(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"{place.as_posix()}: {error}") from error
    if out.exists():
        shutil.rmtree(out)
    shutil.copytree(setup.BOOK / "results", out / "results")
    for path, notebook in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(setup.text(notebook), encoding="utf-8")
    return list(made)


if __name__ == "__main__":
    print(f"{len(write())} notebooks with their solutions in {OUT.relative_to(ROOT)}")
