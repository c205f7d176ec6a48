"""The colours of every picture, each with one meaning.

Source: blue, orange and green from Okabe and Ito's colour-blind safe set; the red is ours, because their vermilion is
taken for orange when it stands alone. ``tests/show/test_palette.py`` measures that the four stay apart for the three
common kinds of colour blindness.
"""

from __future__ import annotations

from ris_lib._names import unknown

#: Meaning -> colour, as matplotlib, HTML and CSS write it.
PALETTE = {
    "target": "#0072B2",  # blue: what was asked for
    "prediction": "#E69F00",  # orange: what a model answered
    "error": "#C1121F",  # red: pixels on which the two differ
    "words": "#009E73",  # green: the sentence and its words
}


def rgb(meaning: str) -> tuple[int, int, int]:
    """The colour of a meaning as three numbers from 0 to 255.

    Args:
        meaning: A key of ``PALETTE``.

    Raises:
        ValueError: There is no such meaning.

    Example:
        >>> rgb("target")
        (0, 114, 178)
    """
    if meaning not in PALETTE:
        raise unknown("colour", meaning, PALETTE)
    code = PALETTE[meaning].removeprefix("#")
    return int(code[0:2], 16), int(code[2:4], 16), int(code[4:6], 16)
