"""A wrong name is answered with the names that exist, the nearest first."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """Make the error for a name that does not exist.

    Args:
        kind: What is named, e.g. ``"model"``.
        name: What came.
        known: The names that exist.

    Returns:
        The error, to be raised by the caller.

    Example:
        >>> unknown("split", "tset", ["train", "val", "test"])
        ValueError("unknown split 'tset'; did you mean 'test'? Known: test, train, val.")
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
    return ValueError(f"unknown {kind} {str(name)!r}; {hint}Known: {', '.join(names) or 'none'}.")
