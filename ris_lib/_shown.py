"""What came from a stranger, in a message: short, printable, and without characters that drive a terminal."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable

_WRITER = reprlib.Repr()
_WRITER.maxstring = _WRITER.maxother = 160
_WRITER.maxlevel = 3


def short(value: object) -> str:
    """A value of any kind, as Python writes it, cut in the middle; numbers of thousands of digits by their size.

    Example:
        >>> short(list(range(100))), short([1, "\\x1b[2J"]), short(10**5000)
        ('[0, 1, 2, 3, 4, 5, ...]', "[1, '\\\\x1b[2J']", 'a value too large to be shown')
    """
    try:
        written = _WRITER.repr(value)
    except (ValueError, RecursionError):  # Python writes no number of more than 4300 digits
        return "a value too large to be shown"
    return written if len(written) <= 400 else f"{written[:200]}...{written[-200:]}"


def plain(text: object, most: int = 200) -> str:
    """A text, such as another library's message: cut in the middle, control characters as escapes.

    Args:
        text: Anything that ``str`` takes.
        most: Characters before they are escaped.

    Example:
        >>> plain("it ends\\x1b[2J here"), plain("a" * 20, most=6)
        ('it ends\\\\x1b[2J here', 'aaa...aaa')
    """
    words = str(text)
    if len(words) > most:
        words = f"{words[: most // 2]}...{words[-(most // 2) :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in words)


def listing(texts: Iterable[str], most: int = 8) -> str:
    """Some texts with commas between them, cut after ``most``.

    Example:
        >>> listing(["mug", "jug"]), listing(["mug", "jug"], most=1)
        ('mug, jug', 'mug, and 1 more')
    """
    texts = list(texts)
    rest = f", and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(plain(text, 120) for text in texts[:most]) + rest
