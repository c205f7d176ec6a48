"""The first model of the book (chapter 05): late fusion, a top-down decoder, a fixed kernel.

Nothing in it is clever. It is what the four systems are measured against, and small enough to train on two CPU cores in
minutes. All sizes and training numbers are our decision, measured on the drawn scenes.
"""

from __future__ import annotations

from ris_lib.models.config import ModelConfig
from ris_lib.models.registry import register
from ris_lib.models.towers import tiny_towers


@register
def baseline_tiny() -> ModelConfig:
    """Late fusion at stride 8, top-down decoder with stride-2 detail, one fixed kernel.

    Example:
        >>> baseline_tiny().head["name"]
        'fixed_kernel'
    """
    return ModelConfig(
        recipe="baseline_tiny",
        **tiny_towers(),
        fusion=[None, None, None, {"name": "late", "layers": 2}],
        decoder={"name": "top_down", "width": 32},
        head={"name": "fixed_kernel"},
        objectives={"segmentation": {"weights": {"bce": 1.0, "dice": 1.0}}},
    )
