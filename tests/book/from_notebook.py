"""Take classes and functions out of a notebook without running the notebook.

A chapter's class is worth comparing with the library's on other numbers than the chapter's own. Running the whole
notebook for that would take a minute; here only the definitions that are asked for are executed, with the imports and
the definitions that they use.
"""

from __future__ import annotations

import ast
import builtins
import json
import re
from types import SimpleNamespace
from typing import Any

from tests.book.template import setup

#: A line for Jupyter and not for Python.
_JUPYTER = re.compile(r"^( *)[%!].*$", re.MULTILINE)
_EQUAL = ("equal", "allclose", "array_equal")
_CLOSE = ("assert_close", "assert_allclose", "assert_array_equal")


def from_notebook(chapter: str, *names: str, **given: Any) -> SimpleNamespace:
    """The classes and functions of a chapter by name.

    Args:
        chapter: File name without its ending, ``"06_words_meet_pixels"``.
        names: Names that one cell each defines at its top level.
        given: Values for what they read of the running page.

    Raises:
        ValueError: A name is not defined, is defined twice with other text, or uses what only a running notebook has.
    """
    notebook = json.loads((setup.BOOK / "chapters" / f"{chapter}.ipynb").read_text(encoding="utf-8"))
    imports, known = _statements(notebook)
    wanted, order = list(names), []
    while wanted:
        name = wanted.pop()
        found = {ast.dump(statement): statement for statement in known.get(name, [])}
        if len(found) != 1:
            raise ValueError(f"{chapter}: {name} has {len(found)} definitions that can stand alone; expected one.")
        statement = next(iter(found.values()))
        if statement in order:
            continue
        order.append(statement)
        wanted += sorted(_names_in(statement) & set(known) - {name} - _own_names(statement))
    # a class may be made of others when it is defined: those come first, as in the notebook
    order.sort(key=lambda statement: statement.position)
    module = ast.fix_missing_locations(ast.Module([*imports, *order], type_ignores=[]))
    namespace = {"__name__": f"chapter_{chapter}", **given}
    exec(compile(module, f"{chapter}.ipynb", "exec"), namespace)
    for statement in order:
        missing = _names_in(statement) - _own_names(statement) - set(namespace) - set(dir(builtins))
        if missing:
            raise ValueError(
                f"{chapter}: {statement.name} uses {sorted(missing)} of the running page; give values for them."
            )
    return SimpleNamespace(**{name: namespace[name] for name in names})


def comparisons(notebook: dict, cell: str) -> int:
    """How often a cell compares numbers: ``assert`` with an equality, or a function such as ``assert_close``.

    Args:
        notebook: As JSON.
        cell: Its id.

    Raises:
        ValueError: There is no such cell of code.
    """
    codes = {one["id"]: "".join(one["source"]) for one in notebook["cells"] if one["cell_type"] == "code"}
    if cell not in codes:
        raise ValueError(f"there is no cell of code {cell!r}; the page has {', '.join(codes)}.")
    return sum(map(_compares, ast.walk(ast.parse(_JUPYTER.sub(r"\1pass", codes[cell])))))


def _compares(node: ast.AST) -> bool:
    if isinstance(node, ast.Assert):
        return any(isinstance(part, ast.Eq) or getattr(part, "attr", "") in _EQUAL for part in ast.walk(node.test))
    return isinstance(node, ast.Call) and getattr(node.func, "attr", "") in _CLOSE


def _statements(notebook: dict) -> tuple[list[ast.stmt], dict[str, list[ast.stmt]]]:
    """The imports, and what can be defined without running the page: classes, functions, constants."""
    imports, known, position = [], {}, 0
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        text = _JUPYTER.sub(r"\1pass", "".join(cell["source"]))
        for statement in ast.parse(text).body:
            position += 1
            statement.position = position
            if isinstance(statement, ast.Import | ast.ImportFrom):
                imports.append(statement)
            elif isinstance(statement, ast.ClassDef | ast.FunctionDef):
                known.setdefault(statement.name, []).append(statement)
            elif isinstance(statement, ast.Assign) and _is_constant(statement.value):
                for target in statement.targets:
                    if isinstance(target, ast.Name):
                        known.setdefault(target.id, []).append(statement)
    return imports, known


def _is_constant(value: ast.expr) -> bool:
    try:
        ast.literal_eval(value)
    except ValueError:
        return False
    return True


def _names_in(statement: ast.stmt) -> set[str]:
    """Names that are read somewhere in it."""
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def _own_names(statement: ast.stmt) -> set[str]:
    """Names that it sets itself: arguments, variables, functions inside."""
    own: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            own.add(node.id)
        elif isinstance(node, ast.arg):
            own.add(node.arg)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            own.add(node.name)
    return own
