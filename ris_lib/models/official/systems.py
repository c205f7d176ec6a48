"""The code bases whose checkpoints are understood: how to recognise one, and which model and rules of ours apply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from ris_lib.models.config import ModelConfig
from ris_lib.models.official.bert import BERT
from ris_lib.models.official.cris import CRIS
from ris_lib.models.official.lavt import LAVT
from ris_lib.models.official.lgformer import LGFORMER
from ris_lib.models.official.magnet import MAGNET
from ris_lib.models.official.rules import Rule, under
from ris_lib.models.registry import recipe

#: LAVT-one keeps BERT inside of the model, under another name; the weights are LAVT's.
LAVT_ONE = [
    *(rule for rule in LAVT if not rule.pattern.startswith(r"bert_model\.")),
    *under(r"text_encoder\.", "encoder.text_tower.", BERT),
]


class System(NamedTuple):
    """A code base.

    Args:
        title: Its name.
        source: Whose checkpoint it is, for the model card.
        config: The configuration of our model, from the weights.
        rules: What becomes of its names. They also recognise it: a file is of the code base that knows most of its
            names.
        licence: Of its published weights, as far as it is known.

    Example:
        >>> [system.title for system in SYSTEMS]
        ['LAVT', 'LAVT-one', 'LGFormer', 'CRIS', 'MagNet']
    """

    title: str
    source: str
    config: Callable[[Mapping[str, Tensor]], ModelConfig]
    rules: list[Rule]
    licence: str


def _cris_config(weights: Mapping[str, Tensor]) -> ModelConfig:
    """RN50 or RN101, by the number of blocks in the third layer: 6 or 23."""
    model = "RN101" if any(name.startswith("backbone.visual.layer3.6.") for name in weights) else "RN50"
    return recipe("cris_base").override(image_tower={"model": model}, text_tower={"model": model})


#: All of them.
SYSTEMS = (
    System(
        "LAVT",
        "yz93/LAVT-RIS (Google Drive)",
        lambda weights: recipe("lavt_base"),
        LAVT,
        "none is stated for the weights (the code is GPL-3.0). You may have no right to pass them on.",
    ),
    System(
        "LAVT-one",
        "yz93/LAVT-RIS (Google Drive)",
        lambda weights: recipe("lavt_base"),
        LAVT_ONE,
        "none is stated for the weights (the code is GPL-3.0). You may have no right to pass them on.",
    ),
    System(
        "LGFormer",
        "mqchen1993/LGFormer (Google Drive)",
        lambda weights: recipe("lgformer_base"),
        LGFORMER,
        "none is stated, nor is one for the code. You may have no right to pass them on.",
    ),
    System(
        "CRIS",
        "DerrickWang005/CRIS.pytorch",
        _cris_config,
        CRIS,
        "none is stated for the weights (the code is MIT). You may have no right to pass them on.",
    ),
    System(
        "MagNet",
        "yxchng/mask-grounding (huggingface.co/yxchng/magnet_weights)",
        lambda weights: recipe("magnet_base").override(fusion={"language_side": "released"}),
        MAGNET,
        "none is stated for the weights (the code is AGPL-3.0). You may have no right to pass them on.",
    ),
)
