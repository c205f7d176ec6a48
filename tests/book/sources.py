"""Checks of notebooks as they stand in the repository. Each function returns complaints, one sentence each."""

from __future__ import annotations

import re

WORDS = (2000, 3500)
#: Parts of a chapter, by what their headings say; the last four stand at its end, in this order.
PARTS = ("From scratch|, from scratch", "Look(ing)? inside", "Experiment")
LAST = ("What can go wrong", "Summary", "Exercises", "References")
EXERCISES = (3, 6)
#: What the first lines promise, and how long it takes.
PROMISE = ("After this chapter", "second|minute")
_FENCE = re.compile(r"\s*(`{3,}|~{3,}|:{3,})\s*(\{([\w:-]+)\})?")
_NOT_PROSE = {"solution", "solution-start", "math", "code-block", "code-cell", "bibliography", "eval-rst", "raw"}


def leftovers(notebook: dict) -> list[str]:
    """Outputs, execution counts, and cells without an id of their own."""
    found = []
    ids = [cell.get("id") for cell in notebook["cells"]]
    if None in ids or len(set(ids)) != len(ids):
        found.append("a cell has no id, or two have the same")
    for number, cell in enumerate(notebook["cells"]):
        if cell.get("outputs") or cell.get("execution_count"):
            found.append(f"cell {number} holds output; run make format")
    return found


def setup_differs(notebook: dict, template: dict, metadata: dict) -> list[str]:
    """The set-up cell is the template's, it is the first code cell, there is one, and the metadata are Colab's."""
    found = []
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    if [cell.get("id") for cell in code].count("setup") != 1 or not code or code[0].get("id") != "setup":
        found.append("the first code cell is not the set-up cell; start a chapter with book/_setup_cell.py --new")
    elif {**code[0], "source": "".join(code[0]["source"])} != {**template, "source": "".join(template["source"])}:
        found.append("the set-up cell differs from the template; run make format")
    for key, value in metadata.items():
        if notebook["metadata"].get(key) != value:
            found.append(f"metadata.{key} is {notebook['metadata'].get(key)}; expected {value}")
    return found


def prose(notebook: dict) -> str:
    """The words that a reader reads from start to end: no code, formulas, tables, or folded solutions."""
    kept = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "markdown":
            continue
        fences: list[tuple[str, bool]] = []  # the fence that closes, and whether its content is prose
        for line in "".join(cell["source"]).splitlines():
            match = _FENCE.match(line)
            if match and fences and not match[2] and match[1].startswith(fences[-1][0]):
                fences.pop()
            elif match:
                directive = match[3]
                fences.append((match[1], directive is not None and directive not in _NOT_PROSE))
            elif all(is_prose for _, is_prose in fences) and not line.lstrip().startswith(("|", ":")):
                kept.append(line)
    text = re.sub(r"\{py:\w+\}`~[\w.]*\.(\w+)`", r"\1", "\n".join(kept))  # a reader sees the last name alone
    text = re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$", " ", text, flags=re.DOTALL)
    return re.sub(r"\{[\w:-]+\}`|\]\([^)]*\)|<!--.*?-->|<[^>]+>", " ", text, flags=re.DOTALL)


def length(notebook: dict) -> list[str]:
    """A chapter has 2,000 to 3,500 words."""
    count = len(re.findall(r"[A-Za-z][\w'’-]*", prose(notebook)))
    return [] if WORDS[0] <= count <= WORDS[1] else [f"{count} words of prose; expected {WORDS[0]} to {WORDS[1]}"]


def sections(notebook: dict) -> list[str]:
    """A chapter promises something, begins with a problem on a picture, and has every part that a chapter has."""
    first = "".join(notebook["cells"][0]["source"])
    found = [f"the first cell says nothing of {said!r}" for said in PROMISE if not re.search(said, first)]
    lines = [(number, line) for number, cell in _texts(notebook) for line in cell if re.match(r"#{1,3} ", line)]
    headings = [line for _, line in lines]
    if (count := sum(line.startswith("# ") for line in headings)) != 1:
        found.append(f"{count} titles; expected 1")
    found += [
        f"no heading {part!r}" for part in PARTS if not any(re.search(f"^##+ .*({part})", line) for line in headings)
    ]
    large = [(number, line.removeprefix("## ")) for number, line in lines if line.startswith("## ")]
    if (last := tuple(line for _, line in large[-len(LAST) :])) != LAST:
        found.append(f"it ends with {', '.join(last)}; expected {', '.join(LAST)}")
    begin, end = ([number for number, _ in large] + [0, 0])[:2]
    if not any(_described(cell) for cell in notebook["cells"][begin:end]):
        found.append("the first section has no picture that is described")
    return found


def exercises(notebook: dict) -> list[str]:
    """A chapter has three to six exercises, each with a cell to fill in, a check, and a folded solution."""
    ids = [cell.get("id") or "" for cell in notebook["cells"]]
    count = sum(bool(re.fullmatch(r"exercise-\d+", name)) for name in ids)
    found = [] if EXERCISES[0] <= count <= EXERCISES[1] else [f"{count} exercises; expected {EXERCISES}"]
    for number in range(1, count + 1):
        parts = [f"exercise-{number}{part}" for part in ("", "-answer", "-check", "-solution")]
        places = [ids.index(name) for name in parts if name in ids]
        if len(places) < len(parts) or places != sorted(places):
            found.append(f"exercise {number} needs the cells {', '.join(parts)}, in this order")
        elif "<details>" not in "".join(notebook["cells"][places[-1]]["source"]):
            found.append(f"the solution of exercise {number} is not folded")
    return found


def _texts(notebook: dict) -> list[tuple[int, list[str]]]:
    """The lines of every cell of text, with the cell's number."""
    cells = enumerate(notebook["cells"])
    return [(number, "".join(cell["source"]).splitlines()) for number, cell in cells if cell["cell_type"] == "markdown"]


def _described(cell: dict) -> bool:
    """Whether a cell draws something and says what."""
    return len(cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "").split()) > 3


def pictures_without_words(notebook: dict) -> list[str]:
    """A cell that ends by drawing says in its metadata what is to be seen."""
    found = []
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code":
            continue
        lines = [line for line in "".join(cell["source"]).splitlines() if line.strip() and not line.startswith("#")]
        draws = bool(lines) and re.match(r"(plt\.show\(|(ris_lib\.)?(show\.)?(show_samples|compare)\()", lines[-1])
        if draws and not _described(cell):
            found.append(f"cell {number} draws a figure but has no metadata mystnb.image.alt that describes it")
    return found
