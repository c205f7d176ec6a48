"""What the explorer shows: for each sentence a mask, and rows of maps that led to it.

A ``View`` is plain arrays, so that a chapter can show what it computed by hand just as well as what a model explains
(``ris_lib.engine.Predictor.explain`` makes the views of a model). Source: our decision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

#: What the numbers of a map are, and so how it is scaled and put into words.
READINGS = {
    "share": "how much of each pixel goes to this item; over the items of a row it sums to at most 1",
    "spread": "how this item is spread over the pixels; over the pixels it sums to 1",
    "mask": "the probability that a pixel belongs to this item",
}


@dataclass(frozen=True)
class Layer:
    """One layer of a row: a map for each item, or bars, or both.

    Args:
        maps: ``(n, h, w)`` float in [0, 1], what ``Row.reading`` says; or None.
        scores: ``(n,)`` float, a number for each item, such as a query's weight; or None.
        bars: For each of the n items pairs of label and value in [0, 1], such as the words that a query reads; or None.
    """

    maps: np.ndarray | None = None
    scores: np.ndarray | None = None
    bars: Sequence[Sequence[tuple[str, float]]] | None = None


@dataclass(frozen=True)
class Row:
    """Items of one kind (words, queries, steps), layer by layer.

    Args:
        title: What the items are, such as ``"Queries"``.
        items: The n labels.
        layers: By name, such as ``"stage 1"``; at least one.
        reading: A key of ``READINGS``.
        note: One sentence that says what is to be seen.
        score: What ``Layer.scores`` are, such as ``"weight"``.

    Raises:
        ValueError: There is no item or layer, the reading is unknown, or a layer's size or range does not fit.
    """

    title: str
    items: Sequence[str]
    layers: Mapping[str, Layer]
    reading: str = "mask"
    note: str = ""
    score: str = "score"

    def __post_init__(self):
        if not len(self.items) or not len(self.layers):
            raise ValueError(
                f"row {self.title!r} has {len(self.items)} items and {len(self.layers)} layers; needs both."
            )
        if self.reading not in READINGS:
            raise ValueError(f"row {self.title!r}: reading={self.reading!r}; expected one of {', '.join(READINGS)}.")
        for name, layer in self.layers.items():
            self._check(f"row {self.title!r}, layer {name!r}", layer)

    def _check(self, where: str, layer: Layer) -> None:
        """Refuse a layer that would be drawn wrongly."""
        count = len(self.items)
        if layer.maps is None and layer.bars is None:
            raise ValueError(f"{where} has neither maps nor bars; give one of them.")
        if layer.maps is not None:
            check_maps(layer.maps, where)
        for what, value in (("maps", layer.maps), ("scores", layer.scores), ("bars", layer.bars)):
            if value is not None and len(value) != count:
                raise ValueError(f"{where} has {len(value)} {what} for {count} items; give one for each.")


@dataclass(frozen=True)
class View:
    """What one model makes of one sentence.

    Args:
        sentence: The sentence.
        mask: ``(h, w)`` float in [0, 1], the answer; on the picture's grid or a coarser one.
        rows: What led to it; may be empty.

    Raises:
        ValueError: The mask has another shape or range.
    """

    sentence: str
    mask: np.ndarray
    rows: Sequence[Row] = field(default_factory=tuple)

    def __post_init__(self):
        check_maps(np.asarray(self.mask)[None], f"the mask of {self.sentence!r}")


def check_maps(maps: np.ndarray, where: str) -> None:
    """Refuse what is not ``(n, h, w)`` in [0, 1].

    Args:
        maps: What came.
        where: For the message.

    Raises:
        ValueError: Another type, number of axes, or range; or a value that is not a number.

    Example:
        >>> import numpy as np
        >>> check_maps(np.full((1, 2, 2), 1.5), "layer 'stage 1'")
        Traceback (most recent call last):
        ValueError: layer 'stage 1': maps lie in [1.5, 1.5]; expected [0, 1]. Of logits take sigmoid or softmax first.
    """
    if not isinstance(maps, np.ndarray) or maps.ndim != 3 or 0 in maps.shape:
        what = f"an array {maps.shape}" if isinstance(maps, np.ndarray) else f"a {type(maps).__name__}"
        raise ValueError(f"{where}: maps is {what}; expected an array (items, height, width), none of them 0.")
    low, high = float(maps.min()), float(maps.max())
    if not (low >= 0 and high <= 1 + 1e-5):  # also where one of them is not a number
        raise ValueError(
            f"{where}: maps lie in [{low:.3g}, {high:.3g}]; expected [0, 1]. Of logits take sigmoid or softmax first."
        )
