"""What is trained, and which comparisons are drawn from it.

A variant is a recipe with changed entries; a study is a question, answered by pairs of variants that differ in one
thing. Variants are shared: ``lavt`` is trained once a seed, for every study that needs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ris_lib._names import unknown
from ris_lib.models import recipe


@dataclass(frozen=True)
class Variant:
    """One model to train.

    Args:
        title: As tables name it.
        model: Name of the recipe.
        changes: Changed entries of the recipe, see ``ModelConfig.override``.
        settings: Further entries of ``TrainConfig``.
    """

    title: str
    model: str
    changes: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A question and the pairs of variants that answer it.

    Args:
        question: In words.
        pairs: Names of variants, (with it, without it).
    """

    question: str
    pairs: tuple[tuple[str, str], ...]


#: Seeds of every ablation, and steps of every run. Pictures and sentences of a step: the tiny recipes' own, 8 and 8.
SEEDS = (0, 1, 2, 3, 4)
STEPS = 400
#: Where the tables read: the first seeds may be looked at while choosing, ``val`` is not what is reported for weights.
SPLIT = "val"

# A part that is put into another model is the one of its own recipe.
_ALIGNER = dict(recipe("eavl_tiny").head)
_GROUNDING = dict(recipe("magnet_tiny").objectives["mask_grounding"])
_MASK, _CONTRAST, _ALIGNMENT = "segmentation", "instance_contrast", "cross_modal_alignment"


def _eavl(title: str, **head: Any) -> Variant:
    return Variant(title, "eavl_tiny", {"head": head} if head else {})


def _coupalign(title: str, head: Any, **changes: Any) -> Variant:
    """CoupAlign without its contrast between pixels, which is not what these rows are about."""
    return Variant(title, "coupalign_tiny", {"head": head, "objectives": [_MASK], **changes})


def _magnet(title: str, **grounding: Any) -> Variant:
    return Variant(title, "magnet_tiny", {"objectives": {_MASK: None, _ALIGNMENT: None, "mask_grounding": grounding}})


VARIANTS: dict[str, Variant] = {
    # EAVL: does a dynamic kernel help, do many, and how are they mixed?
    "eavl": _eavl("4 kernels, probabilities mixed by scores"),
    "eavl_fixed": _eavl("one fixed kernel", name="fixed_kernel"),
    "eavl_sentence": _eavl("one kernel from the sentence", name="sentence_kernel"),
    "eavl_1": _eavl("1 kernel from a query", queries=1),
    "eavl_2": _eavl("2 kernels", queries=2),
    "eavl_8": _eavl("8 kernels", queries=8),
    "eavl_16": _eavl("16 kernels", queries=16),
    "eavl_uniform": _eavl("4 kernels, all scores equal", scores="uniform"),
    "eavl_logit": _eavl("4 kernels, logits mixed", mix="logit"),
    # MagNet: mask grounding, in its own model and in two others.
    "magnet": Variant("MagNet", "magnet_tiny"),
    "magnet_no_grounding": Variant("MagNet without mask grounding", "magnet_tiny", {"objectives": [_MASK, _ALIGNMENT]}),
    "magnet_words_only": _magnet("MagNet, hidden words named from the other words", image=False, mask_code="none"),
    "magnet_no_mask": _magnet("MagNet, hidden words named from words and picture", mask_code="none"),
    "lavt": Variant("LAVT", "lavt_tiny"),
    "lavt_grounding": Variant(
        "LAVT with mask grounding", "lavt_tiny", {"objectives": {_MASK: None, "mask_grounding": _GROUNDING}}
    ),
    "alignformer": Variant("AlignFormer", "alignformer_tiny"),
    "alignformer_grounding": Variant(
        "AlignFormer with mask grounding",
        "alignformer_tiny",
        {"objectives": {_MASK: None, _CONTRAST: None, "mask_grounding": _GROUNDING}},
    ),
    # Attention one way and both ways.
    "alignformer_to_pixels": Variant(
        "AlignFormer, words to pixels only", "alignformer_tiny", {"fusion": {"direction": "to_pixels"}}
    ),
    "alignformer_to_words": Variant(
        "AlignFormer, pixels to words only", "alignformer_tiny", {"fusion": {"direction": "to_words"}}
    ),
    "coupalign_one_way": _coupalign("words to pixels, fixed kernel", "fixed_kernel", fusion={"direction": "to_pixels"}),
    "coupalign_two_way": _coupalign("both ways, fixed kernel", "fixed_kernel"),
    # CoupAlign: many proposals, mixed before or after the sigmoid.
    "coupalign_single": _coupalign("one proposal", {"queries": 1}),
    "coupalign_linear": _coupalign("8 proposals, mixed linearly", {"variant": "linear"}),
    "coupalign_mixture": _coupalign("8 proposals, probabilities mixed", {}),
    # Contrastive losses.
    "coupalign": Variant("CoupAlign", "coupalign_tiny"),
    "alignformer_no_contrast": Variant(
        "AlignFormer without instance contrast", "alignformer_tiny", {"objectives": [_MASK]}
    ),
    "magnet_no_alignment": Variant(
        "MagNet without the alignment loss", "magnet_tiny", {"objectives": [_MASK, "mask_grounding"]}
    ),
    # EAVL's head in another model.
    "lavt_aligner": Variant("LAVT with EAVL's head", "lavt_tiny", {"head": _ALIGNER}),
    # The common start.
    "lavt_fresh": Variant(
        "LAVT, both towers from random weights, at the full rate", "lavt_tiny", settings={"start": "fresh"}
    ),
    "lavt_hidden_words": Variant(
        "LAVT, the text tower from hidden words", "lavt_tiny", {"text_tower": {"start": "tiny_encoders"}}
    ),
    # Our own decisions for models of this size.
    "lavt_full_rate": Variant(
        "LAVT, the image tower at the full rate", "lavt_tiny", {"training": {"rate_factors": {}}}
    ),
    "eavl_plain_neck": Variant(
        "EAVL with CRIS's neck as published",
        "eavl_tiny",
        {"decoder": {"residual": False, "centred": False, "outlines": False}},
    ),
    "magnet_no_bias": Variant(
        "MagNet, masks without a bias as published", "magnet_tiny", {"head": {"foreground": None}}
    ),
    # What is possible without language.
    "lavt_no_sentence": Variant("LAVT, every sentence the same", "lavt_tiny", settings={"same_sentence": "the thing"}),
    "lavt_shuffled": Variant("LAVT, sentences of other pictures", "lavt_tiny", settings={"shuffle_sentences": True}),
}

