"""LAVT's weights under our names.

A file of LAVT's holds two state dicts, ``model`` (image side and decoder) and ``bert_model``. Here the names of the
second begin with ``bert_model.``, as ``read_checkpoint`` hands them over.

Source: names of the state dicts of LAVT's released code (yz93/LAVT-RIS).
"""

from __future__ import annotations

from ris_lib.models.official.bert import BERT
from ris_lib.models.official.rules import Rule, drop_kernel, under
from ris_lib.models.official.swin import SWIN

#: Why biases are left behind: the block is built without them, see ``ris_lib.fusion.pwam``.
CANCELS_IN_NORM = "a constant in front of an instance norm goes with the mean"
CANCELS_IN_SOFTMAX = "a constant added to every key moves all scores of a pixel alike, which softmax does not see"
#: Why the gate of the last stage is left behind.
NO_NEXT_STAGE = "it feeds a next image stage, and there is none"

#: What the attention of LAVT and MagNet has in common: from words to a residual for pixels.
SHARED_ATTENTION = [
    Rule(r"vis_project\.0\.weight", "look.weight", drop_kernel),
    Rule(r"vis_project\.0\.bias", "look.bias"),
    Rule(r"image_lang_att\.f_query\.0\.weight", "query.weight", drop_kernel),
    Rule(r"image_lang_att\.f_key\.0\.weight", "key.weight", drop_kernel),
    Rule(r"image_lang_att\.f_key\.0\.bias", None, why=CANCELS_IN_SOFTMAX),
    Rule(r"image_lang_att\.f_value\.0\.weight", "value.weight", drop_kernel),
    Rule(r"image_lang_att\.W\.0\.weight", "out.weight", drop_kernel),
    Rule(r"project_mm\.0\.weight", "mix.weight", drop_kernel),
    Rule(r"project_mm\.0\.bias", "mix.bias"),
]

#: One ``WordsToPixels`` with instance norm.
WORDS_TO_PIXELS = [
    *SHARED_ATTENTION,
    Rule(r"image_lang_att\.(f_query|f_value|W)\.0\.bias", None, why=CANCELS_IN_NORM),
]

#: The gate into the next stage.
GATE = [Rule(r"res_gate\.0\.weight", "gate.first.weight"), Rule(r"res_gate\.2\.weight", "gate.last.weight")]

#: One ``PWAM`` without its final norm, which LAVT keeps outside of the stage.
PWAM = [*under(r"fusion\.", "residual.", WORDS_TO_PIXELS), *GATE]

#: The four blocks ``PWAM`` of a whole backbone, with their final norms. The last one has no gate.
FUSIONS = [
    Rule(r"layers\.3\.res_gate\.[02]\.weight", None, why=NO_NEXT_STAGE),
    *(rule for k in range(4) for rule in under(rf"layers\.{k}\.", f"{k}.", PWAM)),
    Rule(r"norm([0-3])\.(weight|bias)", r"\1.norm.\2"),
]

#: ``TopDown`` with ``norm="batch"`` and ``residual=False``.
DECODER = [
    rule
    for k in (4, 3, 2)
    for rule in (
        Rule(rf"conv1_{k}\.weight", f"levels.{4 - k}.join.weight"),
        Rule(rf"bn1_{k}\.(\w+)", rf"levels.{4 - k}.norm.\1"),
        Rule(rf"conv2_{k}\.weight", f"levels.{4 - k}.refine.0.weight"),
        Rule(rf"bn2_{k}\.(\w+)", rf"levels.{4 - k}.refine.1.\1"),
    )
]

#: ``FixedKernel`` with two classes.
HEAD = [Rule(r"conv1_1\.(weight|bias)", r"kernel.\1")]

#: A whole model: ``SwinImage``, ``BertText``, ``PWAM`` at all stages, ``TopDown``, ``FixedKernel``.
LAVT = [
    *under(r"backbone\.", "encoder.image_tower.", SWIN),
    *under(r"backbone\.", "encoder.fusions.", FUSIONS),
    *under(r"classifier\.", "decoder.", DECODER),
    *under(r"classifier\.", "head.", HEAD),
    *under(r"bert_model\.", "encoder.text_tower.", BERT),
]
