"""A wrong name is answered with the names that exist, the nearest first."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ris_lib._shown import plain


def unknown(kind: str, name: object, known: Iterable[str], of: str = "") -> ValueError:
    """Make the error for a name that does not exist.

    Args:
        kind: What is named, e.g. ``"model"``.
        name: What came.
        known: The names that exist.
        of: What the name belongs to, e.g. ``"refcoco (unc)"``.

    Returns:
        The error, to be raised by the caller.

    Example:
        >>> unknown("split", "tset", ["train", "val", "test"])
        ValueError("unknown split 'tset'; did you mean 'test'? Known: test, train, val.")
        >>> unknown("split", "vall", ["train", "val"], of="scenes")
        ValueError("unknown split 'vall' of scenes; did you mean 'val'? Known: train, val.")
    """
    names, wrong = sorted(known), plain(name, 100)
    near = difflib.get_close_matches(wrong, names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
    belongs = f" of {of}" if of else ""
    return ValueError(f"unknown {kind} {wrong!r}{belongs}{hint} Known: {', '.join(names) or 'none'}.")
