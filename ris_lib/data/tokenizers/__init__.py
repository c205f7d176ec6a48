"""Tokenisers: words (models from scratch), WordPiece (BERT), byte pairs (CLIP). All give ``Tokens``.

A tokeniser is part of a model: its configuration travels with the weights, ``tokenizer_from_config`` makes it again.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ris_lib._names import unknown
from ris_lib._shown import short
from ris_lib.data.tokenizers.base import Pieces, Tokenizer, Tokens, Word, split_words
from ris_lib.data.tokenizers.clip import ClipTokenizer
from ris_lib.data.tokenizers.wordpiece import WordPieceTokenizer
from ris_lib.data.tokenizers.words import WordTokenizer

#: The tokenisers by the name that ``to_config`` writes as ``kind``.
TOKENIZERS: dict[str, type[Tokenizer]] = {cls.kind: cls for cls in (WordTokenizer, WordPieceTokenizer, ClipTokenizer)}


def tokenizer_from_config(config: Mapping[str, Any]) -> Tokenizer:
    """Make the tokeniser that ``to_config`` described.

    Args:
        config: ``kind`` (``words``, ``wordpiece`` or ``clip``) and the arguments of that class.

    Raises:
        ValueError: The kind or a setting is not known, or a setting is missing.

    Example:
        >>> config = WordTokenizer(["cup", "red"], length=4).to_config()
        >>> tokenizer_from_config(config).to_config() == config
        True
    """
    if not isinstance(config, Mapping):
        raise ValueError(
            f"the configuration of a tokeniser is {short(config)}; expected entries such as kind and length."
        )
    settings = dict(config)
    kind = settings.pop("kind", None)
    if not isinstance(kind, str) or kind not in TOKENIZERS:
        raise unknown("tokeniser", kind, TOKENIZERS)
    parameters = inspect.signature(TOKENIZERS[kind]).parameters
    for name in settings:
        if name not in parameters:
            raise unknown("setting", name, parameters, of=f"the {kind} tokeniser")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in settings:
            raise ValueError(f"the configuration of the {kind} tokeniser lacks {name!r}; it has {sorted(settings)}.")
    return TOKENIZERS[kind](**settings)


__all__ = [
    "TOKENIZERS",
    "ClipTokenizer",
    "Pieces",
    "Tokenizer",
    "Tokens",
    "Word",
    "WordPieceTokenizer",
    "WordTokenizer",
    "split_words",
    "tokenizer_from_config",
]
