"""Printed columns keep their lines on a phone, where other output is wrapped.

A line is one of columns if it has two blanks between words, or a sign that tables are drawn with; two such lines are a
table. The style sheet does the rest.
"""

from __future__ import annotations

import html
import re
from typing import Any

from sphinx.application import Sphinx

_PRINTED = re.compile(
    r'(<div class="output (?:stream|text_plain)[^>]*>\s*<div class="highlight">)<pre>(.*?)</pre>',
    flags=re.DOTALL,
)
_COLUMNS = re.compile(r"\S {2,}\S|[─━│┃]")


def mark(
    app: Sphinx | None,
    page: str,
    template: str,
    context: dict[str, Any],
    doctree: object,
) -> None:
    """Mark printed columns; Sphinx calls this for each page."""
    if context.get("body"):
        context["body"] = _PRINTED.sub(_marked, context["body"])


def _marked(found: re.Match[str]) -> str:
    lines = html.unescape(re.sub(r"<[^>]*>", "", found[2])).splitlines()
    columns = sum(bool(_COLUMNS.search(line)) for line in lines) > 1
    sign = ' class="ris-columns"' if columns else ""
    return f"{found[1]}<pre{sign}>{found[2]}</pre>"


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx find the hook."""
    app.connect("html-page-context", mark)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
