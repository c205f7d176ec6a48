"""Print the built book into one file, ``_build/ris-book.pdf`` (``make pdf``, after ``make book``).

The articles of all pages are put below one another, in the order of the contents, so that links between pages become
links within one. Chromium prints the result twice: the first print says on which page everything begins, the second has
these numbers in its contents. CSS has words for that (``target-counter``) which browsers do not know yet.
"""

from __future__ import annotations

import html
import posixpath
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import yaml
from bs4 import BeautifulSoup, Tag
from playwright.sync_api import Browser
from tests.browser import browser

import ris_lib
from ris_lib import _urls

ROOT = Path(__file__).parents[1]

STYLE = """
@page { @bottom-center { content: counter(page); font: 9pt sans-serif; color: #444; } }
@page :first { @bottom-center { content: none; } }
.bd-main, .bd-content { display: block !important; }
.ris-contents, .bd-article { break-before: page; }
.ris-title { text-align: center; padding-top: 25mm; }
.ris-title h1 { font-size: 30pt; margin-bottom: 4mm; }
.ris-title img { width: 150mm; margin: 18mm 0; }
.ris-contents { padding: 0 2rem; }
.ris-contents h2 { font-size: 12pt; margin: 2mm 0 0.5mm; break-after: avoid; }
.ris-contents a { display: flex; align-items: baseline; color: inherit; text-decoration: none; line-height: 1.2; }
.ris-contents i { flex: 1; border-bottom: 1px dotted #777; margin: 0 2mm; }
"""

#: Writes the numbers of pages into the contents.
NUMBER = """(begins) => document.querySelectorAll(".ris-contents a").forEach(
    (line) => { line.querySelector("span").textContent = begins[line.hash.slice(1)]; })"""


class Entry(NamedTuple):
    """A line of the contents: a page, or the title of a part where ``name`` is None."""

    name: str | None
    title: str | None
    depth: int = 0


def contents(toc: dict) -> Iterator[Entry]:
    """Everything that ``_toc.yml`` names, in its order; titles only where it gives one."""
    yield Entry(toc["root"], None)
    for part in toc.get("parts", []):
        yield Entry(None, part["caption"])
        yield from _pages(part["chapters"], 0)


def _pages(nodes: Sequence[dict], depth: int) -> Iterator[Entry]:
    for node in nodes:
        yield Entry(node["file"], node.get("title"), depth)
        yield from _pages(node.get("sections", []), depth + 1)


def article(site: Path, name: str, names: Sequence[str]) -> Tag:
    """The article of a page, ready to stand among others.

    Args:
        site: The built pages.
        name: The page, without ``.html``.
        names: All pages of the book; links to other files lead to the published book.
    """
    path = site / f"{name}.html"
    if not path.is_file():
        raise SystemExit(
            f"{path} is not there. The contents name it: build the book first, with make book."
        )
    found = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser").article
    for tag in found.find_all(id=True):
        if not tag["id"].startswith("ris-"):  # an explorer's script asks for this one
            tag["id"] = f"{name}:{tag['id']}"
    for tag in found.find_all("details"):
        tag["open"] = ""
    for tag in found.find_all("a", href=True):
        tag["href"] = address(tag["href"], name, names)
    for tag in found.find_all("img", src=True):
        if not urlsplit(tag["src"]).scheme:
            tag["src"] = f"html/{_within(tag['src'], name)}"
    found["id"] = name
    return found


def address(link: str, name: str, names: Sequence[str]) -> str:
    """Where a link of a page leads once all pages are one."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return link
    target = _within(parts.path, name) if parts.path else f"{name}.html"
    page = target.removesuffix(".html")
    if page in names:
        return f"#{page}:{parts.fragment}" if parts.fragment else f"#{page}"
    return f"{_urls.BOOK}/{target}" + (f"#{parts.fragment}" if parts.fragment else "")


def _within(path: str, name: str) -> str:
    """A path that a page names, from the root of the site."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), path))


