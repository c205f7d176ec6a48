"""LGFormer's weights under our names: the sibling that AlignFormer's parts were taken from.

Source: names of the state dict of LGFormer's released code (Wei et al.).
"""

from __future__ import annotations

from ris_lib.models.official.bert import BERT
from ris_lib.models.official.lgformer_pixel_decoder import PIXEL_DECODER
from ris_lib.models.official.rules import Rule, drop_kernel, under
from ris_lib.models.official.swin import SWIN

#: Why biases are left behind: the block is built without them.
CANCELS_IN_NORM = "a constant in front of an instance norm goes with the mean"
#: Why both gates of the last stage are left behind.
NO_NEXT_STAGE = "it feeds a next stage, and there is none: the decoder reads the residuals without gates"

#: One fusion block, without its gates and its output norm (LGFormer keeps these outside of the block).
VLBA = [
    Rule(r"vis_project\.0\.weight", "pixel_lane.project.0.weight", drop_kernel),
    Rule(r"vis_project\.0\.bias", "pixel_lane.project.0.bias"),
    Rule(r"lang_project\.0\.weight", "word_lane.project.0.weight", drop_kernel),
    Rule(r"lang_project\.0\.bias", "word_lane.project.0.bias"),
    Rule(r"image_lang_att\.query\.0\.weight", "attention.query.weight", drop_kernel),
    Rule(r"image_lang_att\.key\.weight", "attention.key.weight", drop_kernel),
    Rule(r"image_lang_att\.key\.bias", "attention.key.bias"),
    Rule(r"image_lang_att\.value\.weight", "attention.word_value.weight", drop_kernel),
    Rule(r"image_lang_att\.W\.0\.weight", "attention.pixel_out.weight", drop_kernel),
    Rule(r"image_lang_att\.sym_value\.0\.weight", "attention.pixel_value.weight", drop_kernel),
    Rule(r"image_lang_att\.sym_W\.weight", "attention.word_out.weight", drop_kernel),
    Rule(r"image_lang_att\.sym_W\.bias", "attention.word_out.bias"),
    Rule(r"image_lang_att\.(query\.0|value|W\.0|sym_value\.0)\.bias", None, why=CANCELS_IN_NORM),
    # the second layer stands at 3 there, because a dropout lies between
    Rule(r"project_mm\.0\.weight", "pixel_lane.fuse.0.weight", drop_kernel),
    Rule(r"project_mm\.0\.bias", "pixel_lane.fuse.0.bias"),
    Rule(r"project_mm\.3\.weight", "pixel_lane.fuse.2.weight", drop_kernel),
    Rule(r"project_mm\.3\.bias", "pixel_lane.fuse.2.bias"),
    Rule(r"sym_project_mm\.0\.weight", "word_lane.fuse.0.weight", drop_kernel),
    Rule(r"sym_project_mm\.0\.bias", "word_lane.fuse.0.bias"),
    Rule(r"sym_project_mm\.3\.weight", "word_lane.fuse.2.weight", drop_kernel),
    Rule(r"sym_project_mm\.3\.bias", "word_lane.fuse.2.bias"),
]

#: The gates of a stage.
GATES = [
    Rule(r"res_gate\.([02])\.weight", r"pixel_lane.gate.\1.weight"),
    Rule(r"sym_res_gate\.([02])\.weight", r"word_lane.gate.\1.weight"),
]

#: What refines the centre by looking at the picture.
GENERATOR = [
    Rule(r"query_embed\.weight", "query_position"),
    Rule(r"level_embed\.weight", "level_embedding"),
    Rule(r"layers\.(\d+)\.cross_attn\.q_proj_weight", r"layers.\1.attention.query.weight"),
    Rule(r"layers\.(\d+)\.cross_attn\.k_proj_weight", r"layers.\1.attention.key.weight"),
    Rule(r"layers\.(\d+)\.cross_attn\.v_proj_weight", r"layers.\1.attention.value.weight"),
    Rule(
        r"layers\.(\d+)\.cross_attn\.in_proj_bias",
        tuple(rf"layers.\1.attention.{name}.bias" for name in ("query", "key", "value")),
    ),
    Rule(r"layers\.(\d+)\.cross_attn\.out_proj\.(weight|bias)", r"layers.\1.attention.out.\2"),
    Rule(r"layers\.(\d+)\.norm_ca\.(weight|bias)", r"layers.\1.attention_norm.\2"),
    Rule(r"layers\.(\d+)\.ffn\.0\.(weight|bias)", r"layers.\1.forward_net.0.\2"),
    Rule(r"layers\.(\d+)\.ffn\.3\.(weight|bias)", r"layers.\1.forward_net.2.\2"),
    Rule(r"layers\.(\d+)\.norm_ffn\.(weight|bias)", r"layers.\1.forward_norm.\2"),
]

#: The head: pooled words, generator, and what turns a state into a centre and a bias.
HEAD = [
    Rule(r"txt_proj\.(weight|bias)", r"start.\1"),
    *under(r"dynamic_conv_gen_body\.", "generator.", GENERATOR),
    Rule(r"dynamic_conv_gen_head\.([024])\.(weight|bias)", r"read_out.\1.\2"),
]

#: Blocks ``VLBA`` of a whole backbone with their gates and output norms. The last stage has no gate.
FUSIONS = [
    Rule(r"layers\.3\.(sym_)?res_gate\.[02]\.weight", None, why=NO_NEXT_STAGE),
    *(rule for k in range(4) for rule in under(rf"layers\.{k}\.", f"{k}.", [*under(r"fusion\.", "", VLBA), *GATES])),
    Rule(r"norm([0-3])\.(weight|bias)", r"\1.norm.\2"),
]

#: Decoder and head, which LGFormer keeps in one module: ``Deformable(levels=3, words=True)`` and ``CentreEmbedding``.
CLASSIFIER = [*under(r"pix_dec\.", "decoder.", PIXEL_DECODER), *under("", "head.", HEAD)]

#: A whole model: ``SwinImage``, ``BertText``, ``VLBA`` at all stages, ``Deformable``, ``CentreEmbedding``.
LGFORMER = [
    *under(r"backbone\.", "encoder.image_tower.", SWIN),
    *under(r"backbone\.", "encoder.fusions.", FUSIONS),
    *under(r"classifier\.", "", CLASSIFIER),
    *under(r"text_encoder\.", "encoder.text_tower.", BERT),
]
