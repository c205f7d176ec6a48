"""WordPiece, BERT's tokens, with the vocabulary of ``bert-base-uncased``.

Source: Devlin et al. 2019 (BERT); Wu et al. 2016 (WordPiece). Longest-match-first cutting, lower case and stripped
accents are done by the ``tokenizers`` library. The word list is part of this package (``data/vocab``).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from ris_lib._shown import listing, short
from ris_lib.data.tokenizers.base import Pieces, Tokenizer

#: The word list, one piece a line; a line's number is the piece's id.
VOCABULARY = Path(__file__).parent.parent / "vocab" / "bert-base-uncased-vocab.txt"


class WordPieceTokenizer(Tokenizer):
    """[CLS], the pieces, [SEP].

    A sentence is text only: "[MASK]" in it is three marks and a word, never the special token.

    Args:
        length: Tokens per sentence, [CLS] and [SEP] included. 20 as in LAVT.
        keep_separator: Whether a sentence that is too long still ends in [SEP]. False as in LAVT, whose published
            weights were trained so.

    Example:
        >>> tokenizer = WordPieceTokenizer(length=8)
        >>> tokens = tokenizer(["Two giraffelike kneepads"])
        >>> tokens.token_ids[0].tolist()
        [101, 2048, 21025, 27528, 7959, 10359, 6181, 15455]
        >>> tokens.word_index[0].tolist(), tokens.truncated
        ([-1, 0, 1, 1, 1, 1, 2, 2], [True])
    """

    kind = "wordpiece"
    pad_id, unknown_id, start_id, end_id, mask_id = 0, 100, 101, 102, 103

    def __init__(self, length: int = 20, keep_separator: bool = False):
        super().__init__(length)
        self.keep_end = keep_separator

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids: 30522."""
        return _wordpiece().get_vocab_size()

    def cut(self, part: str) -> Pieces:
        """Cut a part of a sentence into pieces; a word that cannot be built of pieces is [UNK] and reported."""
        encoding = _wordpiece().encode(part, add_special_tokens=False)
        ids, spans = encoding.ids, encoding.offsets
        return Pieces(ids, spans, [part[first:end] for k, (first, end) in zip(ids, spans) if k == self.unknown_id])

    def check(self, sentence: str, pieces: Pieces) -> None:
        """Refuse a sentence of unknown words.

        Raises:
            ValueError: There are words, but none that can be built of pieces.
        """
        if pieces.unknown and len(pieces.unknown) == len(pieces.ids):
            raise ValueError(
                f"the sentence {short(sentence)} has no word that this vocabulary knows (unknown: "
                f"{listing(pieces.unknown)}). It knows English words and the pieces they are made of."
            )

    def to_config(self) -> dict[str, Any]:
        """The settings as JSON can hold them."""
        return {"kind": self.kind, "length": self.length, "keep_separator": self.keep_end}


@cache
def _wordpiece() -> tokenizers.Tokenizer:
    """The library's tokeniser, read once a process. It is not part of the object, which so stays small to pickle."""
    pieces = VOCABULARY.read_text(encoding="utf-8").rstrip("\n").split("\n")
    tokenizer = tokenizers.Tokenizer(WordPiece({p: k for k, p in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer
