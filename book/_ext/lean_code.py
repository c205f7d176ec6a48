"""Code without the marks that colour nothing, which were a third of the book's weight.

Pygments wraps every name, bracket and space of a program into an element of its own, ten thousand a chapter, and the
theme gives all of them the colour of the text around. Operators had a colour of their own, that of strings; now they
are as dark as names.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

#: Pygments' classes: names, names of modules, punctuation, space, operators.
UNCOLOURED = ("n", "nn", "p", "w", "o")
_MARKED = re.compile(rf'<span class="(?:{"|".join(UNCOLOURED)})">([^<]*)</span>')


def lean(body: str) -> str:
    """HTML whose code has only the marks that are seen."""
    return _MARKED.sub(r"\1", body)


def amend(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Amend one page; Sphinx calls this for each."""
    if context.get("body"):
        context["body"] = lean(context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx find the hook."""
    app.connect("html-page-context", amend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
