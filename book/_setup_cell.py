"""The set-up cell of every notebook, made from one template, and the skeleton of a new chapter.

Without a flag: check that every notebook has the cell (exit code 1 where one differs). With ``--write``: put it there.
With ``--new book/chapters/03_image_encoders.ipynb "3 · Image encoders"``: start a chapter.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ris_lib._urls import PACKAGE

BOOK = Path(__file__).parent

SOURCE = f"""\
# Set-up: on Colab, installs the library and what it needs; says what the page runs on.
import os
import sys
from importlib.metadata import distributions, requires, version

import torch

if "google.colab" in sys.modules and not any(distributions(name="ris_lib")):
    %pip install -q --no-deps "{PACKAGE}"
    for name in [need.split(">")[0] for need in requires("ris_lib") if ";" not in need]:
        if not any(distributions(name=name)):  # what Colab has stays as it is
            %pip install -q {{name}}
PROFILE = os.environ.get("RIS_PROFILE", "quick")  # or "gpu", or "full"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
print(f"ris_lib {{version('ris_lib')}}, torch {{torch.__version__}}, {{DEVICE}}, {{PROFILE}}")"""

#: papermill puts its parameters behind the cell with this tag; the page shows the cell folded.
TAGS = ["parameters", "hide-input"]

#: What Colab reads: a GPU, the smallest one.
METADATA = {
    "accelerator": "GPU",
    "colab": {"gpuType": "T4", "provenance": []},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def setup_cell() -> dict:
    """The cell as it stands in a notebook."""
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": "setup",
        "metadata": {"tags": list(TAGS)},
        "outputs": [],
        "source": SOURCE.splitlines(keepends=True),
    }


def chapter(title: str) -> dict:
    """A new chapter: title, set-up cell, nothing else."""
    heading = {
        "cell_type": "markdown",
        "id": "title",
        "metadata": {},
        "source": [f"# {title}"],
    }
    return {
        "cells": [heading, setup_cell()],
        "metadata": METADATA,
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def refresh(notebook: dict) -> dict:
    """The notebook with the set-up cell and the metadata of the template.

    Raises:
        ValueError: It has no cell with the id ``setup``, or more than one.
    """
    found = [
        number
        for number, cell in enumerate(notebook["cells"])
        if cell.get("id") == "setup"
    ]
    if len(found) != 1:
        raise ValueError(
            f"{len(found)} cells have the id 'setup'; expected one. Start a chapter with --new."
        )
    cells = list(notebook["cells"])
    cells[found[0]] = setup_cell()
    return {
        **notebook,
        "cells": cells,
        "metadata": {**notebook["metadata"], **METADATA},
    }


def text(notebook: dict) -> str:
    """The notebook as Jupyter and nbstripout write it."""
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=False) + "\n"


def notebooks() -> list[Path]:
    """Every notebook of the book."""
    return sorted(
        path for path in BOOK.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts
    )


def main() -> int:
    """Check, write or make notebooks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="put the template's cell into every notebook",
    )
    parser.add_argument(
        "--new",
        nargs=2,
        metavar=("FILE", "TITLE"),
        help="make the skeleton of a chapter",
    )
    options = parser.parse_args()
    if options.new:
        path = Path(options.new[0])
        if path.exists():
            parser.error(f"{path} exists already")
        path.write_text(text(chapter(options.new[1])), encoding="utf-8")
        return 0

    different = []
    for path in notebooks():
        before = json.loads(path.read_text(encoding="utf-8"))
        after = refresh(before)
        if after != before:
            different.append(path)
            if options.write:
                path.write_text(text(after), encoding="utf-8")
    for path in different:
        print(
            f"{path}: {'rewritten' if options.write else 'the set-up cell or the metadata differ; make format'}"
        )
    return 1 if different and not options.write else 0


if __name__ == "__main__":
    sys.exit(main())
