"""What a verb shows: tables for people, JSON for programs."""

from __future__ import annotations

import json as json_format
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console
from rich.table import Table

from ris_lib.data.cache import check_place
from ris_lib.engine.run import write_json

#: The flag ``--json``.
JsonFile = Annotated[str | None, tyro.conf.arg(metavar="FILE", help="Also write the numbers as JSON; - = to stdout.")]
#: The flag ``--threads``.
Threads = Annotated[int | None, tyro.conf.arg(help="Threads on the CPU; by default PyTorch's choice.")]


_WIDTH = 76  # a table is as wide as its title, up to this
_NAME = 24  # a first column of so many letters at most holds names
_FILE_WIDTH = 160  # of what does not go to a terminal; rich would take 80


def check_json(file: str | None) -> None:
    """Refuse a name at which no file can be written, before the work is done.

    Raises:
        ValueError: It is a folder, or in a place that cannot be written.
    """
    if file != "-":
        check_file("--json", file, "name a file, or - for stdout")


def check_file(flag: str, file: str | Path | None, advice: str = "name a file") -> None:
    """Refuse a name at which no file can be written, before the work is done.

    Args:
        flag: By which it is named.
        file: The name, or None.
        advice: Said where it is a folder.

    Raises:
        ValueError: It is a folder, or in a place that cannot be written.
    """
    if file is None:
        return
    if Path(file).is_dir():
        raise ValueError(f"{flag} {file} is a folder; {advice}.")
    check_place(file)


def set_threads(threads: int | None) -> None:
    """Set the number of threads on the CPU.

    Raises:
        ValueError: It is below 1.
    """
    if threads is None:
        return
    if threads < 1:
        raise ValueError(f"--threads {threads}; expected at least 1.")
    torch.set_num_threads(threads)


def report(tables: Sequence[Table], values: Any, file: str | None) -> None:
    """Print tables, and write the same as JSON where a file is named.

    Args:
        tables: They go to stdout; to stderr where the JSON goes to stdout.
        values: What JSON can hold.
        file: File name, ``-`` for stdout, or None.
    """
    console = Console(stderr=file == "-")
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _FILE_WIDTH
    for table in tables:
        console.print(table)
    if file == "-":
        sys.stdout.write(json_format.dumps(values, indent=2, ensure_ascii=False) + "\n")
    elif file is not None:
        write_json(Path(file), values)


def make_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], text: int = 1) -> Table:
    """A table.

    Args:
        title: Stands above it.
        columns: Headers.
        rows: Cells.
        text: So many columns at the beginning hold text, the others numbers.

    Example:
        >>> make_table("speeds", ["what", "value"], [["draw", 200]]).row_count
        1
    """
    table = Table(title=title, title_justify="left", title_style="bold", min_width=min(len(title), _WIDTH))
    names_only = all(len(str(row[0])) <= _NAME for row in rows)
    for k, name in enumerate(columns):
        whole = k == 0 and names_only  # a name that is cut in two cannot be copied
        table.add_column(name, justify="left" if k < text else "right", overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*map(str, row))
    return table
