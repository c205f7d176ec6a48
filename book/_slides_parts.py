"""What becomes a slide: the promise of a chapter, what its sections show with the words that lead to it, summary, exercises."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from book._slides_code import divide, from_scratch
from book._slides_words import LETTERS, MORE_LETTERS, Words, sentences
from bs4 import Tag

#: Sections without slides, and the ones that become a list.
LEFT_OUT, EXERCISES, SUMMARY = {"References"}, "Exercises", "Summary"
#: A slide holds so many lines of text; a formula takes three, a line of code two thirds of one.
LINES, FORMULA, CODE = 16, 3, 0.62
#: Letters in a line of text; lines of code on a slide; rows of a table; the rows up to which a table is small.
WIDTH, CODE_LINES, ROWS, FEW_ROWS = 92, 25, 18, 8
#: Printed lines that stand with the figure of their cell.
PRINTED = 2
#: Cells of a table that are not divided: a few words, and numbers with what belongs to them.
UNDIVIDED = re.compile(r".{,20}|[-+−(\[]?\.?\d.{,30}")
#: What separates two formulas in one line.
GAP = '<mspace width="2em"></mspace>'


class Slide(NamedTuple):
    """A heading, and what stands below it, as HTML."""

    heading: str
    body: str
    #: "math", "code" or "table"; formulas and code are put together as far as there is room.
    kind: str = ""
    #: How many lines of text would be as high.
    lines: float = LINES


def slides(article: Tag) -> Iterator[Slide]:
    """The slides of a chapter.

    Args:
        article: The article of a built page.
    """
    yield Slide(_title(article.h1), _paragraph(Words.of(article.h1.find_next("p"))))
    top = article.find("section")
    for section in top.find_all("section", recursive=False):
        heading = _title(section.find("h2"))
        if heading in LEFT_OUT:
            continue
        if heading == EXERCISES:
            yield Slide(heading, f"<ul>{''.join(map(_exercise, section('h3')))}</ul>")
        elif heading == SUMMARY:
            yield Slide(heading, str(section.find("ul")))
        else:
            yield from _together(_section(section, heading))


def _exercise(heading: Tag) -> str:
    """The name of an exercise, and how it begins."""
    name = f"<strong>{html.escape(_title(heading))}</strong>"
    task = heading.find_next_sibling("p")
    return f"<li>{name}<br>{Words.of(task).opening().html() if task else ''}</li>"


def _together(made: Iterator[Slide]) -> Iterator[Slide]:
    """Formulas, or pieces of code, that follow one another below one heading share a slide."""
    last: Slide | None = None
    for slide in made:
        if (
            last
            and last.kind
            and last[:1] + last[2:3] == slide[:1] + slide[2:3]
            and last.lines + slide.lines <= LINES
        ):
            last = last._replace(
                body=last.body + slide.body, lines=last.lines + slide.lines
            )
            continue
        if last:
            yield last
        last = slide
    if last:
        yield last


def _section(section: Tag, heading: str) -> Iterator[Slide]:
    """What a section shows, in its order, each with the words that lead to it.

    A figure that follows a table shares its words.
    """
    below, said = heading, None
    for tag in section.find_all(True):
        if _inside(tag):
            continue
        cell = tag.find_parent(class_="cell")
        if tag.name == "h3":
            below, said = f"{heading} · {_title(tag)}", None
        elif tag.name == "p" and not cell:
            words, before = Words.of(tag), tag.find_previous_sibling()
            if _goes_on(tag):
                words = words.divided()[1]
            elif said and before and before.name == "p":
                words = words.after(said)
            said = words if words.text else None
        elif made := list(_shown(tag, said, below)):
            yield from made
            said = said if made[-1].kind == "table" else None


def _inside(tag: Tag) -> bool:
    """Whether a tag is a part of something that is shown as a whole, or not at all."""
    inside = tag.find_parent(["figure", "details", "ul", "ol", "table"])
    return bool(inside or tag.find_parent(class_=["admonition", "math"]))


def _goes_on(paragraph: Tag) -> bool:
    """Whether a paragraph ends the sentence of the formula above it."""
    before = paragraph.find_previous_sibling()
    return bool(
        before
        and "math" in before.get("class", ())
        and Words.of(paragraph).text[:1].islower()
    )


def _shown(tag: Tag, said: Words | None, heading: str) -> Iterator[Slide]:
    """The slides that a part deserves; most deserve none."""
    cell, output = (tag.find_parent(class_=name) for name in ("cell", "cell_output"))
    classes = tag.get("class", ())
    if tag.name == "div" and "math" in classes:
        yield _formula(tag, said, heading)
    elif tag.name in ("ul", "ol") and not cell:
        before = tag.find_previous_sibling()
        words = said if before and before.name == "p" else None
        yield Slide(heading, _lead(words) + str(tag))
    elif tag.name == "pre" and cell and not output:
        yield from _code(tag.get_text().strip("\n"), said, heading)
    elif tag.name == "figure" and "ris-explorer" in classes:
        around = output or tag
        parts = [*around("style"), tag, *around("script")]
        yield Slide(heading, _lead(said) + "".join(map(str, parts)))
    elif tag.name == "img" and output:
        alt = tag.get("alt", "")
        words = _lead(said) + _printed(output) or _lead(Words(sentences(alt)[0]))
        picture = f'<img alt="{html.escape(alt, quote=True)}" src="{tag["src"]}">'
        yield Slide(heading, words + picture)
    elif tag.name == "table" and len(tag("tr")) <= ROWS:
        few = len(tag("tr")) <= FEW_ROWS
        words = _lead(said, MORE_LETTERS if few else LETTERS)
        words += _printed(output) if few else ""
        if words or len(tag("tr")) > 2:  # one line of numbers says nothing alone
            yield Slide(heading, words + _undivided(tag), "table")


def _formula(tag: Tag, said: Words | None, heading: str) -> Slide:
    """A formula, and what ends its sentence."""
    words = [said.lead(MORE_LETTERS)] if said else []
    after = tag.find_next_sibling()
    end = []
    if after and after.name == "p" and _goes_on(after):
        end = [Words.of(after).divided()[0]]
    formula = str(tag)
    if formula.count(GAP) > 1:  # three in a row are three lines
        formula = formula.replace(GAP, '</math><math display="block">')
    body = "".join([*map(_paragraph, words), formula, *map(_paragraph, end)])
    return Slide(heading, body, "math", FORMULA + sum(map(_height, words + end)))


def _code(code: str, said: Words | None, heading: str) -> Iterator[Slide]:
    """What a cell defines from scratch, on as many slides as it needs."""
    code = from_scratch(code, heading)
    if not code:
        return
    height = _height(said.lead()) if said else 0
    parts = divide(code, CODE_LINES, CODE_LINES - math.ceil(height / CODE))
    for number, part in enumerate(parts, start=1):
        which = f" ({number} of {len(parts)})" if len(parts) > 1 else ""
        lines = CODE * (1 + part.count("\n")) + height * (number == 1)
        words = _lead(said) if number == 1 else ""
        body = f'{words}<pre class="code">{html.escape(part)}</pre>'
        yield Slide(heading + which, body, "code", lines)


def _printed(output: Tag | None) -> str:
    """What a cell has printed beside a figure or a table, if it is short."""
    printed = [part.get_text().strip("\n") for part in output("pre")] if output else []
    text = "\n".join(printed)
    short = text and 1 + text.count("\n") <= PRINTED
    return f"<pre>{html.escape(text)}</pre>" if short else ""


def _undivided(table: Tag) -> str:
    """A table whose short cells stay in one line."""
    for cell in table(["td", "th"]):
        if UNDIVIDED.fullmatch(cell.get_text().strip()):
            cell["class"] = [*cell.get("class", ()), "short"]
    return str(table)


def _lead(said: Words | None, letters: int = LETTERS) -> str:
    return _paragraph(said.lead(letters)) if said else ""


def _paragraph(words: Words) -> str:
    return f"<p>{words.html()}</p>"


def _height(words: Words) -> float:
    """How many lines a paragraph takes, with the distance below it."""
    return math.ceil(words.length() / WIDTH) + 0.5


def _title(tag: Tag) -> str:
    return tag.get_text().removesuffix("#").strip()
