"""What the theme and the bibliography leave out for those who do not see the page."""

from __future__ import annotations

from typing import Any

from bs4 import BeautifulSoup
from sphinx.application import Sphinx

_MAKER = "generate_toctree_html"


def amend(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Amend one page; Sphinx calls this for each."""
    make = context.get(_MAKER)
    if make is not None:
        context[_MAKER] = lambda *given, **named: named_toggles(make(*given, **named))
    if context.get("body"):
        # the older role is deprecated, and a list's children must be its items
        context["body"] = context["body"].replace(
            'role="doc-biblioentry"', 'role="listitem"'
        )
    if page == "_modules/index":
        context["body"] = nested(context["body"])


def named_toggles(contents: BeautifulSoup | str) -> BeautifulSoup | str:
    """The contents, in which every arrow that opens a part says the title that it stands beside."""
    for toggle in () if isinstance(contents, str) else contents.find_all("summary"):
        link = toggle.find_parent("li").find("a")
        toggle["aria-label"] = f"Pages below {link.get_text(strip=True)}"
    return contents


def nested(body: str) -> str:
    """The list of modules, in which a list within a list lies in the item before it, and not beside it."""
    page = BeautifulSoup(body, "html.parser")
    for inner in page.select("ul > ul"):
        inner.find_previous_sibling("li").append(inner)
    return str(page)


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx find the hook, behind the theme's own."""
    app.connect("html-page-context", amend, priority=1000)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
