"""A mirror image whose sentences still mean the same object.

Mirroring a photograph turns "the left cup" into a lie, so the words for left and right are swapped with it. Language
does not allow this for every sentence ("the batter who has left", "cup at 3 o'clock"): such a sentence raises
``CannotFlip``, and the caller keeps the picture as it is. The rule is conservative and fixed: a word is swapped only if
it is in ``SWAPS``, and a sentence is refused if a pattern of ``REFUSALS`` occurs in it, even where a person would know
better.

Source: our decision; the lists were made by reading the sentences of RefCOCO, RefCOCO+ and RefCOCOg.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from pycocotools import mask as coco_mask

from ris_lib.data.sample import RLE, Sample

_PAIRS = (
    ("left", "right"),
    ("lefts", "rights"),
    ("leftmost", "rightmost"),
    ("lefthand", "righthand"),
    ("leftside", "rightside"),
    ("leftest", "rightest"),
    ("leftish", "rightish"),
    ("lefty", "righty"),
    ("leftward", "rightward"),
    ("leftwards", "rightwards"),
)
#: Words that are swapped, in both directions. "left-hand" and "bottom-left" are two words each.
SWAPS = dict(_PAIRS) | {right: left for left, right in _PAIRS}

# "on the right behind the man" is a place, "right behind the man" means directly behind.
_PLACE = r"the|on|at|in|to|from|far|of|upper|lower|top|bottom|front|back|middle|center|centre|your|our|my|his|her|its"
_AFTER_RIGHT = (
    "above|across|after|against|around|at|away|before|behind|below|beneath|beside|between|by|close|here|in|inside|near|"
    "next|now|on|outside|over|there|to|under|underneath|up|where"
)
#: Why a sentence is refused, and the pattern (on lower-case text) that shows it. Checked in this order.
REFUSALS = (
    ("a clock position", r"\bo\W*clock\b|\d\s*o\W*clock|clockwise\b"),
    ("a number, which may be written in the picture", r"(?!\d+(st|nd|rd|th)\b)\b\w*\d\w*"),  # codespell:ignore nd
    (
        "writing, which the mirror makes unreadable",
        r"\b(numbers?|numbered|letters?|lettering|says?|saying|reads|spells|text|words?|writing|written|logos?)\b",
    ),
    ("a compass direction", r"\b(north|south)?\W?(east|west)(ern|ernmost|most|wards?)?\b"),
    ("a side of a vehicle or ship", r"\b(drivers?\W?s?|passengers?\W?s?) side\b|\b(port|starboard)\b"),
    ("'left' that may be a verb", r"\bleft\W?overs?\b|\bleft (alone|behind|open|out|to (?!right\b|left\b|the\b))"),
    (
        "'left' that may be a verb",
        r"\b(is|are|was|were|be|been|being|has|have|had|having|just|only|who|that|which|one|ones) left\b"
        r"(?!\W?(of|side|hand|most|front|back|corner|bottom|top)\b)",
    ),
    ("'right' that may mean correct or directly", r"\b(all|just|is|are|was|were|that) right\b(?! (of|side|hand)\b)"),
    ("'right' that may mean correct or directly", r"\bright (side (up|down)|angles?|way|away|one\?)"),
    (
        "'right' that may mean correct or directly",
        rf"(?<!\w)(?<!-)(?:(?!\b(?:{_PLACE})\b)\b\w+\W+|^\W*)right ({_AFTER_RIGHT})\b",
    ),
    (
        "an abbreviated or misspelt direction",
        r"\b(l|r|lt|rt|lf|rgt|lft|rght|lef|lefy|righ|rigth|irght|rihgt|rite)\b",  # codespell:ignore
    ),
)
_REFUSALS = [(reason, re.compile(pattern)) for reason, pattern in REFUSALS]

_WORD = re.compile(r"[^\W_]+")
#: Words that contain "left" or "right" and have nothing to do with sides.
_INNOCENT = re.compile(r"\w*bright\w*|up?right\w*|\w*fright\w*|copyright\w*|outright|forthright|cleft|playwright")


class CannotFlip(ValueError):  # noqa: N818  (it says what is the matter, as StopIteration does)
    """A sentence cannot be mirrored reliably; keep its picture as it is."""


def swap_sides(sentence: str) -> str:
    """Swap the words for left and right.

    Args:
        sentence: Any sentence; one without such words, and without anything that a mirror changes, stays the same.

    Returns:
        The sentence for the mirrored picture. Case is kept (``Left`` gives ``Right``, ``LEFT`` gives ``RIGHT``), and
        swapping twice gives the sentence back.

    Raises:
        CannotFlip: The sentence mentions something that cannot be swapped by words alone; see ``REFUSALS``.

    Example:
        >>> swap_sides("Left cup, the one right of the leftmost plate")
        'Right cup, the one left of the rightmost plate'
        >>> swap_sides("slice at 3 o'clock")
        Traceback (most recent call last):
            ...
        ris_lib.data.flip.CannotFlip: "slice at 3 o'clock" has, or would get, a clock position; ...
    """
    _refuse(sentence, sentence)
    swapped = _WORD.sub(lambda match: _like(match[0], SWAPS.get(match[0].lower(), match[0])), sentence)
    _refuse(swapped, sentence)
    return swapped


def _refuse(text: str, sentence: str) -> None:
    """Raise if ``text`` (the sentence, or what it becomes) is doubtful: only what can be swapped back is swapped."""
    text = text.lower()
    for reason, pattern in _REFUSALS:
        if pattern.search(text):
            raise CannotFlip(f"{sentence!r} has, or would get, {reason}; keep its picture as it is.")
    for word in _WORD.findall(text):
        if ("left" in word or "right" in word) and word not in SWAPS and not _INNOCENT.fullmatch(word):
            raise CannotFlip(
                f"{sentence!r} has {word!r}, which is not in the list of swaps; keep its picture as it is."
            )


def flip(sample: Sample) -> Sample:
    """Mirror a sample from left to right: picture, masks, boxes and sentences.

    Args:
        sample: Any sample; it is not changed.

    Returns:
        The mirrored sample, with the same ids. Flipping twice gives the sample back.

    Raises:
        CannotFlip: One of its sentences cannot be mirrored reliably.

    Example:
        >>> from ris_lib.data.sample import Expression
        >>> cup = Expression("left cup", 1, 1, 1, "cup", "", (0.0, 0.0, 2.0, 1.0), None)
        >>> mirrored = flip(Sample(np.zeros((4, 6, 3), dtype=np.uint8), 7, (cup,)))
        >>> mirrored.expressions[0].sentence, mirrored.expressions[0].box
        ('right cup', (4.0, 0.0, 6.0, 1.0))
    """
    width = sample.size[1]
    sentences = [swap_sides(expression.sentence) for expression in sample.expressions]
    masks: dict[int, RLE | None] = {}
    expressions = []
    for expression, sentence in zip(sample.expressions, sentences, strict=True):
        if expression.ref_id not in masks:
            masks[expression.ref_id] = None if expression.rle is None else _mirror(expression.rle)
        x_min, y_min, x_max, y_max = expression.box
        box = (width - x_max, y_min, width - x_min, y_max)
        expressions.append(replace(expression, sentence=sentence, box=box, rle=masks[expression.ref_id]))
    return replace(sample, image=np.ascontiguousarray(sample.image[:, ::-1]), expressions=tuple(expressions))


def _mirror(rle: RLE) -> RLE:
    return coco_mask.encode(np.asfortranarray(coco_mask.decode(rle)[:, ::-1]))


def _like(pattern: str, word: str) -> str:
    """``word`` written in the case of ``pattern``."""
    if pattern.isupper():
        return word.upper()
    return word.capitalize() if pattern[0].isupper() else word
