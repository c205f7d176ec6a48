"""EAVL (Yan et al. 2023): several queries become dynamic kernels, their masks are scored and aggregated.

Published (abstract and captions): query-made kernels, one mask each, a score for each mask, the aggregate. The wiring
around it is ours, copied from siblings: encoders, neck and pixel decoder from CRIS's released code, the queries'
attention to words from VLT's. In ``_tiny`` the neck is changed, too (``cris.tiny_neck``).
"""

from __future__ import annotations

from ris_lib.models.config import ModelConfig
from ris_lib.models.cris import tiny_neck
from ris_lib.models.registry import register
from ris_lib.models.towers import clip_towers, tiny_towers

_LOSS = {"segmentation": {"grid": "logits", "shrink": "nearest", "weights": {"bce": 1.0, "dice": 0.0}}}


@register
def eavl_tiny() -> ModelConfig:
    """EAVL's parts at the size of the drawn scenes.

    Example:
        >>> eavl_tiny().head["queries"]
        4
    """
    return ModelConfig(
        recipe="eavl_tiny",
        **tiny_towers(),
        fusion=[None] * 4,
        decoder=tiny_neck(),
        head={"name": "vision_language_aligner", "queries": 4, "width": 64, "kernel": 1, "mix": "prob"},
        objectives={"segmentation": {"weights": {"bce": 1.0, "dice": 1.0}}},
    )


@register
def eavl_small() -> ModelConfig:
    """EAVL's parts with CLIP's RN50 at 320 pixels."""
    return ModelConfig(
        recipe="eavl_small",
        **clip_towers("small"),
        fusion=[None] * 4,
        decoder={"name": "clip_neck"},
        head={"name": "vision_language_aligner", "queries": 8},
        objectives=_LOSS,
    )


@register
def eavl_base() -> ModelConfig:
    """EAVL's parts with CLIP's RN101."""
    return ModelConfig(
        recipe="eavl_base",
        **clip_towers("base"),
        fusion=[None] * 4,
        decoder={"name": "clip_neck"},
        head={"name": "vision_language_aligner"},
        objectives=_LOSS,
    )
