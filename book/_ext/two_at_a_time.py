"""Two pages are executed side by side, where the machine has two cores.

Sphinx can read pages in several processes, but jupyter-book has no switch for it. Sphinx divides the pages by
name, so that most chapters would lie in one part, hence the new order. And it refuses an extension that does not say
whether it can be used so. Two of jupyter-book's do not: one numbers parts when all pages have been read, which this
book does not ask for, and the other is for LaTeX.

Source: our decision. A page of this book computes with one thread, and pages know nothing of one another.
"""

from __future__ import annotations

import os
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.parallel import make_chunks

PROCESSES = min(2, os.cpu_count() or 1)
SILENT = ("sphinx_multitoc_numbering", "sphinx_jupyterbook_latex")


def deal_out(app: Sphinx, env: BuildEnvironment, pages: list[str]) -> None:
    """Give each process its share of the pages with code, to begin with; whoever is ready takes the others."""
    for name in SILENT:
        app.extensions[name].parallel_read_safe = True
    code = [page for page in pages if Path(env.doc2path(page)).suffix == ".ipynb"]
    text = [page for page in pages if page not in code]
    size = max(map(len, make_chunks(pages, PROCESSES)), default=0)
    dealt: list[str] = []
    for first in range(PROCESSES):
        share = code[first::PROCESSES]
        room = max(0, size - len(share))
        dealt += share + text[:room]
        text = text[room:]
    pages[:] = dealt + text


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx work in two processes."""
    app.parallel = PROCESSES
    app.connect("env-before-read-docs", deal_out)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
