"""The words of the book can be translated: catalogues are written, and a filled-in one replaces the English."""

import shutil
from pathlib import Path

import pytest
from babel.messages.pofile import read_po, write_po

from book import _texts

BOOK = Path(__file__).parents[2] / "book"
PAGES = ("licence.md", "chapters/01_task_and_scores.ipynb")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Two pages of the book as a book of their own."""
    source = tmp_path_factory.mktemp("book")
    for page in PAGES:
        (source / page).parent.mkdir(exist_ok=True)
        shutil.copy(BOOK / page, source / page)
    shutil.copy(BOOK / "references.bib", source)
    shutil.copytree(BOOK / "_static", source / "_static")
    shutil.copytree(BOOK / "_templates", source / "_templates")
    (source / "_toc.yml").write_text(
        "format: jb-book\nroot: licence\nchapters:\n  - file: chapters/01_task_and_scores\n", encoding="utf-8"
    )
    return source


def catalogue(path: Path):
    with path.open("rb") as file:
        return read_po(file)


def test_a_filled_in_catalogue_replaces_the_english_and_the_rest_stays(source, tmp_path):
    _texts.build(source, tmp_path / "texts", "gettext")
    pages = {path.relative_to(tmp_path / "texts").as_posix() for path in (tmp_path / "texts").rglob("*.pot")}
    assert pages >= {"licence.pot", "chapters/01_task_and_scores.pot"}

    words = catalogue(tmp_path / "texts" / "chapters" / "01_task_and_scores.pot")
    summary, exercises = (words.get(text) for text in ("Summary", "Exercises"))
    assert summary is not None
    assert exercises is not None
    assert any(str(message.id).startswith("mIoU = (.5") for message in words), "folded solutions are texts, too"

    summary.string = "Zusammenfassung"
    filled = source / "locale" / "de" / "LC_MESSAGES" / "chapters" / "01_task_and_scores.po"
    filled.parent.mkdir(parents=True)
    with filled.open("wb") as file:
        write_po(file, words)
    _texts.build(source, tmp_path / "html", "html", language="de")
    page = (tmp_path / "html" / "chapters" / "01_task_and_scores.html").read_text(encoding="utf-8")
    assert '<html lang="de"' in page
    assert "<h2>Zusammenfassung<" in page
    assert "<h2>Summary<" not in page
    assert "<h2>Exercises<" in page


def test_a_build_that_fails_says_so(tmp_path):
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: nowhere\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"the build of .* with 'gettext' failed"):
        _texts.build(tmp_path, tmp_path / "out", "gettext")
