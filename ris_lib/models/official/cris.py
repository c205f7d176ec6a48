"""From the names of CRIS's released code to ours: CLIP's towers, the neck, the decoder, the projector.

Source: names of DerrickWang005/CRIS.pytorch; names of CLIP itself inside ``backbone``. The published files were saved
from a parallel wrapper, so their names start with ``module.``.
"""

from __future__ import annotations

from ris_lib.models.official.rules import Rule, under

_COUNTER = Rule(
    r".*num_batches_tracked",
    None,
    why="a counter that batch norm with a fixed momentum never reads",
)

#: Convolution and norm of one ``ConvNormAct``; running statistics included.
_CONV_NORM = [_COUNTER, Rule(r"(0\.weight|1\.(?:weight|bias|running_mean|running_var))", r"\1")]

#: Convolution and norm where ours stand in a ``SplitJoin``.
_JOIN = [
    _COUNTER,
    Rule(r"0\.weight", "conv.weight"),
    Rule(r"1\.(weight|bias|running_mean|running_var)", r"norm.\1"),
]

#: The attention pool: AttentionPool2d -> GridAttentionPool.
ATTENTION_POOL = [
    _COUNTER,
    Rule(r"positional_embedding", "positional_embedding", change=lambda table: table[1:]),  # row 0: the mean token
    Rule(r"([kqvc]_proj\.(?:weight|bias)|connect\.[01]\..*)", r"\1"),
]

#: CLIP's network with the pool: ModifiedResNet -> ClipImage.
CLIP_IMAGE = [
    *under(r"attnpool\.", "net.attnpool.", ATTENTION_POOL),
    _COUNTER,
    Rule(r"((?:conv[123]|bn[123]|layer[1-4])\..*)", r"net.\1"),
]

#: CLIP's text tower: CLIP -> ClipText.
CLIP_TEXT = [
    Rule(r"transformer\.resblocks\.(\d+\..*)", r"blocks.\1"),
    Rule(r"(positional_embedding|text_projection|token_embedding\.weight|ln_final\.(?:weight|bias))", r"\1"),
    Rule(r"logit_scale", None, why="the temperature of CLIP's own contrastive loss; no mask depends on it"),
]

#: One convolution with coordinates: CoordConv -> ConvNormAct.
COORD_CONV = under(r"conv1\.", "", _CONV_NORM)

#: The neck: FPN -> FusionNeck.
NECK = [
    _COUNTER,
    Rule(r"txt_proj\.0\.weight", "sentence_in.weight"),
    Rule(r"txt_proj\.1\.(.*)", r"sentence_norm.\1"),
    Rule(r"norm_layer\.0\.(.*)", r"coarse_norm.\1"),
    *under(r"f1_v_proj\.", "coarse_in.", _CONV_NORM),
    *under(r"f2_v_proj\.", "middle_in.", _CONV_NORM),
    *under(r"f2_cat\.", "middle_join.", _JOIN),
    *under(r"f3_v_proj\.", "fine_in.", _CONV_NORM),
    *under(r"f3_cat\.", "fine_join.", _JOIN),
    *under(r"f4_proj5\.", "coarse_out.", _CONV_NORM),
    *under(r"f4_proj4\.", "middle_out.", _CONV_NORM),
    *under(r"f4_proj3\.", "fine_out.", _CONV_NORM),
    *under(r"aggr\.", "gather.", _CONV_NORM),
    *under(r"coordconv\.0\.", "locate.", COORD_CONV),
    *under(r"coordconv\.1\.", "settle.", _CONV_NORM),
]


def _attention(theirs: str, ours: str) -> list[Rule]:
    """torch's attention, which keeps three projections in one matrix -> ours, which names them."""
    return [
        Rule(
            rf"(layers\.\d+)\.{theirs}\.in_proj_{kind}",
            tuple(rf"\1.{ours}.{name}.{kind}" for name in ("query", "key", "value")),
        )
        for kind in ("weight", "bias")
    ] + [Rule(rf"(layers\.\d+)\.{theirs}\.out_proj\.(weight|bias)", rf"\1.{ours}.out.\2")]


#: The vision-language decoder: TransformerDecoder -> PixelWordDecoder.
PIXEL_WORDS = [
    *_attention("self_attn", "pixel_attention"),
    *_attention("multihead_attn", "word_attention"),
    Rule(r"(layers\.\d+)\.norm1\.(weight|bias)", r"\1.pixel_norm.\2"),
    Rule(r"(layers\.\d+)\.self_attn_norm\.(weight|bias)", r"\1.pixel_out_norm.\2"),
    Rule(r"(layers\.\d+)\.norm2\.(weight|bias)", r"\1.word_norm.\2"),
    Rule(r"(layers\.\d+)\.cross_attn_norm\.(weight|bias)", r"\1.word_out_norm.\2"),
    Rule(r"(layers\.\d+)\.norm3\.(weight|bias)", r"\1.forward_norm.\2"),
    Rule(r"(layers\.\d+)\.ffn\.([034])\.(weight|bias)", r"\1.forward_net.\2.\3"),
    Rule(r"norm\.(weight|bias)", r"norm.\1"),
]

#: The visual half of the projector -> Upsampler.
UPSAMPLER = [
    _COUNTER,
    *under(r"vis\.1\.", "first.", _CONV_NORM),
    *under(r"vis\.3\.", "second.", _CONV_NORM),
    Rule(r"vis\.4\.(weight|bias)", r"out.\1"),
]

#: The textual half of the projector -> SentenceKernel.
SENTENCE_KERNEL = [Rule(r"txt\.(weight|bias)", r"make_kernel.\1")]

#: Names that only a whole CRIS has: how a converter recognises the file.
MARKS = ("neck.txt_proj.0.weight", "decoder.layers.0.multihead_attn.in_proj_weight", "proj.txt.weight")

_WRAPPER = r"(?:module\.)?"

#: A whole CRIS -> ``ReferringSegmenter`` with ClipImage, ClipText, ClipNeck and SentenceKernel(scaled=False).
CRIS = [
    *under(_WRAPPER + r"backbone\.visual\.", "encoder.image_tower.", CLIP_IMAGE),
    *under(_WRAPPER + r"backbone\.", "encoder.text_tower.", CLIP_TEXT),
    *under(_WRAPPER + r"neck\.", "decoder.neck.", NECK),
    *under(_WRAPPER + r"decoder\.", "decoder.pixel_words.", PIXEL_WORDS),
    *under(_WRAPPER + r"proj\.", "decoder.upsampler.", UPSAMPLER),
    *under(_WRAPPER + r"proj\.", "head.", SENTENCE_KERNEL),
]
