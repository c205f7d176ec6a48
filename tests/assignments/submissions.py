"""Submissions to order: the student's notebook with other answers, and the grader."""

from __future__ import annotations

import contextlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

from otter.api import grade_submission
from otter.test_files import GradingResults

WRONG = Path(__file__).parent / "wrong"
#: A task's answer in a file of wrong ones: ``# %% TASK: POINTS. What is wrong``.
ANSWER = re.compile(r"^# %% (?P<task>\w+): (?P<points>[\d.]+)\. (?P<mistake>.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Answer:
    """An answer to a task, and what it is worth."""

    task: str
    points: float
    mistake: str
    code: str


def answers(path: Path) -> list[Answer]:
    """The answers of a wrong submission.

    Args:
        path: A Python file with one part for each task, each headed ``# %% TASK: POINTS. What is wrong``. What stands
            in front of the first is for editors only: answers have the imports of the student's notebook.

    Raises:
        ValueError: It has no such heading.
    """
    text = path.read_text(encoding="utf-8")
    found = list(ANSWER.finditer(text))
    if not found:
        raise ValueError(f"{path.name} has no line like '# %% task: 1. what is wrong'")
    ends = [part.start() for part in found[1:]] + [len(text)]
    return [
        Answer(part["task"], float(part["points"]), part["mistake"], text[part.end() : end].strip())
        for part, end in zip(found, ends)
    ]


def student_notebook(made: Path, name: str) -> dict:
    """The notebook that a student gets."""
    with ZipFile(made / "student" / f"{name}.zip") as archive:
        return json.loads(archive.read(f"{name}/{name}.ipynb"))


def tasks(notebook: dict) -> dict[str, int]:
    """The tasks of a student's notebook: which cell holds the answer.

    A check names its task, the answer stands in the nearest answer cell in front of it.
    """
    found, answer = {}, None
    for number, cell in enumerate(notebook["cells"]):
        if "otter_answer_cell" in cell["metadata"].get("tags", ()):
            answer = number
        elif (asked := re.match(r'grader\.check\("(\w+)"\)', "".join(cell["source"]))) and answer is not None:
            found[asked[1]] = answer
    return found


def answered(notebook: dict, given: list[Answer]) -> dict:
    """The notebook with those answers.

    Raises:
        KeyError: It has no such task.
    """
    cells, places = [dict(cell) for cell in notebook["cells"]], tasks(notebook)
    for answer in given:
        cells[places[answer.task]]["source"] = answer.code.splitlines(keepends=True)
    return {**notebook, "cells": cells}


def grade(notebook: dict, made: Path, name: str, folder: Path) -> GradingResults:
    """Grade a notebook as ``otter run`` does.

    Args:
        notebook: What was handed in.
        made: What ``book._assignments`` made.
        name: The assignment.
        folder: An empty folder.
    """
    submission = folder / f"{name}.ipynb"
    submission.write_text(json.dumps(notebook), encoding="utf-8")
    with contextlib.redirect_stderr(io.StringIO()):
        return grade_submission(str(submission), str(made / "autograder" / f"{name}.zip"), quiet=True)
