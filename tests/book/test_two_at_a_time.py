"""Pages with code are dealt out to the processes that Sphinx reads with."""

from types import SimpleNamespace

import pytest
from sphinx.util.parallel import make_chunks

from book._ext import two_at_a_time


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("chapters", "texts"), [(19, 26), (19, 40), (19, 100), (5, 2), (40, 0), (0, 30), (1, 0), (0, 0)]
)
def test_each_process_begins_with_its_share_of_the_code(chapters, texts, processes, monkeypatch):
    monkeypatch.setattr(two_at_a_time, "PROCESSES", processes)
    pages = [f"chapters/{n:02}" for n in range(chapters)] + [f"reference/{n:03}" for n in range(texts)]
    kept = list(pages)
    app = SimpleNamespace(extensions={name: SimpleNamespace() for name in two_at_a_time.SILENT})
    env = SimpleNamespace(doc2path=lambda page: page + (".ipynb" if page.startswith("chapters") else ".md"))

    two_at_a_time.deal_out(app, env, pages)

    assert sorted(pages) == kept, "a page is missing, or there twice"
    parts = make_chunks(pages, processes)
    shares = [sum(page.startswith("chapters") for page in part) for part in parts[:processes]]
    wanted = [len(range(first, chapters, processes)) for first in range(processes)]
    if len(parts) >= processes and len(parts[0]) >= wanted[0] and texts >= processes:
        assert shares == wanted
