"""No live cells on the pages: Jupyter Book's extension for them is loaded with it, unasked.

It writes its script twice, which is an error in every browser's console, and fetches another from outside the book.
Colab's button does what live cells would do.
"""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

_MARK = "thebe"


def leave_out(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Take the scripts of live cells off a page; Sphinx calls this for each."""
    for files in ("script_files", "css_files"):
        context[files] = [f for f in context.get(files, ()) if not _is_live(f)]


def _is_live(file: Any) -> bool:
    attributes = getattr(file, "attributes", {})
    told = f"{getattr(file, 'filename', file)} {attributes.get('body', '')}"
    return _MARK in told.lower()


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx find the hook, behind those that add the scripts."""
    app.connect("html-page-context", leave_out, priority=1000)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
