"""For the page ``how_it_was_built``: what each page of code took, and the machine and the versions it ran on.

Source: the statistics that myst-nb keeps of each execution. Its own table of them (``nb-exec-table``) shows names of files,
and has no room for its columns on a phone; this one shows titles.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version

import torch
from docutils import nodes
from myst_nb.ext.execution_tables import METADATA_KEY
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

from ris_lib.engine.device import pick_device

#: Packages whose version can change a number or a page.
PACKAGES = (
    "ris_lib",
    "torch",
    "torchvision",
    "transformers",
    "timm",
    "numpy",
    "matplotlib",
    "jupyter-book",
    "Sphinx",
    "myst-nb",
)


def built_with() -> dict[str, str]:
    """What the pages ran on, by name."""
    device = pick_device("auto")
    is_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name() if is_gpu else platform.machine()
    return {
        "system": platform.system(),
        "device": f"{device.type}, {name}",
        "CPU cores": str(os.cpu_count()),
        "threads of torch": str(torch.get_num_threads()),
        "profile": os.environ.get("RIS_PROFILE", "quick"),
        "Python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def table(head: Sequence[str], rows: Sequence[Sequence[nodes.Node]]) -> nodes.table:
    """A table with one line of headings."""
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in head), cols=len(head))
    titles = [nodes.Text(title) for title in head]
    group += nodes.thead("", _row(titles))
    group += nodes.tbody("", *map(_row, rows))
    return nodes.table("", group, classes=["colwidths-auto"])


def _row(cells: Sequence[nodes.Node]) -> nodes.row:
    return nodes.row(
        "", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells)
    )


def largest_process() -> int | None:
    """Bytes that the largest of all ended processes held that this one began; None where the system keeps no count."""
    try:
        from resource import RUSAGE_CHILDREN, getrusage
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return getrusage(RUSAGE_CHILDREN).ru_maxrss * unit


def keep_memory(app: Sphinx, env: BuildEnvironment) -> None:
    """Keep what the kernels needed; all have ended when Sphinx calls this, and pages may be written elsewhere."""
    env.ris_largest_process = largest_process()


class BuiltWith(SphinxDirective):
    """The directive ``built-with``."""

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        rows = [[nodes.Text(a), nodes.Text(b)] for a, b in built_with().items()]
        return [table(["what", "here"], rows)]


class Times(nodes.General, nodes.Element):
    """The place of a table that can be filled once all pages have run."""


class ExecutionTimes(SphinxDirective):
    """The directive ``execution-times``."""

    def run(self) -> list[nodes.Node]:
        """Keep the place, and ask myst-nb to write this page again when another has run."""
        NbMetadataCollector.set_doc_data(self.env, self.env.docname, METADATA_KEY, True)
        return [Times()]


class FillTimes(SphinxPostTransform):
    """Put the table in its place, and the memory behind it."""

    default_priority = 8

    def run(self, **options: object) -> None:
        """Fill every place of a page."""
        ran = {
            page: kept["exec_data"]
            for page, kept in sorted(NbMetadataCollector.get_doc_data(self.env).items())
            if kept.get("exec_data")
        }
        for place in list(self.document.findall(Times)):
            rows = [self._line(page, data) for page, data in ran.items()]
            seconds = sum(data["runtime"] or 0 for data in ran.values())
            total = [
                nodes.Text("together"),
                nodes.Text(f"{seconds:.0f}"),
                nodes.Text(""),
            ]
            made = [table(["page", "seconds", "status"], [*rows, total])]
            largest = getattr(self.env, "ris_largest_process", None)
            if largest is not None:
                said = f"The largest of their processes held {largest / 1e9:.2f} GB of memory."
                made.append(nodes.paragraph("", said))
            place.replace_self(made)

    def _line(self, page: str, data: dict) -> list[nodes.Node]:
        address = self.app.builder.get_relative_uri(self.env.docname, page)
        title = self.env.titles[page].astext()
        return [
            nodes.reference("", title, internal=True, refuri=address),
            nodes.Text("–" if data["runtime"] is None else f"{data['runtime']:.1f}"),
            nodes.Text("complete" if data["succeeded"] else "failed"),
        ]


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx find both directives."""
    app.add_node(Times)
    app.add_directive("built-with", BuiltWith)
    app.add_directive("execution-times", ExecutionTimes)
    app.add_post_transform(FillTimes)
    app.connect("env-updated", keep_memory)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
