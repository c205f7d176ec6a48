"""Checks of built pages. Each function returns complaints, one sentence each; an empty list is a good page."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

MAX_BYTES = 1_000_000
MAX_BOOK_BYTES = 15_000_000
MAX_EXPLORER_BYTES = 150_000
MAX_IMAGE_WIDTH = 720


@lru_cache(maxsize=256)
def soup(page: Path) -> BeautifulSoup:
    """The parsed page."""
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


@lru_cache(maxsize=256)
def anchors(page: Path) -> frozenset[str]:
    """Everything on a page that a link can point at."""
    return frozenset(
        tag[key] for key in ("id", "name") for tag in soup(page).find_all(attrs={key: True}) if tag.name != "meta"
    )


def broken_links(page: Path, site: Path) -> list[str]:
    """Links and files of the site itself that are not there, and anchors that do not exist."""
    found = []
    for tag in soup(page).find_all(["a", "img", "link", "script", "source", "iframe"]):
        address = tag.get("href") or tag.get("src")
        if not address:
            continue
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        target = page if not parts.path else (page.parent / unquote(parts.path)).resolve()
        if not target.is_relative_to(site.resolve()):
            found.append(f"{address} leads out of the site")
        elif not target.is_file():
            found.append(f"{address} does not exist")
        elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in anchors(target):
            found.append(f"{address}: the page has no such anchor")
    return sorted(set(found))


def images_without_words(page: Path) -> list[str]:
    """Pictures whose alt text is missing, empty or the name of a file."""
    found = []
    for image in soup(page).find_all("img"):
        alt, source = (image.get("alt") or "").strip(), image.get("src", "")
        if not alt:
            found.append(f"{source[:60]} has no alt text")
        elif re.search(r"\.(png|svg|jpe?g|gif|webp)$", alt) or Path(alt).stem == Path(urlsplit(source).path).stem:
            found.append(f"the alt text of {source[:60]} is a file name: {alt}")
    return found


def failures(page: Path) -> list[str]:
    """Tracebacks and messages on stderr that stand among the outputs of a page."""
    found = []
    for kind, words in (("traceback", "a traceback"), ("stderr", "output on stderr")):
        for output in soup(page).select(f".cell_output .{kind}, .output.{kind}"):
            found.append(f"{words}: {' '.join(output.get_text().split())[:120]}")
    return found


def foreign_scripts(page: Path) -> list[str]:
    """Scripts, styles and frames from another host: a page must work without the network."""
    found = []
    for tag in soup(page).find_all(["script", "link", "iframe"]):
        address = tag.get("src") or (tag.get("href") if "stylesheet" in (tag.get("rel") or []) else None)
        if urlsplit(address or "").netloc:
            found.append(f"{address} is loaded from outside")
    inline = [tag.get_text().strip() for tag in soup(page).find_all("script", src=False)]
    constants = [text for text in inline if text.startswith(("const ", "let "))]  # a browser refuses the second
    found += [f"a script stands twice: {text[:60]}" for text in set(constants) if constants.count(text) > 1]
    return found


def raw_markup(page: Path) -> list[str]:
    """Roles and directives that were not understood and stand on the page as text."""
    article = soup(page).find("article") or soup(page)
    text = " ".join(
        piece for piece in article.find_all(string=True) if not piece.find_parent(["pre", "code", "script", "style"])
    )
    return [f"raw markup on the page: {match}" for match in re.findall(r"\{[a-z:-]+\}`[^`]*`|:::\s*\{[a-z-]+\}", text)]


def structure(page: Path) -> list[str]:
    """A page has a language, a title and one heading of the first level."""
    found = []
    if not (soup(page).html and soup(page).html.get("lang")):
        found.append("the page names no language")
    if not (soup(page).title and soup(page).title.get_text().strip()):
        found.append("the page has no title")
    if (count := len((soup(page).find("article") or soup(page)).find_all("h1"))) != 1:
        found.append(f"the page has {count} headings of the first level; expected 1")
    return found


def weight(page: Path) -> list[str]:
    """A page with its own pictures is below one megabyte, and no picture is wider than 720 pixels."""
    from PIL import Image

    files = {page}
    wide = []
    for image in (soup(page).find("article") or soup(page)).find_all("img"):
        if image.get("src", "").startswith("data:"):
            continue  # it lies in the page itself
        path = (page.parent / unquote(urlsplit(image.get("src", "")).path)).resolve()
        if path.is_file():
            files.add(path)
        if path.is_file() and path.suffix == ".png":
            with Image.open(path) as opened:
                if opened.width > MAX_IMAGE_WIDTH:
                    wide.append(f"{path.name} is {opened.width} pixels wide; at most {MAX_IMAGE_WIDTH}")
    size = sum(path.stat().st_size for path in files)
    return wide + ([f"{size} bytes with its pictures; at most {MAX_BYTES}"] if size > MAX_BYTES else [])


def book_bytes(site: Path) -> int:
    """What a site weighs without its theme: the articles of its pages, and every file outside of ``_static``."""
    total = 0
    for path in site.rglob("*"):
        if path.is_file() and "_static" not in path.relative_to(site).parts:
            article = soup(path).find("article") if path.suffix == ".html" else None
            total += path.stat().st_size if article is None else len(str(article).encode())
    return total


def unnamed(page: Path) -> list[str]:
    """Arrows that open something without saying what, and sources that are no items of their list."""
    found = []
    for toggle in soup(page).find_all("summary"):
        if not (toggle.get("aria-label") or toggle.get_text(strip=True)):
            found.append("a summary has neither text nor aria-label")
    for source in soup(page).select("[role=list] > .citation:not([role=listitem])"):
        found.append(f"{source.get('id')} lies in a list and is no item of it")
    return found


def explorer_weight(page: Path) -> list[str]:
    """An explorer, with its style, picture, maps and script, is below 150 kilobytes."""
    found = []
    for view in soup(page).select("figure.ris-explorer"):
        size = sum(len(str(part).encode()) for part in (view.find_previous("style"), view, view.find_next("script")))
        if size > MAX_EXPLORER_BYTES:
            found.append(f"{view['id']} has {size} bytes; at most {MAX_EXPLORER_BYTES}")
    return found
