"""The printed book: every page in the order of the contents, links within, page numbers."""

import re
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

from book import _pdf
from tests.browser import needed

TOC = {
    "root": "intro",
    "parts": [
        {"caption": "Part I", "chapters": [{"file": "part_1", "title": "What is here"}, {"file": "chapters/one"}]},
        {"caption": "Reference", "chapters": [{"file": "ref/index", "sections": [{"file": "ref/data"}]}]},
    ],
}
NAMES = ["intro", "part_1", "chapters/one", "ref/index", "ref/data"]
PAGE = """<html><head><link rel="stylesheet" href="_static/a.css"></head><body><a id="out">no</a>
<article class="bd-article">
<h1 id="top">{name}<a class="headerlink" href="#top">#</a></h1><details><p>folded</p></details>
<a href="#top">up</a><img src="_images/a.png" alt="a"><figure id="ris-1"></figure></article></body></html>"""

chromium = pytest.fixture(scope="module")(needed)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    for name in NAMES:
        path = tmp_path / "html" / f"{name}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PAGE.format(name=f"The page {name}"), encoding="utf-8")
    (tmp_path / "toc.yml").write_text(yaml.safe_dump(TOC), encoding="utf-8")
    return tmp_path / "html"


def test_the_contents_name_everything_in_order():
    entries = list(_pdf.contents(TOC))
    assert [entry.name for entry in entries if entry.name] == NAMES
    assert [entry.title for entry in entries if not entry.name] == ["Part I", "Reference"]
    assert [entry.depth for entry in entries if entry.name] == [0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("link", "leads"),
    [
        ("#deep", "#chapters/one:deep"),
        ("../intro.html", "#intro"),
        ("../ref/data.html#x.y", "#ref/data:x.y"),
        ("../_modules/a.html#b", f"{_pdf._urls.BOOK}/_modules/a.html#b"),
        ("https://a.org/b", "https://a.org/b"),
    ],
)
def test_links_between_pages_become_links_within_one(link, leads):
    assert _pdf.address(link, "chapters/one", NAMES) == leads


def test_an_article_is_unfolded_and_its_names_are_its_own(site):
    found = _pdf.article(site, "chapters/one", NAMES)
    assert found["id"] == "chapters/one"
    assert {tag["id"] for tag in found.find_all(id=True)} == {"chapters/one:top", "ris-1"}
    assert found.details.has_attr("open")
    assert found.img["src"] == "html/chapters/_images/a.png"
    with pytest.raises(SystemExit, match=r"chapters.two\.html is not there.*make book"):
        _pdf.article(site, "chapters/two", NAMES)


def test_all_pages_become_one(site):
    page = BeautifulSoup(_pdf.one_page(site, list(_pdf.contents(TOC))), "html.parser")
    assert [tag["id"] for tag in page.find_all("article")] == NAMES
    lines = [tag.get_text() for tag in page.select(".ris-contents a, .ris-contents h2")]
    assert lines == ["The page intro", "Part I", "What is here", "The page chapters/one", "Reference"] + [
        f"The page {name}" for name in NAMES[3:]
    ]
    targets = {tag["id"] for tag in page.find_all(id=True)}
    assert {tag["href"][1:] for tag in page.find_all("a", href=re.compile("^#"))} <= targets
    assert page.find("link")["href"] == "html/_static/a.css"


def test_the_file_has_a_page_for_each_and_the_contents_know_them(site, chromium):
    out = site.parent / "book.pdf"
    begins = _pdf.print_book(chromium, site.parent / "toc.yml", site, out)
    assert begins == {name: place for place, name in enumerate(NAMES, start=3)}  # behind the title and the contents
    pdf = out.read_bytes()
    assert pdf.startswith(b"%PDF")
    assert _pdf.beginnings(pdf, NAMES) == begins
    assert b"/Outlines" in pdf
    assert len(re.findall(rb"/Subtype /Link", pdf)) >= len(NAMES)
    assert [path.name for path in site.parent.glob("book.*")] == ["book.pdf"]


def test_without_a_browser_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr(_pdf, "browser", nullcontext)
    with pytest.raises(SystemExit, match=r"no browser was found.*Install one"):
        _pdf.main()
