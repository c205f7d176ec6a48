"""Pages on paper: light, nothing folded, nothing cut off, nothing that only a screen needs."""

import re
from pathlib import Path

import pytest

from tests.browser import needed

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "book" / "_static"
CHAPTER = ROOT / "_build" / "html" / "chapters" / "18_your_own_image.html"

FOLDED = """<html data-theme="dark"><body><article class="bd-article"><details id="shut"><p>deep</p></details>
<details id="open" open><p>seen</p></details></article><details id="elsewhere"><p>a menu</p></details></body></html>"""
STATE = (
    "() => [document.documentElement.dataset.theme, ...[...document.querySelectorAll('details')].map((x) => x.open)]"
)

browser = pytest.fixture(scope="module")(needed)


def test_before_printing_a_page_is_light_and_open_and_afterwards_as_it_was(browser):
    page = browser.new_page()
    page.set_content(FOLDED)
    page.add_script_tag(path=STATIC / "print.js")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(STATE) == ["light", True, True, False]
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(STATE) == ["dark", False, True, False]
    page.evaluate("addEventListener('beforeprint', () => { window.asked = true; })")
    page.pdf()
    assert page.evaluate("window.asked"), "this browser prints without saying so; print.js would do nothing"
    page.close()


@pytest.fixture(scope="module")
def paper(browser):
    """A chapter as it goes to the printer, from a reader's dark screen."""
    assert CHAPTER.is_file(), f"{CHAPTER} is not there; run make book first"
    page = browser.new_page(color_scheme="dark", viewport={"width": 680, "height": 1000})
    page.goto(CHAPTER.as_uri())
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    yield page
    page.close()


@pytest.mark.book
def test_only_the_article_is_printed(paper):
    unwanted = (
        ".bd-sidebar-primary, .bd-sidebar-secondary, .bd-header-article, .prev-next-footer, .bd-footer, "
        "#jb-print-docs-body, .copybtn, .headerlink, .toggle-button, .ris-tools, .hide > summary"
    )
    seen = "(all) => all.filter((x) => x.checkVisibility()).map((x) => x.className)"
    assert paper.locator(unwanted).count() > 20
    assert paper.locator(unwanted).evaluate_all(seen) == []
    assert paper.locator(".bd-article h1").is_visible()


@pytest.mark.book
def test_ink_is_dark_and_paper_is_light(paper):
    for part in ("body", ".bd-article", ".bd-article pre", ".bd-article a"):
        ink = paper.locator(part).first.evaluate("(x) => getComputedStyle(x).color")
        assert max(map(int, re.findall(r"\d+", ink)[:3])) < 150, f"{part} is printed in {ink}"
    ground = paper.locator("body").evaluate("(x) => getComputedStyle(x).backgroundColor")
    assert ground == "rgb(255, 255, 255)"


@pytest.mark.book
def test_solutions_are_open_and_code_is_whole(paper):
    assert paper.locator(".bd-article details").count() > 3
    assert paper.locator(".bd-article details:not([open])").count() == 0
    cut = "(all) => all.filter((x) => x.scrollWidth > x.clientWidth + 1).map((x) => x.textContent.slice(0, 80))"
    assert paper.locator(".bd-article pre").evaluate_all(cut) == []
    divided = "(all) => [...new Set(all.map((x) => getComputedStyle(x).breakInside))]"
    assert paper.locator(".bd-article div.highlight").evaluate_all(divided) == ["auto"]
    assert paper.locator(".bd-article :is(img, figure)").evaluate_all(divided) == ["avoid"]


@pytest.mark.book
def test_the_explorer_is_a_sheet_of_its_maps(paper):
    view = paper.locator("figure.ris-explorer").first
    view.scroll_into_view_if_needed()
    assert view.locator(".ris-items canvas").count() > 2
    assert view.locator(".ris-picture").is_visible()
    assert view.locator(".ris-items").is_visible()
