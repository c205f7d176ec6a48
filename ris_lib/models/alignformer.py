"""AlignFormer (Wei et al. 2023, first version) and LGFormer, most likely its later version, with released code.

Published for AlignFormer (its abstract): attention both ways between words and pixels (VLBA), the sentence as a centre
that pixels group around, a cross-modal instance contrastive loss. Everything numeric is ours, copied from LGFormer's
released code where that has it, and so is the light decoder of ``_tiny`` and ``_small``; ``lgformer_base`` is
that code's model, and its checkpoints fit it.
"""

from __future__ import annotations

from typing import Any

from ris_lib.models.config import ModelConfig
from ris_lib.models.registry import register
from ris_lib.models.towers import swin_towers, tiny_towers

#: LGFormer's loss: cross-entropy of all seven outputs, summed, foreground counting 1.1 times; corners not aligned.
_RELEASED_LOSS = {"deep": True, "positive_weight": 1.1, "weights": {"bce": 1.0, "dice": 0.0}}
_NOT_ALIGNED: dict[str, Any] = {"upsample": {"of": "logits", "mode": "bilinear", "align_corners": False}}
_CONTRAST = {"instance_contrast": {"weights": {"instance_contrast": 0.1}}}


@register
def alignformer_tiny() -> ModelConfig:
    """AlignFormer's parts at the size of the drawn scenes.

    Example:
        >>> sorted(alignformer_tiny().objectives)
        ['instance_contrast', 'segmentation']
    """
    return ModelConfig(
        recipe="alignformer_tiny",
        **tiny_towers(),
        fusion=[{"name": "vlba"}] * 4,
        decoder={"name": "light", "width": 32, "word_layers": 1, "heads": 4},
        head={"name": "centre_embedding", "layers": 3, "heads": 4, "feed_forward": 128},
        objectives={"segmentation": {"deep": True, "weights": {"bce": 0.25, "dice": 0.25}}, **_CONTRAST},
    )


@register
def alignformer_small() -> ModelConfig:
    """AlignFormer's parts with Swin-T, a 4-layer BERT and the light decoder."""
    return ModelConfig(
        recipe="alignformer_small",
        **(swin_towers("small") | _NOT_ALIGNED),
        fusion=[{"name": "vlba"}] * 4,
        decoder={"name": "light", "width": 256},
        head={"name": "centre_embedding"},
        objectives={"segmentation": _RELEASED_LOSS, **_CONTRAST},
    )


@register
def alignformer_base() -> ModelConfig:
    """LGFormer's parts with the contrastive loss that names AlignFormer."""
    return ModelConfig(
        recipe="alignformer_base",
        **(swin_towers("base") | _NOT_ALIGNED),
        fusion=[{"name": "vlba"}] * 4,
        decoder=_released_decoder(),
        head={"name": "centre_embedding"},
        objectives={"segmentation": _RELEASED_LOSS, **_CONTRAST},
    )


@register
def lgformer_base() -> ModelConfig:
    """LGFormer as released: official checkpoints fit it. BERT's embeddings stay fixed, as in its training script."""
    towers = swin_towers("base")
    towers["training"]["frozen"] = ["encoder.text_tower.embeddings."]
    return ModelConfig(
        recipe="lgformer_base",
        **(towers | _NOT_ALIGNED),
        fusion=[{"name": "vlba"}] * 4,
        decoder=_released_decoder(),
        head={"name": "centre_embedding"},
        objectives={"segmentation": _RELEASED_LOSS},
    )


def _released_decoder() -> dict:
    return {"name": "deformable", "layers": 6, "levels": 3, "words": True}
