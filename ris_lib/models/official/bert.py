"""Names of BERT's weights in LAVT, LGFormer, MagNet and in files of the library ``transformers``, and in ``BertText``.

Source: names in the released checkpoints' state dicts.
"""

from __future__ import annotations

from ris_lib.models.official.rules import Rule

#: A whole BERT into ``BertText``, whatever its groups of layers are; without the fusion blocks between the layers.
BERT = [
    Rule(r"embeddings\.(word|position|token_type)_embeddings\.weight", r"embeddings.\1_embeddings.weight"),
    Rule(r"embeddings\.LayerNorm\.(weight|bias)", r"embeddings.LayerNorm.\1"),
    Rule(r"embeddings\.(position|token_type)_ids", None, why="a constant table that the constructor makes"),
    Rule(
        r"encoder\.layer\.(\d+)\.((?:attention\.self\.(?:query|key|value)|(?:attention\.output|intermediate|output)"
        r"\.dense|(?:attention\.output|output)\.LayerNorm)\.(?:weight|bias))",
        r"layers.\1.\2",
    ),
    Rule(r"pooler\.dense\.(weight|bias)", None, why="nobody reads BERT's pooled output"),
]
