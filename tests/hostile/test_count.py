"""How many cases there are: counted in the files, so that a forgotten number is seen."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def drawn_cases() -> dict[str, int]:
    """Cases of `make test` by file: the first argument of each ``@fuzz``."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        marks = [mark for node in tree.body if isinstance(node, ast.FunctionDef) for mark in node.decorator_list]
        counts = [
            mark.args[0].value for mark in marks if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "fuzz"
        ]
        if counts:
            found[file.name] = sum(counts)
    return found


def test_there_are_500_cases_and_10000_every_night():
    times = int(re.search(r"RIS_FUZZ=(\d+)", (ROOT / "Makefile").read_text(encoding="utf-8"))[1])
    total = sum(drawn_cases().values())
    assert len(drawn_cases()) == 8, "one file for each kind of input"
    assert min(drawn_cases().values()) >= 50
    assert total >= 500
    assert total * times >= 10_000
