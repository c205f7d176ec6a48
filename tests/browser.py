"""A browser for tests: Debian's chromium, or the one that Playwright installed.

Without one, tests that need it are skipped and ``make test`` says so in its last lines; where ``RIS_NEED_BROWSER`` is
set, as the gate does, they fail instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Error, Page, sync_playwright

MISSING = (
    "no browser was found: the tests of pages in a browser did not run. "
    "Install one (apt-get install chromium, or: playwright install chromium)."
)


@contextmanager
def browser() -> Iterator[Browser | None]:
    """A headless Chromium, or None where there is none."""
    with sync_playwright() as playwright:
        try:
            # the sandbox needs rights that containers do not give; these pages are our own
            found = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        except Error as reason:
            if "Executable doesn't exist" not in str(reason):
                raise
            found = None
        try:
            yield found
        finally:
            if found is not None:
                found.close()


def needed() -> Iterator[Browser]:
    """The body of a fixture: a browser, a skip, or a failure where ``RIS_NEED_BROWSER`` is set."""
    with browser() as found:
        if found is None:
            (pytest.fail if os.environ.get("RIS_NEED_BROWSER") else pytest.skip)(MISSING)
        yield found


_GROUND = """(part) => {
    const pen = document.createElement("canvas").getContext("2d");
    for (; part; part = part.parentElement) {
        pen.clearRect(0, 0, 1, 1);
        pen.fillStyle = getComputedStyle(part).backgroundColor;
        pen.fillRect(0, 0, 1, 1);
        const [red, green, blue, alpha] = pen.getImageData(0, 0, 1, 1).data;
        if (alpha) return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255;
    }
    return null;
}"""


def ground(page: Page, selector: str) -> float | None:
    """How light the ground is on which an element stands: 0 black, 1 white, None where nothing has a colour."""
    return page.locator(selector).first.evaluate(_GROUND)


#: Blocks of code and signatures: thousands of coloured pieces in a dozen looks.
_CODE = ".highlight > pre, dt.sig"
#: Marks, of their pieces with words that can be seen, the first of each look: colour, letters, and every ground below.
_MARK_LOOKS = """(code) => {
    const seen = new Set(), looks = new Map();
    const look = (part) => {
        const style = getComputedStyle(part);
        return [style.color, style.backgroundColor, style.fontSize, style.fontWeight, style.opacity].join();
    };
    // axe does not judge a single letter, so that one may not stand for others
    const own = (part) => [...part.childNodes].filter((x) => x.nodeType === Node.TEXT_NODE).map((x) => x.textContent);
    const written = (part) => own(part).join("").trim().length > 1;
    for (const block of document.querySelectorAll(code)) {
        looks.set(block, look(block) + look(block.parentElement));
        for (const part of [block, ...block.querySelectorAll("*")]) {
            if (part !== block) looks.set(part, look(part) + looks.get(part.parentElement));
            const first = written(part) && part.checkVisibility() && !seen.has(looks.get(part));
            part.toggleAttribute("data-look", first);
            if (first) seen.add(looks.get(part));
        }
    }
}"""


def wcag_faults(page: Page) -> list[str]:
    """What axe-core finds against WCAG 2.2, levels A and AA: rule and place, a line each.

    Contrast of code is measured once for each look: for every piece of it, it would take 16 seconds a chapter.
    """
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    contrast = {"type": "rule", "values": ["color-contrast"]}
    page.evaluate(_MARK_LOOKS, _CODE)
    looks = page.locator("[data-look]").count()
    runs = [
        (None, {"runOnly": {"type": "tag", "values": tags}, "rules": {"color-contrast": {"enabled": False}}}),
        ({"include": ["html"], "exclude": _CODE.split(", ")}, {"runOnly": contrast}),
        *([({"include": ["[data-look]"]}, {"runOnly": contrast})] if looks else []),
    ]
    found = []
    for part, options in runs:
        found += Axe().run(page, part, {**options, "resultTypes": ["violations"]}).response["violations"]
    return [f"{fault['id']}: {node['target']} {node['html'][:120]}" for fault in found for node in fault["nodes"]]


if __name__ == "__main__":  # `make test` ends with this
    with browser() as one:
        print("" if one else f"==> note: {MISSING}")
