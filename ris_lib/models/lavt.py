"""LAVT (Yang et al. 2022): words join the pixels inside the image encoder, a top-down decoder, a fixed kernel.

Published: Swin-B and BERT-base, PWAM with a language gate after every stage, the decoder, two classes weighted 0.9 and
1.1, the training of ``_base``. Ours: the sizes of ``_tiny`` and ``_small``, their single class with cross-entropy and
dice.
"""

from __future__ import annotations

from ris_lib.models.config import ModelConfig
from ris_lib.models.registry import register
from ris_lib.models.towers import swin_towers, tiny_towers


@register
def lavt_tiny() -> ModelConfig:
    """LAVT's parts at the size of the drawn scenes.

    Example:
        >>> lavt_tiny().fusion[0]["name"]
        'pwam'
    """
    return ModelConfig(
        recipe="lavt_tiny",
        **tiny_towers(),
        fusion=[{"name": "pwam"}] * 4,
        decoder={"name": "top_down", "width": 32},
        head={"name": "fixed_kernel"},
        objectives={"segmentation": {"weights": {"bce": 1.0, "dice": 1.0}}},
    )


@register
def lavt_small() -> ModelConfig:
    """LAVT's parts with Swin-T and a 4-layer BERT."""
    return ModelConfig(
        recipe="lavt_small",
        **swin_towers("small"),
        fusion=[{"name": "pwam"}] * 4,
        decoder={"name": "top_down", "width": 256},
        head={"name": "fixed_kernel"},
        objectives={"segmentation": {"weights": {"bce": 1.0, "dice": 1.0}}},
    )


@register
def lavt_base() -> ModelConfig:
    """LAVT as released: official checkpoints fit it.

    The loss is the released two-class cross-entropy without its division by the mean weight, which is 0.92 for a
    foreground of a tenth of the pixels: foreground counts 1.1 / 0.9 times background.
    """
    return ModelConfig(
        recipe="lavt_base",
        **swin_towers("base"),
        fusion=[{"name": "pwam"}] * 4,
        decoder={"name": "top_down", "norm": "batch", "residual": False},
        head={"name": "fixed_kernel", "classes": 2},
        objectives={
            "segmentation": {"positive_weight": 1.1 / 0.9, "align_corners": True, "weights": {"bce": 1.0, "dice": 0.0}}
        },
    )
