"""Names of MagNet's released decoder: its pixel decoder, and its masked-attention query decoder.

Each list is for the part alone; ``under`` puts it at its place in a whole model.

Source: the state dict of yxchng/mask-grounding (names and shapes only).
"""

from __future__ import annotations

from torch import Tensor

from ris_lib.models.official.rules import Rule, under

#: A deformable attention alone -> ``DeformableAttention``.
DEFORMABLE_ATTENTION = [
    Rule(r"sampling_offsets\.(weight|bias)", r"offsets.\1"),
    Rule(r"attention_weights\.(weight|bias)", r"weights.\1"),
    Rule(r"value_proj\.(weight|bias)", r"value.\1"),
    Rule(r"output_proj\.(weight|bias)", r"out.\1"),
]

#: The deformable encoder, which LGFormer's release names alike -> the part of ``Deformable`` without words.
DEFORMABLE_ENCODER = [
    Rule(r"input_proj\.(\d+)\.([01])\.(weight|bias)", r"project.\1.\2.\3"),
    Rule(r"transformer\.level_embed", "level"),
    *under(
        r"transformer\.encoder\.",
        "",
        [
            Rule(r"layers\.(\d+)\.self_attn\.sampling_offsets\.(weight|bias)", r"layers.\1.attention.offsets.\2"),
            Rule(r"layers\.(\d+)\.self_attn\.attention_weights\.(weight|bias)", r"layers.\1.attention.weights.\2"),
            Rule(r"layers\.(\d+)\.self_attn\.value_proj\.(weight|bias)", r"layers.\1.attention.value.\2"),
            Rule(r"layers\.(\d+)\.self_attn\.output_proj\.(weight|bias)", r"layers.\1.attention.out.\2"),
            Rule(r"layers\.(\d+)\.norm1\.(weight|bias)", r"layers.\1.attention_norm.\2"),
            Rule(r"layers\.(\d+)\.linear1\.(weight|bias)", r"layers.\1.forward_net.0.\2"),
            Rule(r"layers\.(\d+)\.linear2\.(weight|bias)", r"layers.\1.forward_net.2.\2"),
            Rule(r"layers\.(\d+)\.norm2\.(weight|bias)", r"layers.\1.forward_norm.\2"),
        ],
    ),
    Rule(r"mask_features\.(weight|bias)", r"out.\1"),
]

#: MagNet's pixel decoder -> ``Deformable(levels=4)``.
PIXEL_DECODER = DEFORMABLE_ENCODER


def value_part(stacked: Tensor) -> Tensor:
    """The value's third of query, key and value stacked along the first axis.

    Example:
        >>> import torch
        >>> value_part(torch.arange(6)).tolist()
        [4, 5]
    """
    return stacked.chunk(3)[2]


#: MagNet's query decoder -> ``MaskedQuery``.
QUERY_DECODER = [
    Rule(r"query_feat\.weight", "query"),
    Rule(r"query_embed\.weight", "position"),
    Rule(r"level_embed\.weight", "level"),
    Rule(r"input_proj\.(\d+)\.(weight|bias)", r"project.\1.\2"),
    *under(
        r"transformer_",
        "layers.",
        [
            Rule(
                r"cross_attention_layers\.(\d+)\.multihead_attn\.in_proj_(weight|bias)",
                (r"\1.attention.query.\2", r"\1.attention.key.\2", r"\1.attention.value.\2"),
            ),
            Rule(
                r"cross_attention_layers\.(\d+)\.multihead_attn\.out_proj\.(weight|bias)",
                r"\1.attention.out.\2",
            ),
            Rule(r"cross_attention_layers\.(\d+)\.norm\.(weight|bias)", r"\1.attention_norm.\2"),
            Rule(
                r"self_attention_layers\.(\d+)\.self_attn\.in_proj_(weight|bias)",
                r"\1.own_value.\2",
                change=value_part,
                why="the query's own query and key: one query attends to itself with weight 1",
            ),
            Rule(r"self_attention_layers\.(\d+)\.self_attn\.out_proj\.(weight|bias)", r"\1.own_out.\2"),
            Rule(r"self_attention_layers\.(\d+)\.norm\.(weight|bias)", r"\1.own_norm.\2"),
            Rule(r"ffn_layers\.(\d+)\.linear1\.(weight|bias)", r"\1.forward_net.0.\2"),
            Rule(r"ffn_layers\.(\d+)\.linear2\.(weight|bias)", r"\1.forward_net.2.\2"),
            Rule(r"ffn_layers\.(\d+)\.norm\.(weight|bias)", r"\1.forward_norm.\2"),
        ],
    ),
    Rule(r"decoder_norm\.(weight|bias)", r"norm.\1"),
    Rule(r"mask_embed\.layers\.0\.(weight|bias)", r"kernel.0.\1"),
    Rule(r"mask_embed\.layers\.1\.(weight|bias)", r"kernel.2.\1"),
    Rule(r"mask_embed\.layers\.2\.(weight|bias)", r"kernel.4.\1"),
    Rule(r"class_embed\.(weight|bias)", None, why="class head: the softmax over one query is always 1"),
]
