"""What a sample is: one picture and the expressions that are asked of it.

Every data set of this library, drawn or photographed, gives the same ``Sample``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np


class RLE(TypedDict):
    """A run-length encoded mask as pycocotools writes it: ``{"size": [height, width], "counts": bytes}``."""

    size: list[int]
    counts: str | bytes  # pycocotools reads both


@dataclass(frozen=True)
class Expression:
    """One sentence and the object that it means.

    Args:
        sentence: The text as the data set has it.
        referent_id: The annotated instance (COCO's annotation id, never ``ref_id``), unique across data sets.
        sentence_id: The data set's number of the sentence.
        ref_id: The data set's number of the ref (one object with all its sentences).
        category: The object's class by name; empty where the data set does not say.
        kind: Kind of expression (``scenes``: attribute, location, ...); empty where the data set does not say.
        box: ``(x_min, y_min, x_max, y_max)`` in pixels of the original picture.
        rle: The mask at the original size, or None where the data set has none (text-only samples).
    """

    sentence: str
    referent_id: int
    sentence_id: int
    ref_id: int
    category: str
    kind: str
    box: tuple[float, float, float, float]
    rle: RLE | None

    def mask(self) -> np.ndarray:
        """The mask, ``(height, width)`` bool, at the original size.

        Raises:
            ValueError: The data set holds no mask for this object.
        """
        if self.rle is None:
            raise ValueError(
                f"ref {self.ref_id} ({self.sentence!r}) has no mask: its annotation holds no segmentation. "
                "Use a complete instances.json, or read the sentences only."
            )
        from pycocotools import mask as coco_mask

        return coco_mask.decode(self.rle).astype(bool)


@dataclass(frozen=True)
class Sample:
    """One picture with its expressions.

    Args:
        image: ``(height, width, 3)`` uint8, RGB, original size.
        image_id: The data set's number of the picture.
        expressions: At least one, in the data set's order.
    """

    image: np.ndarray
    image_id: int
    expressions: tuple[Expression, ...]

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)`` of the original picture."""
        return self.image.shape[0], self.image.shape[1]
