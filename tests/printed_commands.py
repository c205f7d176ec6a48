"""The commands that the repository prints for its readers, and where each of them stands.

They are taken from Markdown (the files of ``PAGES`` and the text cells of notebooks) and from docstrings:

- every line of a block in three backticks that is called ``bash`` or nothing, and of an indented block, if its first
  word is one of ``PROGRAMS``;
- a docstring's lines that begin with ``$``;
- code within a line of text, such as ``make test``, if it begins with one of ``PROGRAMS`` and is more than a name.

A line that ends with a backslash goes on in the next one; what stands behind ``#`` is a remark.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: What a command begins with. A program of ``.venv/bin`` is the same program; ``-m`` is what goes on after a launcher.
PROGRAMS = frozenset(
    {
        *("ris", "make", "python", "python3", "pip", "uv", "accelerate", "otter", "jupyter", "jupyter-book"),
        *("pytest", "pre-commit", "source", "git", "docker", "-m"),
    }
)
#: Files and folders with commands for readers, by the kind of file.
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "tests/README.md", "book/*.md", "book/reference/*.md")
NOTEBOOKS = ("book/*.ipynb", "book/chapters/*.ipynb", "book/assignments/*.ipynb")
MODULES = ("ris_lib/**/*.py", "studies/**/*.py", "data_scripts/*.py", "book/*.py", "book/_ext/*.py")

_FENCE = re.compile(r"\s*(`{3,}|~{3,}|:{3,})\s*(.*?)\s*$")
_CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
_NAME = re.compile(
    r"\S+"  # a program: `ris`
    r"|(ris|accelerate|otter|\S+/otter)( [a-z]+)?( --(?!help)[a-z-]+)?"  # and a verb, and a flag without its value
    r"|\S+ -[mc]"
    r"|.*(\.\.\.|…).*"  # something is left out
)


def words_of(command: str) -> list[str]:
    """The words of a command, as a shell sees them; ``.venv/bin/`` and a prompt are gone.

    Raises:
        ValueError: A quotation has no end.
    """
    lexer = shlex.shlex(command, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    words = list(lexer)
    if words and words[0] == "$":
        words = words[1:]
    if words:
        words[0] = re.sub(r"^\.venv/(bin|Scripts)/", "", words[0])
    return words


def _without_remark(line: str) -> str:
    """The line up to a ``#`` that stands outside of quotation marks and behind a space."""
    quote = ""
    for place, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "#" and (place == 0 or line[place - 1].isspace()):
            return line[:place].rstrip()
    return line.rstrip()


def is_command(text: str) -> bool:
    """Whether a line of a block begins with a program."""
    first = text.removeprefix("$ ").split(maxsplit=1)[:1]
    return bool(first) and re.sub(r"^\.venv/(bin|Scripts)/", "", first[0]) in PROGRAMS


def is_name(text: str) -> bool:
    """Whether code within a text only names a program, a verb or a flag, or leaves something out.

    ``make`` has no verbs: ``make test`` is a command. So is ``ris train --help``.
    """
    return re.fullmatch(_NAME, text) is not None


def joined(lines: list[str], all_lines: bool = False) -> list[str]:
    """The commands of a block, or all its lines: remarks removed, joined over backslashes, blanks made one."""
    found, begun = [], ""
    for line in lines:
        begun += " " + _without_remark(line).strip()
        if begun.endswith("\\"):
            begun = begun[:-1]
            continue
        found.append(re.sub(r" {2,}", " ", begun).strip())
        begun = ""
    return [line.removeprefix("$ ") for line in [*found, begun.strip()] if line and (all_lines or is_command(line))]


def _parts(text: str) -> Iterator[tuple[str, list[str]]]:
    """What a text consists of, in its order: ``text``, ``indented``, or ``code`` and its language, and the lines."""
    open_fences: list[tuple[str, str]] = []  # with what opened them: a language, or a directive in braces
    kind, lines, blank = "text", [], True
    for line in text.splitlines():
        fence = _FENCE.match(line)
        inside = bool(open_fences) and not open_fences[-1][1].startswith("{")
        closes = bool(fence and open_fences and not fence[2] and fence[1].startswith(open_fences[-1][0]))
        indented = not inside and line.startswith("    ") and (blank or kind == "indented")
        if closes or (fence and not inside):
            yield kind, lines
            if closes:
                open_fences.pop()
            else:
                open_fences.append((fence[1], fence[2]))
            code = bool(open_fences) and not open_fences[-1][1].startswith("{")
            kind, lines = (f"code {open_fences[-1][1]}" if code else "text"), []
        elif not inside and indented != (kind == "indented") and line.strip():
            yield kind, lines
            kind, lines = "indented" if indented else "text", [line]
        else:
            lines.append(line)
        blank = not line.strip()
    yield kind, lines


def _prompts(lines: list[str]) -> tuple[list[str], list[str]]:
    """The lines that begin with ``$``, with those in which they go on, and the others."""
    prompts, rest = [], []
    for line in map(str.strip, lines):
        goes_on = bool(prompts) and prompts[-1].endswith("\\")
        (prompts if line.startswith("$ ") or goes_on else rest).append(line)
    return prompts, rest


def in_text(text: str) -> list[str]:
    """The commands of a Markdown text or of a docstring, in their order, each as one line.

    Example:
        >>> in_text("Run `make test`, or `ris train`:\\n\\n    ris train --out a  # quick")
        ['make test', 'ris train --out a']
    """
    found = []
    for kind, lines in _parts(text):
        if kind in {"code bash", "code ", "indented"}:
            found += joined(lines)
        elif kind == "text":
            prompts, rest = _prompts(lines)
            found += joined(prompts)
            for paragraph in re.split(r"\n\s*\n", "\n".join(rest)):
                codes = (" ".join(code.split()) for _, code in _CODE.findall(paragraph))
                found += [code for code in codes if is_command(code) and not is_name(code)]
    return found


def bash_lines(text: str) -> list[str]:
    """Every line of every block that is called ``bash``, whether it begins with a known program or not."""
    lines = [line for kind, block in _parts(text) if kind == "code bash" for line in block]
    return [line for line in lines if line.strip()]


@cache
def texts() -> list[tuple[str, str]]:
    """Everything that is searched: where it stands, and the text."""
    return list(_texts())


def _texts() -> Iterator[tuple[str, str]]:
    def files(patterns: tuple[str, ...]) -> list[Path]:
        return sorted({path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()})

    for path in files(PAGES):
        yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
    for path in files(NOTEBOOKS):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                yield f"{path.relative_to(ROOT).as_posix()}, cell {cell.get('id')}", "".join(cell["source"])
    for path in files(MODULES):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node, clean=False)
                if text:
                    yield f"{path.relative_to(ROOT).as_posix()}, {getattr(node, 'name', 'top')}", inspect.cleandoc(text)


def printed() -> dict[str, list[str]]:
    """Every command of the repository, and the places where it stands."""
    found: dict[str, list[str]] = {}
    for place, text in texts():
        for command in in_text(text):
            found.setdefault(command, []).append(place)
    return {command: list(dict.fromkeys(places)) for command, places in sorted(found.items())}