STUDIES: dict[str, Study] = {
    "dynamic_kernel": Study(
        "Does a kernel that is made anew for every sentence help, and do several?",
        (
            ("eavl_sentence", "eavl_fixed"),
            ("eavl_1", "eavl_fixed"),
            ("eavl", "eavl_fixed"),
            ("eavl_1", "eavl_sentence"),
            ("eavl_2", "eavl_1"),
            ("eavl", "eavl_1"),
            ("eavl_8", "eavl_1"),
            ("eavl_16", "eavl_1"),
            ("eavl", "eavl_uniform"),
            ("eavl", "eavl_logit"),
        ),
    ),
    "mask_grounding": Study(
        "Does naming hidden words help to find what they mean, in MagNet and in models that were made without it?",
        (
            ("magnet", "magnet_no_grounding"),
            ("lavt_grounding", "lavt"),
            ("alignformer_grounding", "alignformer"),
        ),
    ),
    "hidden_words": Study(
        "What must a model be told to name a hidden word, and does it matter for the masks?",
        (
            ("magnet_no_mask", "magnet_words_only"),
            ("magnet", "magnet_words_only"),
            ("magnet", "magnet_no_mask"),
        ),
    ),
    "both_ways": Study(
        "Is it worth the way back from pixels to words?",
        (
            ("alignformer", "alignformer_to_pixels"),
            ("alignformer", "alignformer_to_words"),
            ("coupalign_two_way", "coupalign_one_way"),
        ),
    ),
    "mixture": Study(
        "Is a mixture of masks more than one mask?",
        (
            ("coupalign_linear", "coupalign_single"),
            ("coupalign_mixture", "coupalign_linear"),
            ("coupalign_mixture", "coupalign_single"),
            ("coupalign_single", "coupalign_two_way"),
        ),
    ),
    "contrast": Study(
        "Do the contrastive losses help?",
        (
            ("alignformer", "alignformer_no_contrast"),
            ("coupalign", "coupalign_mixture"),
            ("magnet", "magnet_no_alignment"),
        ),
    ),
    "aligner_in_lavt": Study("Does EAVL's head help another model?", (("lavt_aligner", "lavt"),)),
    "common_start": Study(
        "What are encoders worth that were trained before?",
        (("lavt", "lavt_fresh"), ("lavt_hidden_words", "lavt")),
    ),
    "our_decisions": Study(
        "What are our own decisions worth, those that training led us to?",
        (("lavt", "lavt_full_rate"), ("eavl", "eavl_plain_neck"), ("magnet", "magnet_no_bias")),
    ),
    "without_language": Study(
        "How much is understood, and how much is guessed from where objects usually are?",
        (("lavt", "lavt_no_sentence"), ("lavt", "lavt_shuffled")),
    ),
}


def variants_of(study: str) -> list[str]:
    """Names of the variants that a study compares, each once, in the order of its pairs.

    Raises:
        ValueError: There is no such study.

    Example:
        >>> variants_of("aligner_in_lavt")
        ['lavt', 'lavt_aligner']
    """
    if study not in STUDIES:
        raise unknown("study", study, STUDIES)
    return list(dict.fromkeys(name for with_it, without in STUDIES[study].pairs for name in (without, with_it)))
