"""Names of LGFormer's released pixel decoder -> ``Deformable(levels=3, words=True)``.

The list is for the part alone; ``under`` puts it at its place in a whole model.

Source: the state dict of mqchen1993/LGFormer (names and shapes only).
"""

from __future__ import annotations

from ris_lib.models.official.magnet_decoder import DEFORMABLE_ENCODER
from ris_lib.models.official.rules import Rule, under

#: LGFormer's pixel decoder.
PIXEL_DECODER = [
    *DEFORMABLE_ENCODER,
    *under(
        r"transformer\.encoder\.",
        "",
        [
            Rule(r"key_embed\.weight", "word_position"),
            Rule(r"cross_attn_layers\.(\d+)\.cross_attn\.q_proj_weight", r"word_layers.\1.attention.query.weight"),
            Rule(r"cross_attn_layers\.(\d+)\.cross_attn\.k_proj_weight", r"word_layers.\1.attention.key.weight"),
            Rule(r"cross_attn_layers\.(\d+)\.cross_attn\.v_proj_weight", r"word_layers.\1.attention.value.weight"),
            Rule(
                r"cross_attn_layers\.(\d+)\.cross_attn\.in_proj_bias",
                (
                    r"word_layers.\1.attention.query.bias",
                    r"word_layers.\1.attention.key.bias",
                    r"word_layers.\1.attention.value.bias",
                ),
            ),
            Rule(
                r"cross_attn_layers\.(\d+)\.cross_attn\.out_proj\.(weight|bias)",
                r"word_layers.\1.attention.out.\2",
            ),
            Rule(r"cross_attn_layers\.(\d+)\.ffn\.0\.(weight|bias)", r"word_layers.\1.forward_net.0.\2"),
            Rule(r"cross_attn_layers\.(\d+)\.ffn\.3\.(weight|bias)", r"word_layers.\1.forward_net.2.\2"),
            Rule(r"cross_attn_layers\.(\d+)\.norm_ca\.(weight|bias)", r"word_layers.\1.attention_norm.\2"),
            Rule(r"cross_attn_layers\.(\d+)\.norm_ffn\.(weight|bias)", r"word_layers.\1.forward_norm.\2"),
        ],
    ),
    Rule(r"adapter_1\.([01])\.(weight|bias)", r"lateral.\1.\2"),
    Rule(r"layer_1\.([01])\.(weight|bias)", r"merge.\1.\2"),
]
