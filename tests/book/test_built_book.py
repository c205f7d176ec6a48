"""The built book in _build/html: links, descriptions, weight, outputs. `make book` builds it first."""

import re
from pathlib import Path

import pytest
import yaml

from book._ext.lean_code import UNCOLOURED
from tests.book import pages
from tests.book.template import built_in

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "html"

pytestmark = pytest.mark.book


@pytest.fixture(scope="module")
def built() -> list[Path]:
    found = sorted(path for path in SITE.rglob("*.html") if "_static" not in path.parts)
    assert found, f"there is no page in {SITE}; run make book first"
    return found


def toc_files(node) -> list[str]:
    """The pages that a table of contents names."""
    if isinstance(node, list):
        return [name for child in node for name in toc_files(child)]
    names = [node[key] for key in ("root", "file") if key in node]
    return names + [name for key in ("parts", "chapters", "sections") for name in toc_files(node.get(key, []))]


def of_the_book(built: list[Path]) -> list[Path]:
    """Pages that we write: neither source listings nor the theme's search and index."""
    made = {SITE / f"{name}.html" for name in ("search", "genindex", "py-modindex", "index")}
    return [p for p in built if "_modules" not in p.parts and p not in made]


def report(check, built, *more) -> list[str]:
    return [f"{page.relative_to(SITE)}: {complaint}" for page in built for complaint in check(page, *more)]


def test_every_page_of_the_contents_is_built(built):
    named = toc_files(yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8")))
    missing = [name for name in named if SITE / f"{Path(name).with_suffix('')}.html" not in built]
    assert not missing


def test_no_link_is_broken(built):
    assert report(pages.broken_links, built, SITE) == []


@pytest.mark.parametrize(("name", "chapter"), built_in.BUILT_IN.items())
def test_the_reference_points_to_the_chapter_that_builds_a_class(built, name, chapter):
    entries = [entry for page in (SITE / "reference").glob("*.html") if (entry := pages.soup(page).find(id=name))]
    links = [link["href"] for entry in entries for link in entry.find_parent("dl").find_all("a", href=True)]
    assert f"../chapters/{chapter}.html" in links


def test_signatures_of_the_reference_show_plain_types(built):
    shown = [
        sign.get_text() for page in (SITE / "reference").glob("*.html") for sign in pages.soup(page).select("dt.sig")
    ]
    assert len(shown) > 500
    assert [text for text in shown if "Annotated[" in text or "<factory>" in text or "~" in text] == []


def test_descriptions_of_the_reference_were_taken_for_nothing_else(built):
    articles = [pages.soup(page).article for page in (SITE / "reference").glob("*.html")]
    assert len(articles) > 5
    assert [part for article in articles for part in article.select("blockquote, ol")] == []
    assert [article for article in articles if "Alias for field" in article.get_text()] == []


def test_every_picture_is_described(built):
    assert report(pages.images_without_words, built) == []


def test_what_opens_says_what_it_opens(built):
    assert report(pages.unnamed, built) == []


def test_no_page_shows_an_error(built):
    assert report(pages.failures, built) == []


def test_no_script_comes_from_outside(built):
    assert report(pages.foreign_scripts, built) == []


def test_no_markup_is_left_raw(built):
    assert report(pages.raw_markup, of_the_book(built)) == []


def test_every_page_has_language_title_and_one_heading(built):
    assert report(pages.structure, of_the_book(built)) == []


def test_no_page_is_heavy(built):
    assert report(pages.weight, built) == []
    assert report(pages.explorer_weight, built) == []


def test_the_book_is_not_heavy():
    assert 5_000_000 < pages.book_bytes(SITE) < pages.MAX_BOOK_BYTES


def test_what_is_left_unmarked_in_code_has_the_colour_of_the_text_around():
    style = (SITE / "_static" / "pygments.css").read_text(encoding="utf-8")
    around = re.findall(r"\.highlight \{[^}]* color: (#\w+)", style)
    assert len(around) == 2, "light and dark"
    for name in set(UNCOLOURED) - {"o"}:  # operators are meant to lose theirs
        assert re.findall(rf"\.highlight \.{name} \{{ color: (#\w+) \}}", style) == around
