"""Figures for pages: a grid of samples, a prediction beside its target.

Every figure has its own white ground (so it looks the same on light and dark pages), letters of 9 points or more, at
most 700 pixels of width, and a description for those who cannot see it in ``figure.ris_alt``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from ris_lib.data.sample import Sample
from ris_lib.show.overlay import check_mask, check_picture, contour_width, overlay, ring
from ris_lib.show.palette import PALETTE, rgb

_DPI = 100
_WIDTH = 7.0  # inches: 700 pixels
_FONTS: Any = {"font.family": "sans-serif", "font.size": 9.0, "axes.titlesize": 9.0, "figure.titlesize": 10.0}
_FINE = 240  # pixels: smaller pictures are enlarged by whole numbers, so that a contour is thinner than their pixels


class Picture(Figure):
    """A matplotlib figure that describes itself and that notebooks show without pyplot.

    Args:
        alt: What is to be seen, in one or two sentences.
        **options: As for ``matplotlib.figure.Figure``.
    """

    def __init__(self, alt: str = "", **options):
        super().__init__(dpi=_DPI, facecolor="white", **options)
        self.ris_alt = alt

    def _repr_png_(self) -> bytes:
        """The picture with 256 colours: half the bytes of a page, and no difference that an eye finds."""
        buffer = BytesIO()
        self.savefig(buffer, format="png", bbox_inches="tight", pad_inches=0.04)
        small = BytesIO()
        Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
        return small.getvalue()


def show_samples(samples: Sequence[Sample], columns: int = 3, expression: int = 0) -> Picture:
    """Draw a grid of samples, each with one of its sentences and the object that the sentence means.

    Args:
        samples: At least one.
        columns: Pictures in a row, 1 to 6.
        expression: Which of each sample's expressions; samples with fewer start again from their first.

    Returns:
        The figure; its description is in ``ris_alt``.

    Raises:
        ValueError: There is no sample, ``columns`` is not 1 to 6, or an expression has no mask.

    Example:
        >>> import numpy as np
        >>> from pycocotools import mask as coco_mask
        >>> from ris_lib.data.sample import Expression
        >>> mask = np.zeros((8, 8), np.uint8, order="F")
        >>> mask[2:5, 1:4] = 1
        >>> ball = Expression("the left ball", 1, 1, 1, "ball", "location", (1, 2, 4, 5), coco_mask.encode(mask))
        >>> show_samples([Sample(np.full((8, 8, 3), 90, np.uint8), 1, (ball,))]).ris_alt
        'One picture with the object that its sentence means: "the left ball".'
    """
    if not len(samples):
        raise ValueError("there is no sample to show; give at least one.")
    if not 1 <= columns <= 6:
        raise ValueError(f"columns={columns}; expected 1 to 6, or the letters would not fit below 700 pixels of width.")
    shown = [(sample, sample.expressions[expression % len(sample.expressions)]) for sample in samples]
    sentences = "; ".join(f'"{chosen.sentence}"' for _, chosen in shown)
    if len(shown) == 1:
        alt = f"One picture with the object that its sentence means: {sentences}."
    else:
        alt = f"{len(shown)} pictures, each with the object that its sentence means: {sentences}."

    columns = min(columns, len(shown))
    tallest = max(sample.size[0] / sample.size[1] for sample, _ in shown)
    figure, axes = _grid(alt, len(shown), columns, tallest)
    for axis, (sample, chosen) in zip(axes, shown, strict=True):
        picture, mask = _enlarge(sample.image, chosen.mask())
        _draw(axis, overlay(picture, mask, colour="target"), chosen.sentence, columns)
    return figure


def compare(image: np.ndarray, prediction: np.ndarray, target: np.ndarray, sentence: str) -> Picture:
    """Draw what was asked for, what a model answered, and where the two differ.

    In the third picture the wrong pixels are red: inside the blue contour they were missed, outside of it they are too
    many.

    Args:
        image: ``(H, W, 3)`` uint8, RGB.
        prediction: ``(H, W)`` bool.
        target: ``(H, W)`` bool.
        sentence: Stands above the pictures.

    Returns:
        The figure; its description is in ``ris_alt``.

    Raises:
        ValueError: The picture is not (H, W, 3) uint8, or a mask is not bool or has another size.

    Example:
        >>> import numpy as np
        >>> target = np.zeros((8, 8), bool)
        >>> target[2:6, 2:6] = True
        >>> compare(np.full((8, 8, 3), 90, np.uint8), np.roll(target, 1, axis=1), target, "the ball").ris_alt
        'Target, prediction and errors for "the ball": 4 pixels missed, 4 too many, IoU 0.60.'
    """
    check_picture(image)
    check_mask(prediction, image, "prediction")
    check_mask(target, image, "target")
    union = int((prediction | target).sum())
    iou = int((prediction & target).sum()) / union if union else 0.0
    missed, extra = int((target & ~prediction).sum()), int((prediction & ~target).sum())
    alt = f'Target, prediction and errors for "{sentence}": {missed} pixels missed, {extra} too many, IoU {iou:.2f}.'

    figure, axes = _grid(alt, 3, 3, image.shape[0] / image.shape[1], headline=True)
    picture, prediction, target = _enlarge(image, prediction, target)
    errors = overlay(picture, np.zeros_like(target), contour=0)
    errors[prediction != target] = rgb("error")
    errors[ring(target, 0, contour_width(target.shape))] = rgb("target")
    _draw(axes[0], overlay(picture, target, colour="target"), "target", 3, PALETTE["target"])
    _draw(axes[1], overlay(picture, prediction), f"prediction, IoU {iou:.2f}", 3, PALETTE["prediction"])
    _draw(axes[2], errors, "errors", 3, PALETTE["error"])
    figure.suptitle(textwrap.fill(f"“{sentence}”", 90))
    return figure


def _grid(alt: str, count: int, columns: int, aspect: float, headline: bool = False) -> tuple[Picture, list[Axes]]:
    rows = -(-count // columns)
    width = min(_WIDTH, 3.5 * columns)
    height = rows * (aspect * width / columns + 0.45) + 0.35 * headline
    with rc_context(_FONTS):
        figure = Picture(alt, figsize=(width, height), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes:
        axis.set_axis_off()
    return figure, axes[:count]


def _draw(axis: Axes, picture: np.ndarray, title: str, columns: int, line: str | None = None) -> None:
    axis.imshow(picture, interpolation="nearest")
    axis.set_title(textwrap.fill(title, max(16, 96 // columns)), fontsize=9)
    if line is not None:
        axis.plot([0, 1], [1, 1], color=line, linewidth=4, transform=axis.transAxes, clip_on=False)


def _enlarge(image: np.ndarray, *masks: np.ndarray) -> list[np.ndarray]:
    factor = max(1, -(-_FINE // max(image.shape[:2])))
    return [array.repeat(factor, axis=0).repeat(factor, axis=1) for array in (image, *masks)]
