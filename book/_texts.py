"""The words of the book for translators, ``_build/texts`` (``make texts``): one catalogue a page, nothing is executed.

A catalogue (``.pot``) holds every paragraph, heading, caption and folded solution once, with the places where it stands. A
translation is a filled-in copy of it, ``book/locale/de/LC_MESSAGES/glossary.po``; with ``language: de`` in ``_config.yml``,
``make book`` puts it in place of the English, and paragraphs without a translation stay as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jupyter_book.sphinx import build_sphinx

ROOT = Path(__file__).parents[1]
OUT = ROOT / "_build" / "texts"


def build(source: Path, out: Path, builder: str, **changes: Any) -> None:
    """Build pages without executing them.

    Args:
        source: Folder with a ``_toc.yml`` and its pages.
        out: Where the result goes.
        builder: A builder of Sphinx, ``"gettext"`` for catalogues.
        changes: Entries of Sphinx's configuration that differ from ``_config.yml``.

    Raises:
        RuntimeError: The build failed; Sphinx has said why.
    """
    changes = {"nb_execution_mode": "off", "latex_individualpages": False, **changes}
    failed = build_sphinx(
        source,
        out,
        path_config=ROOT / "_config.yml",
        noconfig=True,
        confoverrides=changes,
        doctreedir=out / ".doctrees",
        builder=builder,
        quiet=True,
    )
    if failed:
        raise RuntimeError(f"the build of {source} with {builder!r} failed: {failed}")


if __name__ == "__main__":
    build(ROOT / "book", OUT, "gettext")
    pages = sorted(OUT.rglob("*.pot"))
    print(f"{len(pages)} catalogues in {OUT.relative_to(ROOT)}")
