"""CoupAlign (Zhang et al. 2022): word-pixel alignment inside both encoders, sentence-mask alignment among proposals.

Published (abstract and a figure's caption): fusion inside both encoders, mask proposals that the sentence weights, an
auxiliary loss between foreground and background pixels. Every formula and number here is ours; no code was published
where we could find it. The proposals read the decoder's three coarser maps, not two: whatever the decoder hands on.
"""

from __future__ import annotations

from ris_lib.models.config import ModelConfig
from ris_lib.models.registry import register
from ris_lib.models.towers import INTERLEAVED, swin_towers, tiny_towers

_LOSS = {
    "segmentation": {"weights": {"bce": 1.0, "dice": 1.0}},
    "pixel_contrast": {"weights": {"pixel_contrast": 0.1}},
}


@register
def coupalign_tiny() -> ModelConfig:
    """CoupAlign's parts at the size of the drawn scenes.

    Example:
        >>> coupalign_tiny().head["queries"]
        8
    """
    return ModelConfig(
        recipe="coupalign_tiny",
        **tiny_towers(INTERLEAVED),
        fusion=[{"name": "wpa"}] * 4,
        decoder={"name": "top_down", "width": 32},
        head={
            "name": "sentence_mask_alignment",
            "queries": 8,
            "layers": 2,
            "heads": 4,
            "width": 64,
            "feed_forward": 128,
        },
        objectives={**_LOSS, "pixel_contrast": {"width": 16, "limit": 256, "weights": {"pixel_contrast": 0.1}}},
    )


@register
def coupalign_small() -> ModelConfig:
    """CoupAlign's parts with Swin-T and a 4-layer BERT."""
    return ModelConfig(
        recipe="coupalign_small",
        **swin_towers("small", INTERLEAVED),
        fusion=[{"name": "wpa"}] * 4,
        decoder={"name": "top_down", "width": 256},
        head={"name": "sentence_mask_alignment"},
        objectives=_LOSS,
    )


@register
def coupalign_base() -> ModelConfig:
    """CoupAlign's parts with Swin-B and BERT-base."""
    return ModelConfig(
        recipe="coupalign_base",
        **swin_towers("base", INTERLEAVED),
        fusion=[{"name": "wpa"}] * 4,
        decoder={"name": "top_down", "width": 256},
        head={"name": "sentence_mask_alignment"},
        objectives=_LOSS,
    )