def one_page(site: Path, entries: Sequence[Entry]) -> str:
    """The whole book as one page, which belongs beside the folder ``html``."""
    names = [entry.name for entry in entries if entry.name]
    articles = {name: article(site, name, names) for name in names}
    first = BeautifulSoup(
        (site / f"{names[0]}.html").read_text(encoding="utf-8"), "html.parser"
    )
    lines = []
    for name, title, depth in entries:
        if name is None:
            lines.append(f"<h2>{html.escape(title)}</h2>")
            continue
        heading = articles[name].h1
        title = title or heading.get_text().removesuffix("#")
        lines.append(
            f'<a href="#{name}" style="padding-left: {5 * depth}mm">{html.escape(title)}<i></i><span></span></a>'
        )
    styles = [
        f'<link rel="stylesheet" href="html/{link["href"]}">'
        for link in first.find_all("link", rel="stylesheet")
    ]
    book = html.escape(articles[names[0]].h1.get_text().removesuffix("#"))
    return (
        f'<!DOCTYPE html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>{book}</title>'
        f'{"".join(styles)}<style>{STYLE}</style></head><body><main class="bd-main"><div class="bd-content">'
        f'<div class="bd-article-container"><section class="ris-title"><h1>{book}</h1>'
        "<p>A book that runs, and the library that it builds</p>"
        '<img src="html/_static/teaser.png" alt="Two drawn scenes, three sentences each">'
        f'<p>Version {ris_lib.__version__}<br><a href="{_urls.BOOK}">{_urls.BOOK}</a></p></section>'
        f'<nav class="ris-contents"><h1>Contents</h1>{"".join(lines)}</nav>'
        f"{''.join(map(str, articles.values()))}</div></div></main></body></html>"
    )


def beginnings(pdf: bytes, names: Sequence[str]) -> dict[str, int]:
    """On which page each target lies, the first page being 1.

    Chromium writes the tree of pages and the table of targets uncompressed, so no library is needed to read them.
    """
    tree = {
        int(node): [int(kid) for kid in re.findall(rb"(\d+) 0 R", kids)]
        for node, kids in re.findall(
            rb"(\d+) 0 obj\s*<</Type /Pages\b[^\[]*/Kids \[([^\]]*)\]", pdf
        )
    }
    root = (set(tree) - {kid for kids in tree.values() for kid in kids}).pop()

    def leaves(node: int) -> Iterator[int]:
        for kid in tree.get(node, ()):
            yield from leaves(kid) if kid in tree else (kid,)

    number = {page: place for place, page in enumerate(leaves(root), start=1)}
    targets = {
        _plain(name): number[int(page)]
        for name, page in re.findall(rb"/(\S+) \[(\d+) 0 R /XYZ", pdf)
    }
    return {name: targets[name] for name in names if name in targets}


def _plain(name: bytes) -> str:
    """A name of a PDF without its escapes, which are # and two hexadecimal digits."""
    return re.sub(
        rb"#([0-9A-F]{2})", lambda code: bytes.fromhex(code[1].decode()), name
    ).decode()


def print_book(chromium: Browser, toc: Path, site: Path, out: Path) -> dict[str, int]:
    """Print the pages of a site.

    Args:
        chromium: The browser that prints.
        toc: The contents, ``_toc.yml``.
        site: The built pages; the folder is called ``html``.
        out: The file to write, beside that folder.

    Returns:
        The page of the file on which each page of the book begins.
    """
    entries = list(contents(yaml.safe_load(toc.read_text(encoding="utf-8"))))
    source = out.with_suffix(".html")
    source.write_text(one_page(site, entries), encoding="utf-8")
    page = chromium.new_page()
    page.set_default_timeout(600_000)  # ms: the whole book is one large page
    page.goto(source.as_uri())
    options = {
        "prefer_css_page_size": True,
        "print_background": True,
        "outline": True,
        "tagged": True,
    }
    names = [entry.name for entry in entries if entry.name]
    begins = beginnings(page.pdf(**options), names)
    page.evaluate(NUMBER, begins)
    page.pdf(path=out, **options)
    page.close()
    source.unlink()
    return begins


def main() -> None:
    """Print the book of this repository."""
    out = ROOT / "_build" / "ris-book.pdf"
    with browser() as chromium:
        if chromium is None:
            sys.exit(
                "The book was not printed, for no browser was found. Install one (apt-get install chromium, or: "
                "playwright install chromium)."
            )
        print_book(chromium, ROOT / "book" / "_toc.yml", ROOT / "_build" / "html", out)
    print(f"the book is printed, open {out}")


if __name__ == "__main__":
    main()
