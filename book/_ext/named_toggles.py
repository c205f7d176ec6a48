"""The arrows that open a part of the contents say which: the theme draws them without a word for those who listen."""

from __future__ import annotations

from typing import Any

from bs4 import BeautifulSoup
from sphinx.application import Sphinx

_MAKER = "generate_toctree_html"


def name_toggles(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Wrap the theme's function that makes the contents; Sphinx calls this for each page."""
    make = context.get(_MAKER)
    if make is not None:
        context[_MAKER] = lambda *given, **named: named_contents(make(*given, **named))


def named_contents(contents: BeautifulSoup | str) -> BeautifulSoup | str:
    """The same contents; every toggle carries the title of the page that it stands beside."""
    for toggle in () if isinstance(contents, str) else contents.find_all("summary"):
        link = toggle.find_parent("li").find("a")
        toggle["aria-label"] = f"Pages below {link.get_text(strip=True)}"
    return contents


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx find the hook, behind the theme's own."""
    app.connect("html-page-context", name_toggles, priority=1000)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
