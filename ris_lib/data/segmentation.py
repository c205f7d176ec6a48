"""COCO's ways of writing a mask, turned into one: compressed run lengths at the picture's size.

An annotation holds a list of polygons, or (crowds) run lengths, compressed or not. Everything goes through pycocotools,
so that masks agree with COCO's own to the pixel. Polygons are united: a pixel under two of them is foreground.
``to_polygons`` is the way back.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ris_lib._shown import short
from ris_lib.data.sample import RLE

#: Pixels that the outline of one polygon may have; among 17,000 annotations of COCO the longest has 3,009. pycocotools
#: walks along it in fifths of a pixel and takes at most 100 bytes of memory for each pixel of it.
LONGEST_OUTLINE = 2_000_000

#: Of a compressed run length.
_MOST_BITS = 60

#: A run of foreground in one column of a mask: its x, its first y, and the y after its last.
_Run = tuple[int, int, int]


def to_rle(segmentation: list | dict[str, Any], height: int, width: int) -> RLE:
    """Turn one annotation's segmentation into a compressed run-length mask.

    Args:
        segmentation: A list of polygons ``[x1, y1, x2, y2, ...]`` in pixels, or COCO's run lengths
            ``{"size": [height, width], "counts": list | str | bytes}``, or a list of either.
        height: Of the picture.
        width: Of the picture.

    Returns:
        ``{"size": [height, width], "counts": bytes}``, the union of all parts. It may be empty: a polygon smaller than
        a pixel covers none.

    Raises:
        ValueError: The mask has another size than the picture, a polygon has fewer than three corners, a value that is
            no finite number or one far out of the picture, or an outline of over ``LONGEST_OUTLINE`` pixels, or the
            run lengths are damaged.

    Example:
        >>> rle = to_rle([[0, 0, 2, 0, 2, 2, 0, 2], [1, 0, 3, 0, 3, 2, 1, 2]], height=2, width=4)
        >>> coco_mask.decode(rle).tolist()
        [[1, 1, 1, 0], [1, 1, 1, 0]]
    """
    parts = segmentation if isinstance(segmentation, list) else [segmentation]
    if not parts:
        raise ValueError("the segmentation is empty; expected polygons or run lengths.")
    return coco_mask.merge(
        [_runs(part, height, width) if isinstance(part, dict) else _polygon(part, height, width) for part in parts]
    )


def to_polygons(mask: np.ndarray) -> list[list[int]]:
    """Write a mask as polygons along the edges of its pixels, without losing one.

    A polygon grows from column to column as long as its one run of pixels touches one run of the next; where runs part
    or meet (holes, pieces) others begin. No pixel is under two polygons: programs that add them up get the same mask.

    Args:
        mask: (height, width) bool.

    Returns:
        ``[x1, y1, x2, y2, ...]`` in pixels for each polygon, none for an empty mask. COCO's functions, and ``to_rle``,
        make the same mask of them again.

    Example:
        >>> to_polygons(np.array([[0, 1, 1, 1], [0, 1, 1, 0]], dtype=bool))
        [[1, 0, 4, 0, 4, 1, 3, 1, 3, 2, 1, 2]]
    """
    edges = np.diff(mask.astype(np.int8), axis=0, prepend=0, append=0)
    pieces: list[list[_Run]] = []
    growing: list[list[_Run]] = []
    for x in np.flatnonzero(mask.any(axis=0)).tolist():
        tops, bottoms = (np.flatnonzero(edges[:, x] == sign).tolist() for sign in (1, -1))
        runs = list(zip([x] * len(tops), tops, bottoms))
        touching = [[piece for piece in growing if _touch(piece[-1], run)] for run in runs]
        often = Counter(id(piece) for met in touching for piece in met)
        growing = []
        for run, met in zip(runs, touching):
            if len(met) == 1 and often[id(met[0])] == 1:
                met[0].append(run)
                growing.append(met[0])
            else:
                growing.append([run])
                pieces.append(growing[-1])
    return [_outline(piece) for piece in pieces]


def _touch(left: _Run, right: _Run) -> bool:
    """Whether two runs are in neighbouring columns and share an edge."""
    return left[0] + 1 == right[0] and left[1] < right[2] and right[1] < left[2]


def _outline(piece: list[_Run]) -> list[int]:
    """Along the tops from left to right, back along the bottoms; corners where the height changes."""
    corners = [corner for x, top, _ in piece for corner in ((x, top), (x + 1, top))]
    corners += [corner for x, _, bottom in reversed(piece) for corner in ((x + 1, bottom), (x, bottom))]
    around = zip(corners, corners[1:] + corners[:1], corners[-1:] + corners[:-1])
    return [value for (x, y), after, before in around if not before[1] == y == after[1] for value in (x, y)]


def _polygon(corners: Any, height: int, width: int) -> RLE:
    if not isinstance(corners, list) or len(corners) < 6 or len(corners) % 2:
        raise ValueError(
            f"expected a polygon as a list x1, y1, x2, y2, ... of at least three corners, got {short(corners)}."
        )
    if not all(isinstance(value, int | float) and abs(value) < math.inf for value in corners):
        raise ValueError("a polygon holds something that is no finite number.")
    side = max(height, width)
    if not all(-side <= value <= 2 * side for value in corners):  # pycocotools walks along every edge, however long
        raise ValueError(
            f"a polygon reaches from {short(min(corners))} to {short(max(corners))}, far out of its picture of "
            f"{height} x {width} (height x width); take annotations and image records from the same release."
        )
    points = np.array(corners, dtype=np.float64).reshape(-1, 2)
    if (length := np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()) > LONGEST_OUTLINE:
        raise ValueError(
            f"the outline of a polygon is {length:,.0f} pixels long; at most {LONGEST_OUTLINE:,} are read. Write such "
            "a mask as run lengths."
        )
    return coco_mask.frPyObjects([corners], height, width)[0]


def _runs(runs: dict[str, Any], height: int, width: int) -> RLE:
    if runs.get("size") != [height, width]:
        raise ValueError(
            f"its mask has height, width = {short(runs.get('size'))}, but the picture has {[height, width]}; "
            "take annotations and image records from the same release."
        )
    counts = runs.get("counts")
    if isinstance(counts, list):
        lengths = counts
        if not all(isinstance(length, int) and length >= 0 for length in lengths):
            raise ValueError("its run lengths are not all whole numbers of at least 0.")
    elif isinstance(counts, str | bytes):
        counts = counts.encode() if isinstance(counts, str) else counts
        lengths = _run_lengths(counts)
    else:
        raise ValueError(f"its run lengths are a {type(counts).__name__}; expected a list or a string.")
    if sum(lengths) != height * width:
        raise ValueError(f"its run lengths add up to {short(sum(lengths))} pixels; the picture has {height * width}.")
    uncompressed: Any = {"size": [height, width], "counts": lengths}  # which pycocotools' stubs do not know
    return coco_mask.frPyObjects(uncompressed, height, width)


def _run_lengths(counts: bytes) -> list[int]:
    """Decode COCO's compressed counts. pycocotools trusts them; a damaged string must not reach its C code.

    Source: the format of COCO's API (``rleFrString``): digits of base 32, least first, offset 48, sign in the last
    digit; from the fourth run on, the difference to the run before last.
    """
    lengths: list[int] = []
    value = shift = 0
    for byte in counts:
        digit = byte - 48
        if not 0 <= digit < 64:
            raise ValueError("its compressed run lengths hold a character that does not belong there.")
        value |= (digit & 31) << shift
        shift += 5
        if shift > _MOST_BITS:
            raise ValueError("its compressed run lengths hold a number longer than any picture.")
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        if len(lengths) > 2:
            value += lengths[-2]
        if value < 0:
            raise ValueError("its compressed run lengths hold a negative run.")
        lengths.append(value)
        value = shift = 0
    if shift:
        raise ValueError("its compressed run lengths end in the middle of a number.")
    return lengths
