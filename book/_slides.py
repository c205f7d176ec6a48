"""Lecture slides from the built chapters, ``_build/slides`` (``make slides``, after ``make book``).

A slide is made of what a lecture needs a screen for: the promise of the chapter, every formula, figure, table and explorer with
the sentences that lead to it, the code that is written from scratch, the summary, the exercises. The words in between are the
lecturer's. Each chapter becomes one HTML file with everything inside it (arrow keys turn the pages, explorers work), and, where a
browser is found, a PDF.
"""

from __future__ import annotations

import base64
import html
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bs4 import BeautifulSoup, Tag
from tests.browser import browser

from ris_lib import _urls

ROOT = Path(__file__).parents[1]
#: Sections without slides, and the one whose headings become a list.
LEFT_OUT, EXERCISES, SUMMARY = {"References"}, "Exercises", "Summary"
#: A slide holds so many letters of leading text, lines of code, rows of a table, and formulas.
LETTERS, LINES, ROWS, FORMULAS = 260, 24, 14, 3
#: The first of the letters that Unicode leaves to everybody.
_PRIVATE = 0xE000

STYLE = """
@page { size: 1280px 720px; margin: 0; }
* { box-sizing: border-box; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
html { scroll-snap-type: y mandatory; }
body { margin: 0; background: #fff; color: #1a1a1a; font: 25px/1.4 system-ui, sans-serif; }
section { width: 1280px; height: 720px; padding: 48px 64px 40px; margin: 0 auto; overflow: hidden; position: relative;
  scroll-snap-align: start; break-after: page; border-bottom: 1px solid #ddd; }
h2 { font-size: 34px; line-height: 1.2; margin: 0 0 18px; color: #00538a; }
.body { transform-origin: top left; width: 1152px; }
.body > p { margin: 0 0 16px; }
section.first h2 { font-size: 58px; margin-top: 150px; }
img { display: block; max-width: 1100px; min-height: 400px; max-height: 480px; margin: 0 auto; object-fit: contain; }
math { font-size: 1.25em; }
div.math { text-align: center; margin: 24px 0; }
pre { font: 18px/1.35 ui-monospace, monospace; margin: 0; white-space: pre-wrap; }
table { border-collapse: collapse; margin: 0 auto; font-size: 20px; }
th, td { padding: 3px 12px; text-align: left; border-bottom: 1px solid #ccc; }
td p, th p { margin: 0; }
li { margin: 6px 0; }
code { font-size: 0.9em; }
a { color: inherit; text-decoration: none; }
footer { position: absolute; bottom: 12px; right: 64px; font-size: 15px; color: #555; }
.headerlink, .copybtn { display: none; }
figure.ris-explorer { font-size: 17px; }
@media print { section { border: 0; } }
"""

#: Content that is too tall or too wide is made smaller; the keys turn the pages.
SCRIPT = """
for (const body of document.querySelectorAll(".body")) {
  const room = 660 - body.offsetTop;
  const scale = Math.min(1, room / body.scrollHeight, body.clientWidth / body.scrollWidth);
  if (scale < 1) body.style.transform = `scale(${scale})`;
}
const slides = [...document.querySelectorAll("section")];
addEventListener("keydown", (event) => {
  const step = {ArrowRight: 1, PageDown: 1, ArrowLeft: -1, PageUp: -1}[event.key];
  if (!step || event.target.closest(".ris-explorer")) return;
  const now = slides.findIndex((slide) => slide.getBoundingClientRect().bottom > 10);
  slides[Math.max(0, Math.min(slides.length - 1, now + step))].scrollIntoView();
  event.preventDefault();
});
"""


class Slide(NamedTuple):
    """A heading, and what stands below it, as HTML; and how many formulas that is, if it is nothing else."""

    heading: str
    body: str
    formulas: int = 0


def lead(paragraph: str, letters: int = LETTERS) -> str:
    """The last whole sentences of a paragraph that fit; the last one always.

    Example:
        >>> lead("Words first. Then a figure. Look for the dots.", letters=35)
        'Then a figure. Look for the dots.'
    """
    sentences = re.split(
        r"(?<=[.?!:])\s+(?=[A-Z“*(])", re.sub(r"\s+", " ", paragraph).strip()
    )
    kept = sentences.pop()
    while sentences and len(sentences[-1]) + 1 + len(kept) <= letters:
        kept = f"{sentences.pop()} {kept}"
    return kept


def slides(article: Tag) -> Iterator[Slide]:
    """The slides of a chapter.

    Args:
        article: The article of a built page.
    """
    title = _title(article.h1)
    yield Slide(title, f"<p>{_words(article.h1.find_next('p'))}</p>")
    top = article.find("section")
    for section in top.find_all("section", recursive=False):
        heading = _title(section.find("h2"))
        if heading in LEFT_OUT:
            continue
        if heading == EXERCISES:
            names = [f"<li>{html.escape(_title(name))}</li>" for name in section("h3")]
            yield Slide(heading, f"<ul>{''.join(names)}</ul>")
        elif heading == SUMMARY:
            yield Slide(heading, str(section.find("ul")))
        else:
            yield from _together(_section(section, heading))


