"""What the recipes of one size share: encoders, input, tokeniser and training defaults.

- ``tiny``: small towers for 96-pixel pictures; our decision throughout. All tiny recipes have the same towers; the
  image tower starts with weights that ship, the text tower with random ones, because hidden words, which it could be
  trained on, teach it that "red" and "blue" are alike: they stand in the same places. The image tower learns at a tenth
  of the rate, as CRIS's does, so that it does not unlearn what it knows; the study ``our_decisions`` compares both.
- ``small``: Swin-T and a 4-layer BERT, or CLIP's RN50, at 320 pixels; our decision, sized for one GPU of 16 GB.
- ``base``: the papers' sizes. Swin-B with window 12 and BERT-base at 480 pixels (LAVT, MagNet, LGFormer), or CLIP's
  RN101 at 416 pixels (CRIS).
"""

from __future__ import annotations

from typing import Any

from ris_lib.encoders.tiny_start import SHIPPED

_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
_CLIP = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}

#: All text layers before the first image stage meets a word (LAVT, LGFormer), or some of them at each stage (MagNet,
#: CoupAlign).
TEXT_FIRST, INTERLEAVED = "first", "interleaved"

_GROUPS = {
    "tiny": {TEXT_FIRST: [2, 0, 0, 0], INTERLEAVED: [1, 1, 0, 0]},
    "small": {TEXT_FIRST: [4, 0, 0, 0], INTERLEAVED: [1, 1, 1, 1]},
    "base": {TEXT_FIRST: [12, 0, 0, 0], INTERLEAVED: [3, 3, 3, 3]},
}

#: How LAVT, MagNet and CoupAlign (ours) bring logits to the input's size; LGFormer does not align corners.
CORNERS_ALIGNED = {"of": "logits", "mode": "bilinear", "align_corners": True}

#: CRIS resizes probabilities.
PROBABILITIES = {"of": "probabilities", "mode": "bicubic", "align_corners": True}


def tiny_towers(text: str = TEXT_FIRST) -> dict[str, Any]:
    """Entries of a ``_tiny`` configuration.

    Args:
        text: ``"first"`` or ``"interleaved"``.

    Example:
        >>> tiny_towers("interleaved")["text_tower"]["layers"]
        [1, 1, 0, 0]
    """
    return {
        "image_tower": {
            "name": "tiny",
            "widths": [24, 48, 64, 64],
            "strides": [4, 8, 8, 8],
            "depths": [1, 1, 1, 1],
            "attention": [0, 0, 1, 1],
            "detail_channels": 16,
            "start": SHIPPED,
        },
        "text_tower": {"name": "tiny", "width": 64, "layers": _GROUPS["tiny"][text]},
        "merge": {"channels": 16},
        "preprocess": {"size": [96, 96], "resize": "stretch", **_IMAGENET},
        "tokenizer": scenes_tokenizer(),
        "training": {
            "steps": 600,
            "learning_rate": 3e-3,
            "weight_decay": 0.01,
            "betas": [0.9, 0.98],
            "warmup_steps": 60,
            "schedule": "cosine",
            "images_per_step": 8,
            "sentences_per_image": 8,
            "gradient_clip": 1.0,
            "rate_factors": {"encoder.image_tower.": 0.1},
        },
    }


def scenes_tokenizer(length: int = 20) -> dict[str, Any]:
    """The tokeniser of every ``_tiny`` recipe: all words that the drawn scenes can say.

    Args:
        length: Longest sentence in tokens.

    Returns:
        What ``tokenizer_from_config`` takes.

    Example:
        >>> scenes_tokenizer()["kind"]
        'words'
    """
    from ris_lib.data.scenes import VOCABULARY

    return {"kind": "words", "vocabulary": list(VOCABULARY), "length": length}


def swin_towers(size: str, text: str = TEXT_FIRST) -> dict[str, Any]:
    """Entries of a configuration with Swin and BERT.

    The training defaults of ``base`` are LAVT's: AdamW at 5e-5, polynomial decay, 40 epochs of RefCOCO's 42,404 refs in
    batches of 32 (53,000 steps), one sentence of a ref at a time, no clipping. Those of ``small`` are ours.

    Args:
        size: ``"small"`` or ``"base"``.
        text: ``"first"`` or ``"interleaved"``.

    Example:
        >>> swin_towers("base")["image_tower"]["window"]
        12
    """
    base = size == "base"
    swin = {"embed_dim": 128, "depths": [2, 2, 18, 2], "heads": [4, 8, 16, 32], "window": 12, "drop_path": 0.3}
    swin_t = {"embed_dim": 96, "depths": [2, 2, 6, 2], "heads": [3, 6, 12, 24], "window": 7, "drop_path": 0.1}
    bert = {"width": 768, "heads": 12, "intermediate": 3072, "start": "google-bert/bert-base-uncased"}
    bert_s = {"width": 512, "heads": 8, "intermediate": 2048, "start": "google/bert_uncased_L-4_H-512_A-8"}
    start = "microsoft/swin-base-patch4-window12-384-in22k" if base else "microsoft/swin-tiny-patch4-window7-224"
    side = 480 if base else 320
    return {
        "image_tower": {"name": "swin", **(swin if base else swin_t), "start": start},
        "text_tower": {"name": "bert", "layers": _GROUPS[size][text], **(bert if base else bert_s)},
        "preprocess": {"size": [side, side], "resize": "stretch", **_IMAGENET},
        "tokenizer": {"kind": "wordpiece", "length": 20},
        "upsample": CORNERS_ALIGNED,
        "training": {
            "steps": 53_000 if base else 40_000,
            "learning_rate": 5e-5 if base else 1e-4,
            "weight_decay": 0.01,
            "betas": [0.9, 0.999],
            "warmup_steps": 0 if base else 500,
            "schedule": "polynomial",
            "images_per_step": 32 if base else 16,
            "sentences_per_image": 1,
            "gradient_clip": None if base else 1.0,
        },
    }


def clip_towers(size: str) -> dict[str, Any]:
    """Entries of a configuration with CLIP's ResNet and text transformer.

    The training defaults of ``base`` are CRIS's: Adam at 1e-4, a tenth of it for CLIP, 50 epochs of RefCOCO's 42,404
    refs in batches of 64 (33,100 steps), a tenth of the rate after 70 %. Ours: the positional
    embeddings follow their towers, where CRIS gives them the full rate, and all of ``small``.

    Args:
        size: ``"small"`` (RN50, 320 pixels) or ``"base"`` (RN101, 416 pixels).

    Example:
        >>> clip_towers("base")["image_tower"]["model"]
        'RN101'
    """
    base = size == "base"
    model, side = ("RN101", 416) if base else ("RN50", 320)
    return {
        "image_tower": {"name": "clip", "model": model, "start": "openai"},
        "text_tower": {"name": "clip", "model": model, "layers": [12, 0, 0, 0], "start": "openai"},
        "preprocess": {"size": [side, side], "resize": "letterbox_cris", **_CLIP},
        "tokenizer": {"kind": "clip", "length": 17},
        "upsample": PROBABILITIES,
        "threshold": 0.35,
        "training": {
            "steps": 33_100 if base else 40_000,
            "learning_rate": 1e-4,
            "weight_decay": 0.0,
            "betas": [0.9, 0.999],
            "warmup_steps": 0,
            "schedule": "step",
            "images_per_step": 64 if base else 16,
            "sentences_per_image": 1,
            "gradient_clip": None if base else 1.0,
            "rate_factors": {"encoder.image_tower.": 0.1, "encoder.text_tower.": 0.1},
        },
    }
