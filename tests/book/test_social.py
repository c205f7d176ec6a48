"""What a page says of itself where its address is shared."""

from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from docutils import nodes
from PIL import Image

from book import _teaser
from book._ext import social
from ris_lib import _urls

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "html"
CARD = ROOT / "book" / "_static" / "card.png"


def said(head: str) -> dict[str, str]:
    """Name or property -> content, of all meta elements."""
    found = BeautifulSoup(head, "html.parser").find_all("meta", content=True)
    return {tag.get("name") or tag.get("property"): tag["content"] for tag in found}


def document(*paragraphs: nodes.paragraph) -> nodes.section:
    return nodes.section("", nodes.title(text="A title"), *paragraphs)


def test_the_description_is_the_first_paragraph_that_says_something():
    formula = nodes.paragraph("", "", nodes.Text("Let this be a formula with enough letters: "), nodes.math(text="x"))
    long = nodes.paragraph(text="A long\nparagraph " + "with words " * 40)
    text = social.beginning(document(nodes.paragraph(text="Short."), formula, long))
    assert text.startswith("A long paragraph with words")
    assert text.endswith((" words …", " with …"))
    assert len(text) <= 200
    assert social.beginning(document(nodes.paragraph(text="Short."))) == social.ABOUT


def test_nothing_on_a_page_can_break_out_of_its_tags():
    found = said(social.tags('"><b>', "a & b", "https://a.org/x", "The book"))
    assert found["og:title"] == '"><b>'
    assert found["description"] == found["og:description"] == "a & b"
    assert found["og:url"] == "https://a.org/x"


def test_the_picture_has_its_size_and_letters_that_can_be_read():
    with Image.open(CARD) as card:
        assert card.size == social.SIZE
    assert CARD.stat().st_size < 1_000_000
    figure = _teaser.card()
    assert tuple(figure.get_size_inches() * figure.dpi) == social.SIZE
    texts = [*figure.texts, *(axis.title for axis in figure.axes)]
    letters = [text.get_fontsize() * figure.dpi / 72 for text in texts]
    assert len(letters) >= 4
    assert min(letters) >= 24, "a card is shown at a third of its size"


@pytest.mark.book
def test_every_page_introduces_itself():
    # listings of source code are left as they are by a build that finds them up to date
    pages = [page for page in SITE.rglob("*.html") if not {"_static", "_modules"} & set(page.parts)]
    assert pages, f"there is no page in {SITE}; run make book first"
    descriptions = {}
    for page in pages:
        name = page.relative_to(SITE).as_posix()
        found = said(page.read_text(encoding="utf-8"))
        assert found["og:url"] == f"{_urls.BOOK}/{name}"
        assert found["og:image"].startswith(f"{_urls.BOOK}/")
        assert (SITE / found["og:image"].removeprefix(f"{_urls.BOOK}/")).is_file()
        assert found["twitter:card"] == "summary_large_image"
        assert found["og:title"]
        assert "<" not in found["og:title"] + found["og:description"]
        assert 40 <= len(found["description"]) <= 200
        descriptions[name] = found["description"]
    chapters = [text for name, text in descriptions.items() if name.startswith("chapters/")]
    assert len(set(chapters)) == len(chapters), "two chapters describe themselves in the same words"
