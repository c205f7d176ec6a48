"""Docstrings of the reference, where their own words would be taken for markup.

Napoleon takes what stands before a colon for a type, in the description of an attribute and after ``Returns:``. Here
types stand in annotations, so a colon is a colon. Lines that start with ``$`` are commands, not a paragraph. The two
hyphens of an option would become a dash.
"""

from __future__ import annotations

import re
import typing
from typing import Any

from sphinx.application import Sphinx

#: What has no section in its docstring, only a description.
_VALUES = {"attribute", "data", "property"}


def plain_words(
    app: Sphinx | None,
    what: str,
    name: str,
    member: Any,
    options: object,
    lines: list[str],
) -> None:
    """Change a docstring in place, before Napoleon reads it. Sphinx calls this for each member."""
    first = next((number for number, line in enumerate(lines) if line.strip()), None)
    if first is not None and what in _VALUES:
        lines[first] = _without_type(lines[first])
    for number, line in enumerate(lines[:-1]):
        if line.strip() in ("Returns:", "Yields:"):
            lines[number + 1] = _without_type(lines[number + 1])
    for number, line in enumerate(lines):
        if not _is_command(line) and not line.lstrip().startswith((">>>", "...")):
            lines[number] = _with_options(line)
    for number in reversed(range(len(lines))):
        if _is_command(lines[number]) and not (
            number and _is_command(lines[number - 1])
        ):
            indent = re.match(r" *", lines[number])[0]
            end = number
            while end < len(lines) and _is_command(lines[end]):
                lines[end] = "    " + lines[end]
                end += 1
            lines[number:number] = [f"{indent}.. code-block:: console", ""]


def _is_command(line: str) -> bool:
    return line.lstrip().startswith("$ ")


def _with_options(line: str) -> str:
    """The line with its options, such as --json, as code; what is code already stays."""
    parts = line.split("``")
    for number in range(0, len(parts), 2):
        parts[number] = re.sub(r"(?<![\w-])--[a-z][a-z-]*", r"``\g<0>``", parts[number])
    return "``".join(parts)


def _without_type(line: str) -> str:
    """The line with an empty type before it, if it could be taken for one: a colon that is no ``::``."""
    indent, text = re.match(r"( *)(.*)", line).groups()
    return f"{indent}: {text}" if re.search(r"(?<!:):(?!:)", text) else line


def says_nothing(
    app: Sphinx | None,
    what: str,
    name: str,
    member: Any,
    skip: bool,
    options: object,
) -> bool | None:
    """Leave out what has no words of its own: fields of named tuples ("alias for field number 3"), and types that
    carry the words of the command line's help."""
    counted = (getattr(member, "__doc__", None) or "").startswith("Alias for field")
    return True if counted or typing.get_origin(member) is typing.Annotated else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Sphinx find the hooks; Napoleon's stand at 500."""
    app.connect("autodoc-process-docstring", plain_words, priority=400)
    app.connect("autodoc-skip-member", says_nothing)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