def _together(made: Iterator[Slide]) -> Iterator[Slide]:
    """Formulas that follow one another below one heading share a slide."""
    last: Slide | None = None
    for slide in made:
        if (
            last
            and last.heading == slide.heading
            and last.formulas
            and slide.formulas
            and last.formulas < FORMULAS
        ):
            last = Slide(last.heading, last.body + slide.body, last.formulas + 1)
            continue
        if last:
            yield last
        last = slide
    if last:
        yield last


def _section(section: Tag, heading: str) -> Iterator[Slide]:
    """What a section shows, in its order, each with the words that lead to it."""
    said, below = None, heading
    scratch = "scratch" in heading.lower()
    for tag in section.find_all(True):
        if tag.find_parent(["figure", "details"]) or tag.find_parent(
            class_="admonition"
        ):
            continue
        classes = set(tag.get("class", ()))
        if tag.name == "h3":
            below, said = f"{heading}: {_title(tag)}", None
        elif tag.name == "p" and not tag.find_parent(class_="cell"):
            said = tag
        elif shown := _shown(tag, classes, scratch):
            leading = f"<p>{_words(said, LETTERS)}</p>" if said else ""
            yield Slide(below, leading + shown, int("math" in classes))
            said = None


def _shown(tag: Tag, classes: set[str], scratch: bool) -> str | None:
    """A part that deserves a slide, as HTML."""
    output = tag.find_parent(class_="cell_output")
    if tag.name == "div" and "math" in classes:
        return str(tag)
    if tag.name == "figure" and "ris-explorer" in classes:
        around = output or tag
        return (
            "".join(map(str, around("style")))
            + str(tag)
            + "".join(map(str, around("script")))
        )
    if tag.name == "img" and output:
        return f'<img alt="{html.escape(tag.get("alt", ""), quote=True)}" src="{tag["src"]}">'
    if tag.name == "table" and len(tag("tr")) <= ROWS:
        return str(tag)
    if scratch and tag.name == "pre" and tag.find_parent(class_="cell_input"):
        code = tag.get_text().strip("\n")
        if code.count("\n") < LINES and "def " in code:
            return f"<pre>{html.escape(code)}</pre>"
    return None


def _title(tag: Tag) -> str:
    return tag.get_text().removesuffix("#").strip()


def _words(paragraph: Tag, letters: int | None = None) -> str:
    """A paragraph, or the last sentences of it, as HTML; formulas, code and stress stay as they are."""
    kept: list[str] = []
    text = ""
    for part in paragraph.children:
        if isinstance(part, Tag) and part.name in (
            "math",
            "code",
            "em",
            "strong",
            "span",
        ):
            text += chr(
                _PRIVATE + len(kept)
            )  # one letter stands for it until the sentences are chosen
            kept.append(str(part))
        else:
            text += part.get_text()
    text = re.sub(r"\s+", " ", text).strip()
    shown = html.escape(text if letters is None else lead(text, letters))
    for number, part in enumerate(kept):
        shown = shown.replace(chr(_PRIVATE + number), part)
    return shown


def deck(page: Path) -> str:
    """The slides of a built chapter as one HTML file."""
    article = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").article
    for picture in article.find_all("img", src=True):
        picture["src"] = _inside(page, picture["src"])
    made = list(slides(article))
    sections = [
        f"<section{' class=first' if number == 1 else ''}><h2>{html.escape(slide.heading)}</h2>"
        f'<div class="body">{slide.body}</div><footer>{number} / {len(made)} · {_urls.BOOK} · CC BY 4.0</footer></section>'
        for number, slide in enumerate(made, start=1)
    ]
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(made[0].heading)}</title>'
        f"<style>{STYLE}</style></head><body>{''.join(sections)}<script>{SCRIPT}</script></body></html>"
    )


def _inside(page: Path, source: str) -> str:
    """A picture as part of the page that shows it."""
    if source.startswith("data:"):
        return source
    file = (page.parent / source).resolve()
    kind = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".svg": "svg+xml"}[
        file.suffix
    ]
    return f"data:image/{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"


def main() -> None:
    """Make the slides of all chapters."""
    pages = sorted((ROOT / "_build" / "html" / "chapters").glob("*.html"))
    if not pages:
        sys.exit("there is no built chapter; build the book first, with make book")
    out = ROOT / "_build" / "slides"
    out.mkdir(parents=True, exist_ok=True)
    with browser() as chromium:
        for page in pages:
            file = out / page.name
            file.write_text(deck(page), encoding="utf-8")
            if chromium is not None:
                sheet = chromium.new_page()
                sheet.goto(file.as_uri())
                sheet.pdf(
                    path=file.with_suffix(".pdf"),
                    prefer_css_page_size=True,
                    print_background=True,
                )
                sheet.close()
    print(
        f"slides of {len(pages)} chapters, {out}"
        + ("" if chromium else "; no browser, so no PDF")
    )


if __name__ == "__main__":
    main()
