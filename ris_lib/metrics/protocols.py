"""The rules under which a mask is scored, and the counting of its pixels.

Published numbers differ in where masks are compared, at which threshold, and in whether "reaches 0.5" includes 0.5.
Here such a set of rules has a name, and no number is reported without it.

Sources: the evaluation code of LAVT (Yang et al. 2022), MagNet (Chng et al. 2024) and CRIS (Wang et al. 2022).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ris_lib._names import unknown

Mask = np.ndarray | Tensor


@dataclass(frozen=True)
class Protocol:
    """A way of scoring. No number means anything without its protocol.

    Args:
        name: Under which results are reported.
        threshold: A pixel is foreground where its probability is above this.
        inclusive: Prec@x counts IoU >= x (True) or IoU > x (False).
        grid: (height, width) on which masks are compared, or None for the original picture's.
        resample: How probabilities come back to the original picture, ``bilinear`` or ``bicubic``.
    """

    name: str
    threshold: float
    inclusive: bool
    grid: tuple[int, int] | None
    resample: str

    def reaches(self, intersections: np.ndarray, unions: np.ndarray, tenths: int) -> np.ndarray:
        """Whether I / U reaches ``tenths / 10``, exactly; bool, same shape. An empty union reaches nothing."""
        left, right = 10 * intersections, tenths * unions
        return ((left >= right) if self.inclusive else (left > right)) & (unions > 0)


#: ``original`` is the honest one. ``network_480`` compares as LAVT, MagNet and LGFormer do: targets are brought to
#: 480 x 480, so that every picture weighs the same. ``cris_035`` compares as CRIS does, whose 1e-6 in the denominator
#: only prevents 0 / 0 (in float32 it is lost from a union of 32 pixels on).
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("original", threshold=0.5, inclusive=True, grid=None, resample="bilinear"),
        Protocol("network_480", threshold=0.5, inclusive=True, grid=(480, 480), resample="bilinear"),
        Protocol("cris_035", threshold=0.35, inclusive=False, grid=None, resample="bicubic"),
    )
}


def get_protocol(protocol: str | Protocol) -> Protocol:
    """The protocol of that name.

    Raises:
        ValueError: There is none; the nearest names are listed.

    Example:
        >>> get_protocol("original").threshold
        0.5
    """
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    return PROTOCOLS[protocol]


def resize_maps(maps: Tensor, size: tuple[int, int], mode: str = "bilinear", align_corners: bool = False) -> Tensor:
    """Bring logits or probabilities to another grid.

    Args:
        maps: ``(n, h, w)`` float.
        size: (height, width) of the result.
        mode: ``bilinear`` or ``bicubic``.
        align_corners: As published code does it: True for LAVT, MagNet and CRIS, False for LGFormer. It belongs to the
            model's configuration, not to the protocol.

    Returns:
        ``(n, *size)``, same dtype and device.

    Raises:
        ValueError: ``maps`` is not (n, h, w) float, or the mode is not known.

    Example:
        >>> resize_maps(torch.tensor([[[0.0, 1.0]]]), (1, 3), align_corners=True).tolist()
        [[[0.0, 0.5, 1.0]]]
    """
    if maps.ndim != 3 or not maps.is_floating_point():
        raise ValueError(f"expected maps as (n, height, width) float, got {tuple(maps.shape)} {maps.dtype}.")
    if mode not in ("bilinear", "bicubic"):
        raise unknown("mode", mode, ("bilinear", "bicubic"))
    return F.interpolate(maps[:, None], size=size, mode=mode, align_corners=align_corners)[:, 0]


def binarise(probabilities: Tensor, protocol: str | Protocol = "original") -> Tensor:
    """Probabilities to masks, at the protocol's threshold.

    Args:
        probabilities: Any shape, float, in [0, 1]; values up to 1 beyond are let through, because cubic resampling
            overshoots.
        protocol: Name or protocol.

    Returns:
        Bool, same shape: True where the probability is *above* the threshold.

    Raises:
        ValueError: The protocol is not known, or the numbers are no probabilities (NaN, logits, whole numbers).

    Example:
        >>> binarise(torch.tensor([0.4, 0.5, 0.6])).tolist(), binarise(torch.tensor([0.4]), "cris_035").tolist()
        ([False, False, True], [True])
    """
    threshold = get_protocol(protocol).threshold
    if not probabilities.is_floating_point():
        raise ValueError(f"probabilities are {probabilities.dtype}; expected floats in [0, 1].")
    if probabilities.numel():
        low, high = (float(x) for x in probabilities.aminmax())
        if not (low >= -1 and high <= 2):  # also true for NaN
            raise ValueError(f"probabilities run from {low:g} to {high:g}; expected [0, 1]. Take .sigmoid() of logits.")
    return probabilities > threshold


def count_pixels(prediction: Mask, target: Mask) -> tuple[np.ndarray, np.ndarray]:
    """Count the pixels of intersection and union.

    Args:
        prediction: ``(..., H, W)`` bool, array or tensor.
        target: The same shape.

    Returns:
        Two int64 arrays of shape ``(...)``; of shape () for single masks.

    Raises:
        ValueError: A mask is not boolean, or the shapes differ.

    Example:
        >>> half, whole = np.array([[True, False]]), np.array([[True, True]])
        >>> [int(n) for n in count_pixels(half, whole)]
        [1, 2]
    """
    masks = [torch.as_tensor(mask) for mask in (prediction, target)]
    for name, mask in zip(("prediction", "target"), masks):
        if mask.dtype != torch.bool:
            raise ValueError(f"the {name} is {mask.dtype}; expected a bool mask. Use mask > 0, or binarise(...).")
    if masks[0].shape != masks[1].shape or masks[0].ndim < 2:
        raise ValueError(
            f"the prediction has shape {tuple(masks[0].shape)}, the target {tuple(masks[1].shape)}; expected the same "
            "(..., height, width). Bring both to the protocol's grid first."
        )
    first, second = masks[0], masks[1].to(masks[0].device)
    if first.device.type == "cpu":
        return _count_on_cpu(first.numpy(), second.numpy())
    counts = torch.stack([(first & second).sum((-2, -1)), (first | second).sum((-2, -1))]).cpu().numpy()
    return counts[0], counts[1]


def _count_on_cpu(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mask by mask: NumPy counts a whole array of booleans six times as fast as it adds them up along an axis."""
    height, width = first.shape[-2:]
    leading, masks = first.shape[:-2], math.prod(first.shape[:-2])
    counts = np.empty((2, masks), np.int64)
    merged = np.empty(height * width, bool)
    for k, (one, other) in enumerate(zip(*(stack.reshape(masks, height * width) for stack in (first, second)))):
        counts[0, k] = np.count_nonzero(np.logical_and(one, other, out=merged))
        counts[1, k] = np.count_nonzero(np.logical_or(one, other, out=merged))
    return counts[0].reshape(leading), counts[1].reshape(leading)
