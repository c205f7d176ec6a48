"""The built book in a browser: nobody is shut out, nothing fails, a phone need not scroll sideways, paper cannot."""

import pytest

from tests.book.test_built_book import SITE, built, of_the_book  # noqa: F401  (a fixture)
from tests.browser import needed, wcag_faults

pytestmark = pytest.mark.book

chromium = pytest.fixture(scope="module")(needed)

#: Said on every page by sphinx-thebe, which we do not use; harmless.
HARMLESS = ("THEBE_JS_URL has already been declared",)
#: A4 less its margins.
PAPER = {"width": 665, "height": 1000}
#: What stands over the right edge of the article.
WIDER = """(all) => {
    const edge = document.querySelector(".bd-article")?.getBoundingClientRect().right;
    return all.filter((x) => x.checkVisibility() && x.getBoundingClientRect().right > edge + 1)
        .map((x) => `${x.tagName} ${x.textContent.trim().slice(0, 60)}`);
}"""
#: Pages that Sphinx makes: its indices, and of the listings of modules, which look alike, a long one.
MADE = [SITE / f"{name}.html" for name in ("genindex", "py-modindex", "search", "_modules/index")]
MADE.append(SITE / "_modules" / "ris_lib" / "heads" / "mask_generator.html")
#: Pages are looked at in so many parts, which the processes share.
PARTS = 4
#: WCAG measures reflow (1.4.10) at 320 pixels.
PHONE, DESK = {"width": 320, "height": 844}, {"width": 1280, "height": 900}


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize(("scheme", "size"), [("light", DESK), ("dark", PHONE)])
def test_every_page_can_be_used(chromium, built, scheme, size, part):  # noqa: F811
    context = chromium.new_context(viewport=size, color_scheme=scheme)
    asked = []  # of other hosts; the first view needs nothing from outside
    context.route("http*://**", lambda route: (asked.append(route.request.url), route.abort()))
    faults = []
    for path in [*of_the_book(built), *MADE][part::PARTS]:
        if path.stem == "404":  # its links begin at the published book; test_not_found serves it
            continue
        name, page, said = path.relative_to(SITE), context.new_page(), []
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        page.goto(path.as_uri())
        faults += [f"{name}: {line}" for line in wcag_faults(page)]
        faults += [f"{name}: script: {line}" for line in said if not any(part in line for part in HARMLESS)]
        page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > size["width"] + 1:
            faults.append(f"{name}: {wide} pixels wide on a screen of {size['width']}")
        faults += [f"{name}: asks {address}" for address in asked]
        asked.clear()
        if scheme == "light":
            page.set_viewport_size(PAPER)
            page.emulate_media(media="print")
            page.evaluate("dispatchEvent(new Event('beforeprint'))")
            cut = page.locator(".bd-article :is(table, figure, pre, img, math)").evaluate_all(WIDER)
            faults += [f"{name}: wider than paper: {line}" for line in cut]
        page.close()
    context.close()
    assert not faults, "\n".join(faults)
