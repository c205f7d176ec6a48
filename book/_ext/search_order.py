"""Which pages a search names first: those that explain a word, then its entry in the reference.

Sphinx puts the names of modules and classes above everything else, so that whoever looked for *VLBA* found three pages
of signatures before the chapter. Here a term of the glossary comes first; then pages with the word in a heading; then
the class of that name; then what mentions it.
"""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

SCORES = Path(__file__).with_name("search_order.js")


def amend(app: Sphinx, config: Config) -> None:
    """Name the file with the scores; Sphinx calls this once."""
    config.html_search_scorer = str(SCORES)


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx find the hook."""
    app.connect("config-inited", amend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
