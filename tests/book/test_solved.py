"""The printed solutions find their places; `make notebooks` runs what comes out."""

import copy
import json

import pytest

from tests.book import solved
from tests.book.template import setup

CHAPTERS = [path for path in setup.notebooks() if path.parent.name == "chapters"]


def cell(name: str, source: str, kind: str = "code") -> dict:
    return {"cell_type": kind, "id": name, "metadata": {}, "source": source.splitlines(keepends=True)}


@pytest.fixture
def page() -> dict:
    """One exercise with a value to give, and one with code to complete."""
    return {
        "cells": [
            cell("exercise-1", "### Exercise 1 · A sum\n\nWhat is 1 + 1?", "markdown"),
            cell("exercise-1-answer", "exercise_1 = None  # a number"),
            cell("exercise-1-check", 'print("Exercise 1: right." if exercise_1 == 2 else "not yet")'),
            cell(
                "exercise-1-solution",
                "Count.\n\n```python\nexercise_1 = 2\n```\n\n### Exercise 2 · One more",
                "markdown",
            ),
            cell("exercise-2-answer", "ONE = 0\n\n\ndef more(x):\n    return x + ONE"),
            cell("exercise-2-check", 'print("Exercise 2: right." if more(1) == 2 else "not yet")'),
            cell("exercise-2-solution", "```python\nONE = 1\n```", "markdown"),
        ]
    }


def source(notebook: dict, name: str) -> str:
    return next("".join(one["source"]) for one in notebook["cells"] if one["id"] == name)


def run(notebook: dict) -> None:
    """Run the cells of a page, with what ``%%capture`` does."""
    namespace, said = {}, []
    namespace["print"] = said.append
    for one in notebook["cells"]:
        if one["cell_type"] == "code":
            first, _, rest = "".join(one["source"]).partition("\n")
            if first.startswith("%%capture "):
                said.clear()
                exec(rest, namespace)
                stdout = "".join(f"{line}\n" for line in said)
                namespace[first.split()[1]] = type("Captured", (), {"stdout": stdout})
            else:
                exec("".join(one["source"]), namespace)


def test_solutions_stand_in_their_places_and_checks_must_say_right(page):
    before = copy.deepcopy(page)
    made = solved.solved(page)
    assert page == before
    assert source(made, "exercise-1-answer") == "exercise_1 = None  # a number\n\n\nexercise_1 = 2\n"
    assert source(made, "exercise-2-answer").endswith("return x + ONE\n\n\nONE = 1\n")
    assert [one["id"] for one in made["cells"]] == [
        *("exercise-1", "exercise-1-answer", "exercise-1-check", "exercise-1-right", "exercise-1-solution"),
        *("exercise-2-answer", "exercise-2-check", "exercise-2-right", "exercise-2-solution"),
    ]
    run(made)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("exercise-1-solution", "_1 = 2", "_1 = 3"), ("exercise-2-solution", "ONE = 1", "ONE = 2")],
)
def test_a_wrong_solution_fails(page, name, old, new):
    wrong = next(one for one in page["cells"] if one["id"] == name)
    wrong["source"] = source(page, name).replace(old, new)
    with pytest.raises(AssertionError, match="not yet"):
        run(solved.solved(page))


@pytest.mark.parametrize("name", ["exercise-1-answer", "exercise-1-check", "exercise-1-solution", "exercise-2-check"])
def test_an_exercise_of_an_unknown_form_is_refused(page, name):
    next(one for one in page["cells"] if one["id"] == name)["id"] = "another-name"
    with pytest.raises(ValueError, match=r"exercise [12] has the cells \[.*\]; expected code, code and markdown with"):
        solved.solved(page)


@pytest.mark.parametrize(("fences", "count"), [("", 0), ("```python\nx = 1\n```\n\n```python\nx = 2\n```\n", 2)])
def test_a_solution_without_code_of_its_own_is_refused(page, fences, count):
    page["cells"][3]["source"] = f"Count.\n\n{fences}"
    with pytest.raises(ValueError, match=f"exercise-1-solution has {count} blocks of Python; expected one"):
        solved.solved(page)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_exercise_of_a_chapter_can_be_solved(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    numbers = solved.exercises(notebook)
    assert numbers == list(range(1, len(numbers) + 1))
    new = {one["id"] for one in solved.solved(notebook)["cells"]} - {one["id"] for one in notebook["cells"]}
    assert new == {f"exercise-{number}-right" for number in numbers}


def test_copies_lie_as_in_the_book_and_older_ones_go(tmp_path):
    (tmp_path / "out" / "chapters").mkdir(parents=True)
    (tmp_path / "out" / "chapters" / "00_gone.ipynb").write_text("{}", encoding="utf-8")
    made = {path.relative_to(tmp_path / "out").as_posix() for path in solved.write(tmp_path / "out")}
    assert made == {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.ipynb")}
    assert made == {*(f"chapters/{path.name}" for path in CHAPTERS), "side_by_side.ipynb"}
    assert (tmp_path / "out" / "results" / "ablations.json").is_file()
