"""MagNet (Chng et al. 2024): mask grounding, the cross-modal alignment module, the cross-modal alignment loss.

Published: the encoder with CAM after every stage, the deformable pixel decoder and the query decoder with one query
(released code); mask grounding, its weight and the weights and temperatures of the alignment loss (abstract and the
authors' earlier scripts). Ours: the word side without the released code's mask defect (``language_side="ours"``), the
form of the two training losses, equal weights of cross-entropy and dice, the sizes of ``_tiny`` and ``_small``; in
``_tiny`` also the light decoder, the mask code ``region``, smaller weights of all losses, and the bias of each mask,
which the study ``our_decisions`` compares with none.
"""

from __future__ import annotations

from ris_lib.models.config import ModelConfig
from ris_lib.models.registry import register
from ris_lib.models.towers import INTERLEAVED, swin_towers, tiny_towers

_LOSS = {
    "segmentation": {"deep": True, "align_corners": True, "weights": {"bce": 1.0, "dice": 1.0}},
    "cross_modal_alignment": {},
    "mask_grounding": {},
}


@register
def magnet_tiny() -> ModelConfig:
    """MagNet's parts at the size of the drawn scenes, with the light decoder.

    Example:
        >>> sorted(magnet_tiny().objectives)
        ['cross_modal_alignment', 'mask_grounding', 'segmentation']
    """
    return ModelConfig(
        recipe="magnet_tiny",
        **tiny_towers(INTERLEAVED),
        fusion=[{"name": "cam"}] * 4,
        decoder={"name": "light", "width": 32, "word_layers": 0},
        head={"name": "masked_query", "layers": 3, "heads": 4, "feed_forward": 128, "width": 64, "foreground": 0.03},
        objectives={
            "segmentation": {"deep": True, "weights": {"bce": 0.25, "dice": 0.25}},
            "cross_modal_alignment": {
                "limit": 96,
                "weights": {"cal_positive": 0.1, "cal_negative": 0.1, "cal_language": 0.1},
            },
            "mask_grounding": {
                "width": 64,
                "layers": 2,
                "heads": 4,
                "feed_forward": 128,
                "dropout": 0.0,
                "mask_code": "region",
                "most": 4,
                "weights": {"mask_grounding": 0.1},
            },
        },
    )


@register
def magnet_small() -> ModelConfig:
    """MagNet's parts with Swin-T and a 4-layer BERT; mask grounding 256 wide with two layers."""
    return ModelConfig(
        recipe="magnet_small",
        **swin_towers("small", INTERLEAVED),
        fusion=[{"name": "cam"}] * 4,
        decoder={"name": "deformable"},
        head={"name": "masked_query"},
        objectives={**_LOSS, "mask_grounding": {"width": 256, "layers": 2, "feed_forward": 1024}},
    )


@register
def magnet_base() -> ModelConfig:
    """MagNet with Swin-B and BERT-base. Published checkpoints fit it with ``fusion={"language_side": "released"}``."""
    return ModelConfig(
        recipe="magnet_base",
        **swin_towers("base", INTERLEAVED),
        fusion=[{"name": "cam"}] * 4,
        decoder={"name": "deformable"},
        head={"name": "masked_query"},
        objectives=_LOSS,
    )
