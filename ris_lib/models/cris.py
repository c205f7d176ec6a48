"""CRIS (Wang et al. 2022): CLIP's two encoders, a neck and a pixel-word transformer, one kernel made from the sentence.

Published: all of ``_base`` with RN101 (RN50 by override). Ours: ``_tiny`` and ``_small``. The loss is the released one,
cross-entropy on the stride-4 grid; the tiny model adds dice, as all tiny models do.
"""

from __future__ import annotations

from ris_lib.models.config import ModelConfig
from ris_lib.models.registry import register
from ris_lib.models.towers import clip_towers, tiny_towers

_LOSS = {"segmentation": {"grid": "logits", "shrink": "nearest", "weights": {"bce": 1.0, "dice": 0.0}}}


@register
def cris_tiny() -> ModelConfig:
    """CRIS's parts at the size of the drawn scenes.

    Example:
        >>> cris_tiny().head["name"]
        'sentence_kernel'
    """
    return ModelConfig(
        recipe="cris_tiny",
        **tiny_towers(),
        fusion=[None] * 4,
        decoder=tiny_neck(),
        head={"name": "sentence_kernel"},
        objectives={"segmentation": {"weights": {"bce": 1.0, "dice": 1.0}}},
    )


def tiny_neck() -> dict:
    """The neck of ``cris_tiny`` and ``eavl_tiny``.

    Example:
        >>> tiny_neck()["norm"]
        'group'
    """
    return {
        "name": "clip_neck",
        "width": 64,
        "coarse_width": 64,
        "fine_width": 32,
        "layers": 3,
        "heads": 4,
        "feed_forward": 128,
        "dropout": 0.0,
        "norm": "group",
        "out_channels": 16,
        "residual": True,
        "centred": True,
        "outlines": True,
    }


@register
def cris_small() -> ModelConfig:
    """CRIS with CLIP's RN50 at 320 pixels."""
    return ModelConfig(
        recipe="cris_small",
        **clip_towers("small"),
        fusion=[None] * 4,
        decoder={"name": "clip_neck"},
        head={"name": "sentence_kernel", "scaled": False},
        objectives=_LOSS,
    )


@register
def cris_base() -> ModelConfig:
    """CRIS as released, with RN101: official checkpoints fit it.

    For RN50: ``create_model("cris_base", image_tower={"model": "RN50"}, text_tower={"model": "RN50"})``.
    """
    return ModelConfig(
        recipe="cris_base",
        **clip_towers("base"),
        fusion=[None] * 4,
        decoder={"name": "clip_neck"},
        head={"name": "sentence_kernel", "scaled": False},
        objectives=_LOSS,
    )
