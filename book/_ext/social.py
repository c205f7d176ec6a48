"""What a page says of itself where its address is shared: a title, a sentence, a picture.

Source: the properties of the Open Graph protocol and of Twitter's cards; that the sentence is the beginning of the page
is our decision.
"""

from __future__ import annotations

import html
import re
import textwrap
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from ris_lib import _urls

PICTURE = f"{_urls.BOOK}/_static/card.png"  # drawn by book/_teaser.py
SIZE = (1200, 630)
ALT = "A drawn scene, twice, each time below another sentence: all is dim but for the object that the sentence means."
ABOUT = "A book that runs, and the library that it builds: a picture and a sentence go in, the mask of the one object comes out."
_SHORTEST, _LONGEST = 40, 200  # letters of a description


def introduce(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Add the properties to the head of a page; Sphinx calls this for each."""
    book = app.config.html_title or app.config.project
    title = html.unescape(re.sub("<[^>]+>", "", context.get("title") or book))
    text = ABOUT if doctree is None else beginning(doctree)
    address = context.get("pageurl", _urls.BOOK)
    context["metatags"] = context.get("metatags", "") + tags(title, text, address, book)


def beginning(doctree: nodes.Element) -> str:
    """The first paragraph that is long enough and holds no formula, cut at a word; without one, what the book is."""
    for paragraph in doctree.findall(nodes.paragraph):
        text = " ".join(paragraph.astext().split())
        if len(text) >= _SHORTEST and paragraph.next_node(nodes.math) is None:
            return textwrap.shorten(text, _LONGEST, placeholder=" …")
    return ABOUT


def tags(title: str, text: str, address: str, book: str) -> str:
    """The meta elements of a page.

    Args:
        title: Of the page, as plain text.
        text: A sentence or two, as plain text.
        address: Of the page, absolute.
        book: The title of the book.
    """
    named = {"description": text, "twitter:card": "summary_large_image"}
    properties = {
        "og:type": "website",
        "og:site_name": book,
        "og:title": title,
        "og:description": text,
        "og:url": address,
        "og:image": PICTURE,
        "og:image:width": str(SIZE[0]),
        "og:image:height": str(SIZE[1]),
        "og:image:alt": ALT,
    }
    return "".join(
        f'\n    <meta {key}="{name}" content="{html.escape(content, quote=True)}" />'
        for key, group in (("name", named), ("property", properties))
        for name, content in group.items()
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx find the hook."""
    app.connect("html-page-context", introduce)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
