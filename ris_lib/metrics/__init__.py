"""mIoU, oIoU and Prec@k under a named protocol, counted in whole pixels.

For sentence k, ``I_k`` is the number of pixels in both prediction and target, ``U_k`` in at least one of them::

    oIoU   = sum_k I_k / sum_k U_k             (also written cIoU)
    mIoU   = mean_k I_k / U_k                  (over sentences)
    Prec@x = share of k whose I_k / U_k reaches x

An empty union counts 0 everywhere. Example:

    >>> import torch
    >>> probabilities, target = torch.tensor([[0.9, 0.8], [0.2, 0.1]]), torch.tensor([[True, False], [False, False]])
    >>> intersection, union = count_pixels(binarise(probabilities, "original"), target)
    >>> accumulator = Accumulator("original")
    >>> accumulator.update([int(intersection)], [int(union)], image_ids=[1])
    >>> accumulator.result(intervals=False).miou
    0.5

Whether one model is better than another is asked of paired differences: ``gain_over_seeds``, ``gain_over_sentences``.
"""

from ris_lib.metrics.accumulator import TENTHS, Accumulator, Scores
from ris_lib.metrics.paired import Gain, gain_over_seeds, gain_over_sentences
from ris_lib.metrics.protocols import PROTOCOLS, Protocol, binarise, count_pixels, get_protocol, resize_maps

__all__ = [
    "PROTOCOLS",
    "TENTHS",
    "Accumulator",
    "Gain",
    "Protocol",
    "Scores",
    "binarise",
    "count_pixels",
    "gain_over_seeds",
    "gain_over_sentences",
    "get_protocol",
    "resize_maps",
]
