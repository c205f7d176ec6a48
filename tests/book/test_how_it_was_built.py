"""The page that says how long each chapter took, and on what."""

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from docutils import nodes

from book._ext import how_it_was_built

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "_build" / "html" / "how_it_was_built.html"
#: Seconds, on two CPU cores with the profile quick. A machine with other work to do may be given more.
LIMIT = float(os.environ.get("RIS_CHAPTER_SECONDS", "90"))
GIGABYTES = 2


def rows(page: str) -> dict[str, list[str]]:
    """The lines of all tables, by the page they lead to or by their first cell."""
    lines = BeautifulSoup(page, "html.parser").select("article tbody tr")
    cells = [(line.a["href"] if line.a else line.td.get_text(strip=True), line.find_all("td")[1:]) for line in lines]
    return {name: [cell.get_text(strip=True) for cell in rest] for name, rest in cells}


def faults(table: dict[str, list[str]]) -> list[str]:
    """Chapters over the limit, and those that did not end well."""
    chapters = {name: cells for name, cells in table.items() if name.startswith("chapters/")}
    found = [f"{name} took {took} s; at most {LIMIT:g}" for name, (took, _) in chapters.items() if float(took) > LIMIT]
    return found + [f"{name} is {status}" for name, (_, status) in chapters.items() if status != "complete"]


def test_a_slow_chapter_and_a_failed_one_are_found():
    line = "<tr><td><a href='{}'>A title</a></td><td>{}</td><td>{}</td></tr>"
    good = line.format("chapters/01.html", f"{LIMIT - 0.1:.1f}", "complete")
    slow = line.format("chapters/02.html", f"{LIMIT + 0.1:.1f}", "complete")
    failed = line.format("chapters/03.html", "3.0", "failed")
    page = "<article><table><tbody>{}<tr><td>Python</td><td>3.11</td></tr></tbody></table></article>"
    assert rows(page.format(good))["Python"] == ["3.11"]
    assert faults(rows(page.format(good))) == []
    found = faults(rows(page.format(good + slow + failed)))
    assert found == [f"chapters/02.html took {LIMIT + 0.1:.1f} s; at most {LIMIT:g}", "chapters/03.html is failed"]


def test_the_versions_are_those_that_are_installed():
    told = how_it_was_built.built_with()
    assert told["torch"] == version("torch")
    assert told["threads of torch"].isdigit()
    assert all(told.values())


def test_a_table_has_its_headings_and_its_cells():
    made = how_it_was_built.table(["a", "b"], [[nodes.Text("1"), nodes.Text("2")], [nodes.Text("3"), nodes.Text("4")]])
    assert [entry.astext() for entry in made.findall(nodes.entry)] == ["a", "b", "1", "2", "3", "4"]
    assert len(list(made.findall(nodes.colspec))) == 2


def test_the_largest_process_is_one_that_this_one_began():
    subprocess.run([sys.executable, "-c", ""], check=True)  # a new process counts what its parent held
    before = how_it_was_built.largest_process()
    if before is None:
        pytest.skip("this system keeps no count")
    held = before + 200_000_000
    subprocess.run([sys.executable, "-c", f"b'x' * {held}"], check=True)
    assert held < how_it_was_built.largest_process() < held + 100_000_000


@pytest.mark.book
def test_no_chapter_held_too_much():
    found = re.search(r"processes held ([\d.]+) GB", PAGE.read_text(encoding="utf-8"))
    if how_it_was_built.largest_process() is None:
        pytest.skip("this system keeps no count")
    assert 0.5 < float(found[1]) <= GIGABYTES


@pytest.mark.book
def test_no_chapter_took_too_long():
    assert PAGE.is_file(), f"{PAGE} is not there; run make book first"
    table = rows(PAGE.read_text(encoding="utf-8"))
    assert set(table) >= {f"chapters/{path.stem}.html" for path in (ROOT / "book" / "chapters").glob("*.ipynb")}
    assert faults(table) == []
    assert table["torch"] == [version("torch")]
