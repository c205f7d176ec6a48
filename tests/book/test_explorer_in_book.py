"""Explorers in the built book: light and dark, three widths, by mouse, keyboard and touch."""

import pytest

from tests.book.test_built_book import SITE
from tests.browser import ground, needed, wcag_faults

pytestmark = pytest.mark.book

chromium = pytest.fixture(scope="module")(needed)

#: Its explorers: words and queries, the target outlined; queries only.
PAGES = ["intro", "chapters/11_query_kernels"]
STATE = "(x) => [x.querySelector('.ris-caption').textContent, x.querySelector('.ris-stage canvas').toDataURL()]"
TOP = """(x) => x.querySelector(".ris-items").getBoundingClientRect().top - x.getBoundingClientRect().top"""
#: A map is drawn as soon as its picture is decoded.
CHANGED = """([caption, pixels]) => {
    const root = document.querySelector(".ris-explorer");
    return root.querySelector(".ris-caption").textContent !== caption
        && root.querySelector(".ris-stage canvas").toDataURL() !== pixels;
}"""


@pytest.fixture
def opened(chromium):
    """Opens a page as a reader does who is there for the first time; afterwards there must have been no error on it."""
    contexts, errors = [], []

    def visit(name, width, scheme):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, has_touch=True)
        context.route("http*://**", lambda route: route.abort())
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((SITE / f"{name}.html").as_uri())
        page.wait_for_function("document.querySelector('.ris-items canvas')?.height > 1")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert [error for error in errors if "THEBE_JS_URL" not in error] == []  # as in test_pages_in_browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 600, 1200])
@pytest.mark.parametrize("name", PAGES)
def test_an_explorer_works_where_it_stands(opened, name, width, scheme):
    page = opened(name, width, scheme)
    for part in (".ris-explorer", ".bd-article"):
        light = ground(page, part)
        assert light < 0.2 if scheme == "dark" else light > 0.8

    root = page.locator(".ris-explorer").first
    items = root.locator(".ris-items button")
    seen, tops = [root.evaluate(STATE)], [root.evaluate(TOP)]
    for act in (lambda: items.nth(1).click(), lambda: page.keyboard.press("ArrowRight"), lambda: items.nth(3).tap()):
        act()
        page.wait_for_function(CHANGED, arg=seen[-1], timeout=3000)
        seen.append(root.evaluate(STATE))
        tops.append(root.evaluate(TOP))
    assert tops == pytest.approx([tops[0]] * 4, abs=0.5), "buttons that move leave the mouse that points at them"
    assert items.nth(3).get_attribute("aria-pressed") == "true"

    picture, *over = [
        root.locator(f".ris-stage {part}").bounding_box() for part in ("img.ris-picture", "canvas", ".ris-outline")
    ]
    assert picture["width"] > 200
    for box in over:
        assert box == pytest.approx(picture, abs=0.5)
    if (name, width) == ("intro", 320):  # the same whatever the width, and slow
        assert wcag_faults(page) == []
