"""Scores whose answer is known beforehand: of targets against themselves, of empty masks, and of two masks by hand.

Whoever loads real masks and scores them in a new place asks these first: a wrong size, an empty target or a mean over
the wrong things shows here before any model is blamed.

Source: the loader's self-test of our protocol.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from ris_lib.data.sample import RLE
from ris_lib.data.verify.verdict import Verdict, cannot, judge
from ris_lib.metrics.accumulator import TENTHS, Accumulator, Scores
from ris_lib.metrics.protocols import count_pixels


def check_scores(masks: Iterable[tuple[int, int, RLE]]) -> list[Verdict]:
    """Score the targets of a data set against themselves and against nothing, and two masks whose scores differ.

    Args:
        masks: Image, number of sentences, mask; of each ref that has one.

    Returns:
        Three verdicts; the first two are ``cannot`` where there is no mask.

    Example:
        >>> square = coco_mask.encode(np.asfortranarray(np.ones((2, 2), dtype=np.uint8)))
        >>> [verdict.state for verdict in check_scores([(7, 3, square)])]
        ['ok', 'ok', 'ok']
    """
    itself, nothing = Accumulator("original"), Accumulator("original")
    for image, sentences, rle in tqdm(masks, desc="scoring targets", unit=" refs", delay=2.0):
        target = coco_mask.decode(rle).astype(bool)
        for accumulator, prediction in ((itself, target), (nothing, np.zeros_like(target))):
            intersection, union = (int(count) for count in count_pixels(prediction, target))
            accumulator.update([intersection] * sentences, [union] * sentences, [image] * sentences)
    return [
        _verdict("the target against itself scores 100", itself, _all(1.0)),
        _verdict("an empty prediction scores 0", nothing, _all(0.0)),
        _verdict("two masks by hand", _by_hand(), _all(0.5) | {"oIoU": 0.6, "mIoU": 0.75, "Prec@0.5": 1.0}),
    ]


def _by_hand() -> Accumulator:
    """Half of a mask of four pixels (IoU 1/2), and all of a mask of one (IoU 1): oIoU 3/5, mIoU 3/4."""
    row = lambda *pixels: np.array([pixels], dtype=bool)  # noqa: E731
    accumulator = Accumulator("original")
    for image, prediction, target in ((1, row(1, 1, 0, 0), row(1, 1, 1, 1)), (2, row(0, 1, 0, 0), row(0, 1, 0, 0))):
        intersection, union = (int(count) for count in count_pixels(prediction, target))
        accumulator.update([intersection], [union], [image])
    return accumulator


def _all(value: float) -> dict[str, float]:
    return dict.fromkeys(["oIoU", "mIoU", *(f"Prec@{name}" for name in TENTHS)], value)


def _named(scores: Scores) -> dict[str, float]:
    precisions = {f"Prec@{name}": value for name, value in scores.prec.items()}
    return {"oIoU": scores.oiou, "mIoU": scores.miou} | precisions


def _verdict(check: str, accumulator: Accumulator, expected: dict[str, float]) -> Verdict:
    if not len(accumulator):
        return cannot(check, "there is no mask")
    came = _named(accumulator.result(intervals=False))
    faults = [
        f"{name} is {100 * came[name]:.4g}, expected {100 * wanted:g}"
        for name, wanted in expected.items()
        if abs(came[name] - wanted) > 1e-12
    ]
    return judge(check, faults, f"{len(accumulator):,} sentences", "oIoU, mIoU and Prec@x as known beforehand")
