"""Every notebook of the book, as it stands in the repository."""

import json
import re

import pytest
from pybtex.database import parse_file

from tests.book import sources
from tests.book.template import setup

NOTEBOOKS = setup.notebooks()
CHAPTERS = [path for path in NOTEBOOKS if path.parent.name == "chapters"]


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_there_are_chapters():
    assert {path.name[:2] for path in CHAPTERS} >= {"01", "02", "05"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stripped_and_starts_with_the_set_up_cell(path):
    notebook = load(path)
    found = sources.leftovers(notebook) + sources.setup_differs(notebook, setup.setup_cell(), setup.METADATA)
    assert found == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_has_its_length_its_parts_its_exercises_and_described_figures(path):
    notebook = load(path)
    found = sources.length(notebook) + sources.sections(notebook) + sources.exercises(notebook)
    assert found + sources.pictures_without_words(notebook) == []


def test_the_bibliography_can_be_read_and_has_every_work_that_is_cited():
    book = setup.BOOK
    entries = parse_file(book / "references.bib").entries  # an entry that stands twice is an error here
    texts = [path.read_text(encoding="utf-8") for path in [*NOTEBOOKS, *book.rglob("*.md")]]
    cited = {
        key.strip()
        for text in texts
        for keys in re.findall(r"\{cite:[a-z]+\}`([^`]+)`", text)
        for key in keys.split(",")
    }
    assert len(cited) > 30
    assert cited <= set(entries)
