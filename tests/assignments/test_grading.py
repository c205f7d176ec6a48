"""The grader gives the solution all points, the untouched notebook none, and each usual mistake what it is worth."""

import csv
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zipfile import ZipFile

import pytest
from filelock import FileLock

from book._assignments import make, masters
from book._grade import grade_all, no_python
from ris_lib._urls import BOOK
from tests.assignments.submissions import WRONG, answered, answers, grade, student_notebook, tasks

NAMES = list(masters())
WRONG_SUBMISSIONS = sorted(path.relative_to(WRONG).as_posix() for path in WRONG.rglob("*.py"))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A function that makes an assignment, once for all processes of the tests, and says where."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "popen-gw" in folder.name else folder) / "assignments"
    folder.mkdir(exist_ok=True)

    def one(name: str) -> Path:
        with FileLock(folder / f"{name}.lock"):
            if not (folder / "solutions" / f"{name}.ipynb").is_file():
                make(masters()[name], folder, check=False)  # a test below does
        return folder

    return one


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A host on this machine that gives away a folder."""
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def lines_of(name: str) -> Iterator[tuple[str, bool]]:
    """The lines of a master, and whether a student must not see them: those of solutions and of hidden checks."""
    solution = False
    for cell in json.loads(masters()[name].read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        for line in source.splitlines():
            if "# BEGIN SOLUTION" in line or "# END SOLUTION" in line:
                solution = "BEGIN" in line and cell["cell_type"] == "code"
            else:
                yield line.strip(), solution or "hidden: true" in source


def solutions(name: str) -> list[str]:
    """The lines of a master that give something away: secret, of some length, and nowhere to be seen."""
    lines = list(lines_of(name))
    public = {line for line, secret in lines if not secret}
    return [line for line, secret in lines if secret and len(line) > 12 and line not in public]


def worth(notebook: dict) -> dict[str, float]:
    """The points that the headings of a notebook promise, task by task in their order."""
    text = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    promised = [float(points) for points in re.findall(r"^## Task \d+ · .* \((\d+) points?\)$", text, re.MULTILINE)]
    return dict(zip(tasks(notebook), promised, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_the_student_sees_no_solution_and_no_hidden_check(made, name):
    with ZipFile(made(name) / "student" / f"{name}.zip") as archive:
        names = [entry for entry in archive.namelist() if not entry.endswith("/")]
        checks = [archive.read(entry).decode() for entry in names if entry.endswith(".py")]
    cells = ["".join(cell["source"]) for cell in student_notebook(made(name), name)["cells"]]
    handed_out = {line.strip() for text in [*cells, *checks] for line in text.splitlines()}
    secret = solutions(name)
    assert len(secret) > 20
    assert [line for line in secret if line in handed_out] == []
    assert [entry for entry in names if not re.fullmatch(rf"{name}/({name}\.ipynb|tests/\w+\.py)", entry)] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_scores_every_point_that_was_promised(made, name, tmp_path):
    notebook = json.loads((made(name) / "solutions" / f"{name}.ipynb").read_text(encoding="utf-8"))
    results = grade(notebook, made(name), name, tmp_path)
    promised = worth(student_notebook(made(name), name))
    assert {task: result.score for task, result in results.results.items()} == promised
    assert 4 <= len(promised) <= 8


def test_a_master_whose_solution_fails_is_refused(tmp_path):
    notebook = json.loads(masters()[NAMES[0]].read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["id"] == "clean-train-answer":
            cell["source"] = ["def clean_train(splits):\n", "    return {}\n"]
    (tmp_path / "broken.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    with pytest.raises(RuntimeError, match="clean_train"):
        make(tmp_path / "broken.ipynb", tmp_path / "made")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", NAMES)
def test_the_untouched_notebook_scores_nothing_and_every_check_says_why(made, name, tmp_path):
    results = grade(student_notebook(made(name), name), made(name), name, tmp_path)
    assert results.total == 0
    for task, result in results.results.items():
        for case in result.test_case_results:
            assert not case.passed, f"{task}, {case.test_case.name}: passed without an answer"
            assert re.search(r"^AssertionError: .{15}", case.message, re.MULTILINE), (
                f"{task}, {case.test_case.name} ends in another error than its own:\n{case.message}"
            )


@pytest.mark.parametrize("path", WRONG_SUBMISSIONS)
def test_a_wrong_submission_scores_what_each_of_its_answers_is_worth(made, path, tmp_path):
    name = Path(path).parent.name
    given, notebook = answers(WRONG / path), student_notebook(made(name), name)
    assert {answer.task for answer in given} == set(tasks(notebook)), "every task is answered"
    results = grade(answered(notebook, given), made(name), name, tmp_path)
    promised = worth(notebook)
    assert all(answer.points < promised[answer.task] for answer in given), "a wrong answer costs something"
    found = {answer.task: results.results[answer.task].score for answer in given}
    expected = {answer.task: answer.points for answer in given}
    assert found == expected, "\n".join(
        f"{answer.task} ({answer.mistake}): expected {answer.points}, got {found[answer.task]}"
        for answer in given
        if found[answer.task] != answer.points
    )


@pytest.mark.parametrize("name", NAMES)
def test_there_are_three_wrong_submissions(name):
    assert len([path for path in WRONG_SUBMISSIONS if path.startswith(f"{name}/")]) >= 3


def test_on_colab_the_checks_come_from_the_site_of_the_book(made, tmp_path):
    name, site = NAMES[0], tmp_path / "site"
    (site / "assignments").mkdir(parents=True)
    shutil.copy(made(name) / "student" / f"{name}.zip", site / "assignments")
    sources = ["".join(cell["source"]) for cell in student_notebook(made(name), name)["cells"]]
    start = next(place for place, source in enumerate(sources) if "grader = otter.Notebook" in source)
    first = next(source for source in sources if source.startswith("grader.check("))
    with serving(site) as host:
        twice = [sources[start]] * 2  # as a reader does who runs all cells again
        cells = "\n".join(["import os, sys", *twice, f"print({first})"])
        assert f'"{BOOK}/assignments/{name}.zip"' in cells
        program = re.sub(r"%pip .*", "pass", cells.replace(BOOK, host))
        colab = "import sys, types; sys.modules['google.colab'] = types.ModuleType('google.colab')"
        (tmp_path / "empty").mkdir()
        done = subprocess.run(
            [sys.executable, "-c", f"{colab}\n{program}"],
            cwd=tmp_path / "empty",
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
    assert done.returncode == 0, done.stderr
    assert "results:" in done.stdout
    assert (tmp_path / "empty" / name / "tests").is_dir()


def test_a_class_is_graded_into_a_table(made, tmp_path, capsys):
    name = NAMES[0]
    folder = tmp_path / "handed_in"
    for student in ("anna", "ben", "cem"):
        (folder / student).mkdir(parents=True)
    solution = (made(name) / "solutions" / f"{name}.ipynb").read_text(encoding="utf-8")
    (folder / "anna" / f"{name}.ipynb").write_text(solution, encoding="utf-8")
    (folder / "ben" / f"{name}.ipynb").write_text("no notebook")
    assert "def mask_iou(" in solution
    (folder / "cem" / f"{name}.ipynb").write_text(solution.replace("def mask_iou(", "def mask_iou)"), encoding="utf-8")
    grade_all(folder, made(name) / "autograder" / f"{name}.zip", tmp_path / "grades.csv")
    with (tmp_path / "grades.csv").open(newline="") as file:
        reader = csv.DictReader(file)
        anna, ben, cem = reader
    promised = worth(student_notebook(made(name), name))
    assert reader.fieldnames == ["notebook", "total", *sorted(promised), "error"]
    assert f"of {sum(promised.values()):g} points: " in capsys.readouterr().out
    assert {task: float(anna[task]) for task in promised} == promised
    assert float(anna["total"]) == sum(promised.values())
    assert not anna["error"]
    assert ben["error"]
    assert not ben["total"]
    assert re.fullmatch(r"cell \d+, line \d+: .+", cem["error"])
    assert float(cem["mask_iou"]) == 0
    assert float(cem["restore"]) == promised["restore"]


def test_cells_that_are_no_python_are_named_and_magics_are_python(tmp_path):
    sources = ["%pip list\n!ls\nx = 1", "def f(:\n    pass", "text\0", "(" * 100_000, "y = 2"]
    cells = [{"cell_type": "markdown", "id": "text", "metadata": {}, "source": "No ( Python."}]
    for number, source in enumerate(sources):
        cell = {"cell_type": "code", "id": f"cell-{number}", "metadata": {}, "source": source}
        cells.append(cell | {"execution_count": None, "outputs": []})
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "handed_in.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    found = no_python(tmp_path / "handed_in.ipynb")
    assert [line.split(":")[0].split(",")[0] for line in found] == ["cell 3", "cell 4", "cell 5"]


def test_without_an_autograder_or_a_notebook_it_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="make assignments"):
        grade_all(tmp_path, tmp_path / "no.zip", tmp_path / "grades.csv")
    (tmp_path / "some.zip").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="holds no notebook"):
        grade_all(tmp_path, tmp_path / "some.zip", tmp_path / "grades.csv")
