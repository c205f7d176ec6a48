"""Names of Swin's weights in LAVT, LGFormer and MagNet, which share one Swin, and in ``SwinImage``.

Source: names in the released checkpoints' state dicts. The index of relative positions is a table that the constructor
computes.
"""

from __future__ import annotations

from ris_lib.models.official.rules import Rule, under

#: The blocks of one stage, ``blocks.N...``, into ``SwinImage.stages[k]``.
SWIN_BLOCKS = [
    Rule(r"blocks\.(\d+)\.norm1\.(weight|bias)", r"\1.layernorm_before.\2"),
    Rule(r"blocks\.(\d+)\.norm2\.(weight|bias)", r"\1.layernorm_after.\2"),
    Rule(
        r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)",
        tuple(rf"\1.attention.{name}_proj.\2" for name in "qkv"),
    ),
    Rule(r"blocks\.(\d+)\.attn\.proj\.(weight|bias)", r"\1.attention.o_proj.\2"),
    Rule(
        r"blocks\.(\d+)\.attn\.relative_position_bias_table",
        r"\1.attention.relative_position_bias.relative_position_bias_table",
    ),
    Rule(r"blocks\.\d+\.attn\.relative_position_index", None, why="computed from the window's side"),
    Rule(r"blocks\.(\d+)\.mlp\.(fc1|fc2)\.(weight|bias)", r"\1.mlp.\2.\3"),
]

#: The patch merging that follows a stage, ``downsample...``, into ``SwinImage.merging[k]``.
PATCH_MERGING = [
    Rule(r"downsample\.(norm)\.(weight|bias)", r"\1.\2"),
    Rule(r"downsample\.(reduction)\.(weight)", r"\1.\2"),
]

#: A whole backbone, ``patch_embed...`` and ``layers.K...`` without fusion and output norms, into ``SwinImage``.
SWIN = [
    Rule(r"patch_embed\.proj\.(weight|bias)", r"embeddings.patch_embeddings.projection.\1"),
    Rule(r"patch_embed\.norm\.(weight|bias)", r"embeddings.norm.\1"),
    *(rule for k in range(4) for rule in under(rf"layers\.{k}\.", f"stages.{k}.", SWIN_BLOCKS)),
    *(rule for k in range(3) for rule in under(rf"layers\.{k}\.", f"merging.{k}.", PATCH_MERGING)),
]
