"""The code of a slide: what a cell defines from scratch, divided where a reader would pause."""

from __future__ import annotations

import ast
import math
import re

#: Sections whose code draws, measures or checks.
_PLUMBING = re.compile(r"The problem|Look|Experiment|What can go wrong|Exercises")
#: Definitions that are written from scratch whatever their section is called.
_FROM_SCRATCH = re.compile(
    r"^class \w+(FromScratch\b|\(nn\.Module\))|^def \w+_(v\d|by_hand|in_the_open)\(",
    re.MULTILINE,
)
_DEFINITION = (ast.FunctionDef, ast.ClassDef)


def from_scratch(code: str, heading: str) -> str:
    """The functions and classes of a cell, if it is there to define them; otherwise nothing.

    Args:
        code: The cell.
        heading: Of its section.

    Example:
        >>> from_scratch("import math\\ndef f(x):\\n    return x\\nprint(f(1))", "From scratch")
        'def f(x):\\n    return x'
        >>> from_scratch("def f(x):\\n    return x", "Experiment")
        ''
    """
    scratch = "scratch" in heading.lower() or _FROM_SCRATCH.search(code)
    if not scratch or _PLUMBING.match(heading):
        return ""
    try:
        tree = ast.parse(code)
    except SyntaxError:  # a magic of IPython
        return ""
    lines = code.splitlines()
    found = [
        "\n".join(lines[_first_line(node, lines) : node.end_lineno])
        for node in tree.body
        if isinstance(node, _DEFINITION)
    ]
    shown = "\n\n".join(found)
    # Where most lines do something else, the functions serve a check or a figure.
    return shown if 3 * len(shown.splitlines()) >= len(lines) else ""


def divide(code: str, room: int, first: int) -> list[str]:
    """Divide code between definitions, else between methods, else between statements.

    Args:
        code: Functions and classes.
        room: How many lines a part may have.
        first: How many the first part may have.

    Returns:
        The parts, of about equal length.
    """
    lines = code.splitlines()
    depths = _pauses(ast.parse(code).body, lines)
    parts, begin = [], 0
    while len(lines) - begin > (now := room if parts else first):
        left = len(lines) - begin
        fair = math.ceil(left / (1 + math.ceil((left - now) / room)))
        far = min(now, fair + 4)
        pauses = [
            line
            for line in range(begin + fair // 2, begin + far + 1)
            if line in depths and line > begin
        ]
        end = min(
            pauses,
            key=lambda line: (depths[line], abs(line - begin - fair)),
            default=begin + now,
        )
        parts.append("\n".join(lines[begin:end]).strip("\n"))
        begin = end
    parts.append("\n".join(lines[begin:]).strip("\n"))
    return parts


def _pauses(body: list[ast.stmt], lines: list[str], depth: int = 0) -> dict[int, int]:
    """Lines before which code may be divided, and how deep each lies."""
    found: dict[int, int] = {}
    head = 1 + (ast.get_docstring(ast.Module(body, [])) is not None) if depth else 0
    for place, node in enumerate(body):
        if place >= head:  # a head stays with its docstring and its first statement
            found[_first_line(node, lines)] = depth
        found |= _pauses(getattr(node, "body", []), lines, depth + 1)
    return found


def _first_line(node: ast.stmt, lines: list[str]) -> int:
    """The index of the line in which a statement begins, with its decorators and the comments above it."""
    first = min(
        [node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))]
    )
    first -= 1
    while first and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return first
