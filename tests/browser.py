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


def wcag_faults(page: Page) -> list[str]:
    """What axe-core finds against WCAG 2.2, levels A and AA: rule and place, a line each."""
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    options = {"runOnly": {"type": "tag", "values": tags}, "resultTypes": ["violations"]}
    found = Axe().run(page, options=options).response["violations"]
    return [f"{fault['id']}: {node['target']} {node['html'][:120]}" for fault in found for node in fault["nodes"]]


if __name__ == "__main__":  # `make test` ends with this
    with browser() as one:
        print("" if one else f"==> note: {MISSING}")
