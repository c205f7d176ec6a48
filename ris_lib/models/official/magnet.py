"""MagNet's encoder weights under our names: the alignment module's image and language sides.

Source: names of the state dict of MagNet's released code (yxchng/mask-grounding).
"""

from __future__ import annotations

from ris_lib.models.official.bert import BERT
from ris_lib.models.official.lavt import CANCELS_IN_NORM, GATE, NO_NEXT_STAGE, SHARED_ATTENTION
from ris_lib.models.official.magnet_decoder import PIXEL_DECODER, QUERY_DECODER
from ris_lib.models.official.rules import Rule, drop_kernel, under
from ris_lib.models.official.swin import SWIN

#: Why weights are left behind.
NO_NEXT_GROUP = "it feeds a next text group, and there is none"
NEVER_APPLIED = "a norm whose result the released code does not use"

#: One ``WordsToPixels`` with layer norm.
WORDS_TO_PIXELS = [
    *SHARED_ATTENTION,
    Rule(r"image_lang_att\.f_value\.0\.bias", "value.bias"),
    Rule(r"image_lang_att\.f_query\.0\.bias", "query.bias"),
    Rule(r"image_lang_att\.f_query\.1\.(weight|bias)", r"query_norm.\1"),
    Rule(r"image_lang_att\.W\.0\.bias", "out.bias"),
    Rule(r"image_lang_att\.W\.1\.(weight|bias)", r"out_norm.\1"),
]

#: One pooled branch; the first group is its place among the branches.
POOLS = [
    Rule(r"pyramids\.(\d+)\.1\.weight", r"pools.\1.narrow.0.weight", drop_kernel),
    Rule(r"pyramids\.(\d+)\.2\.(weight|bias)", r"pools.\1.narrow.1.\2"),
    Rule(r"pyramids\.(\d+)\.3\.weight", r"pools.\1.narrow.2.weight", drop_kernel),
    Rule(r"pyramids\.(\d+)\.5\.weight", r"pools.\1.narrow.4.weight", drop_kernel),
    *(rule for k in range(4) for rule in under(rf"fusions\.{k}\.", f"pools.{k}.residual.", WORDS_TO_PIXELS)),
]

#: The image side of one ``CAM``.
IMAGE_SIDE = [
    *under(r"fusion\.", "residual.", WORDS_TO_PIXELS),
    *POOLS,
    Rule(r"mixer\.([012])\.(weight|bias)", r"mixer.\1.\2"),
    *GATE,
]

#: One ``PixelsToWords`` of the forms "released" and "fixed01".
PIXELS_TO_WORDS = [
    *(rule for rule in SHARED_ATTENTION if "f_key" not in rule.pattern),
    Rule(r"image_lang_att\.f_query\.0\.bias", "query.bias"),
    Rule(r"image_lang_att\.f_key\.0\.weight", "key.weight", drop_kernel),
    Rule(r"image_lang_att\.(f_key|f_value|W)\.0\.bias", None, why=CANCELS_IN_NORM),
]


def language_side(k: int) -> list[Rule]:
    """The language side of the ``CAM`` at stage ``k`` (0 to 3), of the forms "released" and "fixed01".

    Example:
        >>> from ris_lib.models.official.rules import left_behind
        >>> left_behind(["norms.0.weight", "res_gates.0.2.weight"], language_side(0))
        {'norms.0.weight': 'a norm whose result the released code does not use'}
    """
    return [
        *under(rf"pwams\.{k}\.", "word_residual.", PIXELS_TO_WORDS),
        Rule(rf"res_gates\.{k}\.0\.weight", "word_gate.first.weight"),
        Rule(rf"res_gates\.{k}\.2\.weight", "word_gate.last.weight"),
        Rule(rf"norms\.{k}\.(weight|bias)", None, why=NEVER_APPLIED),
    ]


#: All of ``image_model``, into a ``StagedEncoder``. The last stage has no gate.
IMAGE_MODEL = [
    Rule(r"layers\.3\.res_gate\.[02]\.weight", None, why=NO_NEXT_STAGE),
    *under("", "image_tower.", SWIN),
    *(rule for k in range(4) for rule in under(rf"layers\.{k}\.", f"fusions.{k}.", IMAGE_SIDE)),
    Rule(r"norm[0-3]\.(weight|bias)", None, why=NEVER_APPLIED),
]

#: All of ``language_model``, into a ``StagedEncoder``. The last stage has no language side.
LANGUAGE_MODEL = [
    Rule(r"(pwams|res_gates)\.3\..*", None, why=NO_NEXT_GROUP),
    *(rule for k in range(4) for rule in under("", f"fusions.{k}.", language_side(k))),
    *under("", "text_tower.", BERT),
]

#: A whole model: ``SwinImage``, ``BertText``, ``CAM`` at all stages, ``Deformable``, ``MaskedQuery``.
MAGNET = [
    *under(r"image_model\.", "encoder.", IMAGE_MODEL),
    *under(r"language_model\.", "encoder.", LANGUAGE_MODEL),
    *under(r"classifier\.pixel_decoder\.", "decoder.", PIXEL_DECODER),
    *under(r"classifier\.predictor\.", "head.", QUERY_DECODER),
    Rule(r"lang_proj\.(weight|bias)", None, why="a projection for a training loss"),
]
