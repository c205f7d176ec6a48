"""The first model of the book (chapter 05): late fusion, a top-down decoder, a fixed kernel.

Nothing in it is clever. It is what the four systems are measured against, and small enough to train on two CPU cores in
minutes. All sizes and training numbers are our decision, measured on the drawn scenes.
"""

from __future__ import annotations

from ris_lib.models.config import ModelConfig
from ris_lib.models.registry import register


def scenes_tokenizer(length: int = 20) -> dict:
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


@register
def baseline_tiny() -> ModelConfig:
    """Late fusion at stride 8, top-down decoder with stride-2 detail, one fixed kernel.

    Example:
        >>> baseline_tiny().head["name"]
        'fixed_kernel'
    """
    return ModelConfig(
        recipe="baseline_tiny",
        image_tower={
            "name": "tiny",
            "widths": [24, 48, 64, 64],
            "strides": [4, 8, 8, 8],
            "depths": [1, 1, 1, 1],
            "detail_channels": 16,
        },
        text_tower={"name": "tiny", "width": 64, "layers": [1, 0, 0, 0]},
        fusion=[None, None, None, {"name": "late", "layers": 2}],
        decoder={"name": "top_down", "width": 32},
        merge={"channels": 16},
        head={"name": "fixed_kernel"},
        objectives={"segmentation": {"weights": {"bce": 1.0, "dice": 1.0}}},
        preprocess={
            "size": [96, 96],
            "resize": "stretch",
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        },
        tokenizer=scenes_tokenizer(),
        training={
            "steps": 600,
            "learning_rate": 3e-3,
            "weight_decay": 0.01,
            "betas": [0.9, 0.98],
            "warmup_steps": 60,
            "schedule": "cosine",
            "images_per_step": 8,
            "sentences_per_image": 8,
            "gradient_clip": 1.0,
        },
    )
