"""Lecture slides from the built chapters, ``_build/slides`` (``make slides``, after ``make book``).

A slide is made of what a lecture needs a screen for: the promise of the chapter, every formula, figure, table and explorer with
the sentences that lead to it, the code that is written from scratch, the summary, the exercises. The words in between are the
lecturer's. Each chapter becomes one HTML file with everything inside it (arrow keys turn the pages, explorers work), and, where a
browser is found, a PDF.
"""

from __future__ import annotations

import base64
import html
import sys
from pathlib import Path

from book._slides_parts import slides
from bs4 import BeautifulSoup
from tests.browser import browser

from ris_lib import _urls

ROOT = Path(__file__).parents[1]
STYLE = """
@page { size: 1280px 720px; margin: 0; }
* { box-sizing: border-box; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
html { scroll-snap-type: y mandatory; }
body { margin: 0; background: #fff; color: #1a1a1a; font: 25px/1.4 system-ui, sans-serif; }
section { width: 1280px; height: 720px; padding: 44px 64px 40px; margin: 0 auto; overflow: hidden; position: relative;
  display: flex; flex-direction: column; scroll-snap-align: start; break-after: page; border-bottom: 1px solid #ddd; }
h2 { flex: none; font-size: 31px; line-height: 1.2; margin: 0 0 16px; color: #00538a; }
section:not(.first) h2 { white-space: nowrap; }
section.first h2 { font-size: 58px; margin-top: 150px; }
.body { flex: 1; min-height: 0; display: flex; flex-direction: column; }
.body > * { flex: none; margin: 0 0 0.64em; }
.body > img { flex: 1; min-height: 0; width: 100%; margin: 0; object-fit: contain; }
.body.tall { display: grid; grid-template: repeat(6, auto) 1fr / 30% 1fr; column-gap: 48px; }
.body.tall > img { grid-area: 1 / 2 / -1; height: 100%; }
math { font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", "DejaVu Math TeX Gyre", math; }
div.math { text-align: center; font-size: 1.25em; }
math + math { margin-top: 0.9em; }
pre { font: 0.68em/1.28 ui-monospace, "DejaVu Sans Mono", monospace; white-space: pre-wrap; }
table { border-collapse: collapse; align-self: center; font-size: 0.88em; }
th, td { padding: 0.15em 0.6em; text-align: left; border-bottom: 1px solid #ccc; }
td p, th p { margin: 0; }
.short { white-space: nowrap; }
li { margin: 0 0 0.4em; }
li p { margin: 0; }
code { font-size: 0.9em; }
a { color: inherit; text-decoration: none; }
footer { position: absolute; bottom: 12px; right: 64px; font-size: 15px; color: #555; }
.headerlink, .copybtn { display: none; }
.body > figure.ris-explorer { max-width: none; font-size: 0.7em; align-content: start;
  display: grid; grid-template: repeat(6, auto) 1fr / 420px 1fr; column-gap: 24px; }
.body .ris-explorer .ris-main { display: contents; }
.body .ris-explorer .ris-stage { grid-area: 1 / 1 / -1; width: auto; margin: 0; }
.body .ris-explorer > :not(.ris-main), .body .ris-explorer .ris-side { grid-column: 2; }
@media print { section { border: 0; } }
"""

#: A portrait stands beside its words; letters of what is too high or too wide are made smaller; the keys turn the pages.
SCRIPT = """
const smaller = (part, tooLarge) => {
  const letters = (tag) => parseFloat(getComputedStyle(tag).fontSize);
  const around = letters(part.parentElement);
  for (let size = letters(part); size > 9 && tooLarge(part); size -= 0.5) part.style.fontSize = `${size / around}em`;
};
addEventListener("load", () => {
  for (const picture of document.querySelectorAll(".body > img"))
    if (picture.naturalHeight > 0.85 * picture.naturalWidth) picture.parentElement.classList.add("tall");
  for (const part of document.querySelectorAll("h2, .body > :is(.math, table)"))
    smaller(part, () => part.scrollWidth > part.clientWidth || part.offsetWidth > part.parentElement.clientWidth);
  for (const body of document.querySelectorAll(".body"))
    smaller(body, () => body.scrollHeight > body.clientHeight || body.scrollWidth > body.clientWidth);
});
const slides = [...document.querySelectorAll("section")];
addEventListener("keydown", (event) => {
  const step = {ArrowRight: 1, PageDown: 1, ArrowLeft: -1, PageUp: -1}[event.key];
  if (!step || event.target.closest(".ris-explorer")) return;
  const now = slides.findIndex((slide) => slide.getBoundingClientRect().bottom > 10);
  slides[Math.max(0, Math.min(slides.length - 1, now + step))].scrollIntoView();
  event.preventDefault();
});
"""

#: Paper shows one state of an explorer; its second item is one that has a map.
CHOOSE = """for (const items of document.querySelectorAll(".ris-items")) items.children[1]?.click();"""


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
                sheet.emulate_media(media="print")  # letters are made to fit the paper
                sheet.goto(file.as_uri())
                sheet.evaluate(CHOOSE)
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
