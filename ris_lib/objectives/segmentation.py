"""How well the mask fits: binary cross-entropy for each pixel, dice for each sentence.

Cross-entropy counts pixels, so a small object hardly matters to it; dice compares areas, so every object matters alike.

Source: dice loss as Milletari et al. 2016, without their squares and with +1 smoothing as in Mask2Former's code;
positive weight as in LGFormer's released code (1.1 there).
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ris_lib.contract import Batch, Dims, LossTerm, ModelState
from ris_lib.layers import at_least_float32, resize_map


def bce_term(logits: Tensor, target: Tensor, positive_weight: float = 1.0) -> LossTerm:
    """Binary cross-entropy, summed over pixels.

    Args:
        logits: ``(S, h, w)`` before the sigmoid.
        target: ``(S, h, w)`` float in [0, 1].
        positive_weight: Factor of the foreground's share.

    Returns:
        The sum, and the number of pixels (which the weight does not change).

    Example:
        >>> term = bce_term(torch.zeros(1, 1, 2), torch.tensor([[[0.0, 1.0]]]))
        >>> round((term.sum / term.count).item(), 4)  # log 2
        0.6931
    """
    weight = None if positive_weight == 1 else logits.new_tensor(positive_weight)
    total = F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight, reduction="sum")
    return LossTerm(total, logits.new_tensor(float(logits.numel())))


def dice_term(logits: Tensor, target: Tensor) -> LossTerm:
    """Dice loss ``1 - (2 sum(p y) + 1) / (sum p + sum y + 1)``, summed over sentences.

    Args:
        logits: ``(S, h, w)`` before the sigmoid; p is their sigmoid.
        target: ``(S, h, w)`` float in [0, 1], y.

    Returns:
        The sum, and the number of sentences. An empty mask asks for an empty prediction (loss 0 there), a full mask for
        a full one; both are finite.

    Example:
        >>> logits = torch.tensor([[[100.0, -100.0]]])
        >>> dice_term(logits, torch.tensor([[[1.0, 0.0]]])).sum.item()
        0.0
        >>> dice_term(logits, torch.tensor([[[0.0, 1.0]]])).sum.item()  # 1 - 1 / 3
        0.6666666269302368
    """
    probability = logits.sigmoid()
    overlap = (probability * target).sum(dim=(1, 2))
    areas = probability.sum(dim=(1, 2)) + target.sum(dim=(1, 2))
    return LossTerm((1 - (2 * overlap + 1) / (areas + 1)).sum(), logits.new_tensor(float(len(logits))))


class Segmentation(nn.Module):
    """Cross-entropy ``bce`` and ``dice`` of the final mask and, with ``deep``, of the auxiliary ones.

    Args:
        dims: Channel counts of the model. Not used: this objective has no parameters.
        grid: Where masks are compared: ``"input"`` raises the logits to the network's input size, ``"logits"`` brings
            the masks down to each logits' grid.
        shrink: How it brings them down: ``"area"``, the mean, so that thin objects do not vanish; ``"nearest"``, one
            pixel for its cell, as CRIS does.
        deep: Add the losses of ``MaskOutput.aux_logits``, summed, not averaged.
        positive_weight: Factor of the foreground in ``bce``.
        align_corners: How ``grid="input"`` raises the logits.

    Shape:
        ``ModelState`` and a ``Batch`` with masks -> ``{"bce": LossTerm, "dice": LossTerm}``, in float32 also within
        autocast.

    Raises:
        ValueError: Another grid or way to it; or the batch has no masks.

    Example:
        >>> Segmentation(None, grid="stride4")
        Traceback (most recent call last):
        ...
        ValueError: Segmentation: grid='stride4'; expected 'input' or 'logits'.
    """

    #: Its losses by name, and their weights where a recipe does not say otherwise.
    default_weights: ClassVar[dict[str, float]] = {"bce": 1.0, "dice": 1.0}
    #: What it reads in ``MaskOutput`` beside the logits, and whether ``words`` or ``sentence`` of ``Encoded``.
    reads: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        dims: Dims | None,
        grid: str = "input",
        deep: bool = False,
        positive_weight: float = 1.0,
        align_corners: bool = False,
        shrink: str = "area",
    ):
        super().__init__()
        if grid not in ("input", "logits"):
            raise ValueError(f"Segmentation: grid={grid!r}; expected 'input' or 'logits'.")
        if shrink not in ("area", "nearest"):
            raise ValueError(f"Segmentation: shrink={shrink!r}; expected 'area' or 'nearest'.")
        self.shrink = shrink
        self.grid, self.deep, self.positive_weight, self.align_corners = grid, deep, positive_weight, align_corners

    def forward(self, state: ModelState, batch: Batch) -> dict[str, LossTerm]:
        """See the class."""
        if batch.masks is None:
            raise ValueError("Segmentation: the batch has no masks; collate it with_targets=True to get losses.")
        predictions = [state.output.logits, *(state.output.aux_logits if self.deep else ())]
        with torch.autocast(batch.masks.device.type, enabled=False):
            pairs = [self._on_one_grid(at_least_float32(logits), batch.masks) for logits in predictions]
            bce = [bce_term(logits, target, self.positive_weight) for logits, target in pairs]
            dice = [dice_term(logits, target) for logits, target in pairs]
        return {"bce": _add(bce), "dice": _add(dice)}

    def _on_one_grid(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(S, 1, h, w)`` and masks ``(S, H, W)`` on the grid of the loss."""
        masks = masks.to(logits.dtype)
        if self.grid == "input":
            return resize_map(logits, masks.shape[-2:], self.align_corners)[:, 0], masks
        if self.shrink == "nearest":
            return logits[:, 0], F.interpolate(masks[:, None], size=logits.shape[-2:], mode="nearest")[:, 0]
        return logits[:, 0], F.adaptive_avg_pool2d(masks, (logits.shape[2], logits.shape[3]))


def _add(terms: list[LossTerm]) -> LossTerm:
    """Sum of several predictions' means: each is divided by its own count, expressed in the first one's."""
    count = terms[0].count
    return LossTerm(torch.stack([term.sum * (count / term.count) for term in terms]).sum(), count)
