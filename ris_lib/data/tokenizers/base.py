"""What all tokenisers share: sentences in, rectangular tensors out, with the place of every token in its sentence.

A tokeniser only says how a part of a sentence, what stands between two blanks, is cut into pieces (``cut``). Frame,
truncation, padding, spans and the checks are the same for all and stand here. A token belongs to the word of
``split_words`` in which it starts, whatever the tokeniser, so "hide the third word" means the same for word, WordPiece
and byte-pair tokens.

People say the same words over and over: the 120,000 training sentences of RefCOCO have some 10,000 different parts. So
parts that were cut are remembered, and reading a sentence is looking its parts up.

Source: our decision; truncation as LAVT (end token lost) and CRIS (end token restored) do it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ris_lib._shown import short

_WORD = re.compile(
    r"[^\W_]+"  # a run of letters and digits
    r"|(?<=[^\W_])['’][^\W\d_]+"  # what an apostrophe ties to it: 's, 't, 're
    r"|\S"  # any other mark, alone
)


#: Characters of the longest sentence that is read, and so its most tokens; among 13,000 refs of RefCOCO, RefCOCO+ and
#: RefCOCOg the longest has 172. The time of byte pairs grows with the square of a word's length.
LONGEST_SENTENCE = 2000

#: How many parts are remembered, and the characters of the longest of them: some megabytes, whatever is read.
_MOST_KEPT, _LONGEST_KEPT = 2**15, 32


class Word(NamedTuple):
    """A word or mark of a sentence: its text in lower case, its first and past-the-last character."""

    text: str
    start: int
    end: int


class Pieces(NamedTuple):
    """One sentence, or a part of one, cut into tokens, without start and end tokens, not truncated.

    Args:
        ids: Token ids.
        spans: (first, past-the-last) character of each token in the text that was cut.
        unknown: The words, as written, that the vocabulary does not have.
    """

    ids: list[int]
    spans: list[tuple[int, int]]
    unknown: list[str]


@dataclass
class Tokens:
    """S sentences as tensors.

    Args:
        token_ids: ``(S, L)`` long, padded with the tokeniser's ``pad_id``.
        word_mask: ``(S, L)`` bool, True = real token (words and special tokens), False = padding.
        word_index: ``(S, L)`` long, which word of ``split_words(sentence)`` a token belongs to; -1 for special and
            padding tokens.
        spans: ``(S, L, 2)`` long, first and past-the-last character of each token in its sentence; (0, 0) for special
            and padding tokens.
        unknown: Per sentence the words that the vocabulary does not have, as written.
        truncated: Per sentence whether tokens were cut off.
    """

    token_ids: Tensor
    word_mask: Tensor
    word_index: Tensor
    spans: Tensor
    unknown: list[list[str]]
    truncated: list[bool]


def split_words(sentence: str) -> list[Word]:
    """Cut a sentence into words and marks, in lower case.

    Letters and digits stay together; what an apostrophe ties to a word is a word of its own ("'s"); every other mark
    stands alone.

    Args:
        sentence: Any text.

    Returns:
        The words in order, with their places. Blank text has none.

    Example:
        >>> [word.text for word in split_words("The man's 2nd T-shirt!")]
        ['the', 'man', "'s", '2nd', 't', '-', 'shirt', '!']
        >>> split_words("a  Cup")[1]
        Word(text='cup', start=3, end=6)
    """
    return [Word(m.group().lower().replace("’", "'"), m.start(), m.end()) for m in _WORD.finditer(sentence)]


class Tokenizer(ABC):
    """The common part of all tokenisers; a subclass says ``cut``, ``check`` and its constants.

    Args:
        length: Tokens per sentence, L, special tokens included.

    Raises:
        ValueError: ``length`` leaves no room for a word.
    """

    kind: str
    pad_id: int = 0
    mask_id: int | None = None
    start_id: int | None = None
    end_id: int | None = None
    #: Whether a sentence that is too long still closes with the end token.
    keep_end: bool = False

    def __init__(self, length: int):
        frame = (self.start_id is not None) + (self.end_id is not None)
        if isinstance(length, bool) or not isinstance(length, int) or not frame < length <= LONGEST_SENTENCE:
            raise ValueError(
                f"length={short(length)}; expected a whole number from {frame + 1} ({frame} special tokens and one "
                f"word) to {LONGEST_SENTENCE}."
            )
        self.length = length
        self._kept: dict[str, Pieces] = {}

    @property
    @abstractmethod
    def vocabulary_size(self) -> int:
        """Number of token ids, special ones included."""

    @abstractmethod
    def cut(self, part: str) -> Pieces:
        """Cut a part of a sentence into tokens, as they are in any sentence that has this part."""

    @abstractmethod
    def check(self, sentence: str, pieces: Pieces) -> None:
        """Refuse a sentence for what it was cut into.

        Raises:
            ValueError: A model cannot be told this sentence.
        """

    @abstractmethod
    def to_config(self) -> dict[str, Any]:
        """The settings as JSON can hold them; ``tokenizer_from_config`` is the inverse."""

    def parts(self, sentence: str) -> Iterable[tuple[int, str]]:
        """What of a sentence can be cut on its own, each with the number of its first character.

        Example:
            >>> from ris_lib.data.tokenizers import WordTokenizer
            >>> list(WordTokenizer(["cup"]).parts("the  red cup"))
            [(0, 'the'), (5, 'red'), (9, 'cup')]
        """
        start = 0
        for part in sentence.split(" "):  # not at every kind of white space: some vocabularies drop a few kinds
            if part:
                yield start, part
            start += len(part) + 1

    def encode(self, sentence: str) -> Pieces:
        """Cut one sentence into tokens, without frame and truncation; a sentence without tokens gives none.

        Raises:
            ValueError: As for ``check``.
        """
        ids, spans, unknown = [], [], []
        for start, part in self.parts(sentence):
            pieces = self._kept.get(part) or self._cut(part)
            ids += pieces.ids
            spans += [(start + first, start + end) for first, end in pieces.spans]
            unknown += pieces.unknown
        pieces = Pieces(ids, spans, unknown)
        self.check(sentence, pieces)
        return pieces

    def read(self, sentence: str) -> Pieces | None:
        """What a sentence is cut into, or None where it cannot be read: it is empty, or this tokeniser refuses it.

        Example:
            >>> from ris_lib.data.tokenizers import WordTokenizer
            >>> tokenizer = WordTokenizer(["cup"])
            >>> tokenizer.read("a cup").ids, tokenizer.read("a mug"), tokenizer.read(" ")
            ([1, 3], None, None)
        """
        try:
            return self._checked(sentence)
        except ValueError:
            return None

    def __call__(self, sentences: Sequence[str]) -> Tokens:
        """Turn sentences into tensors.

        Args:
            sentences: At least one.

        Raises:
            ValueError: No sentence came, or a bare string, or a sentence is empty or without a known word.
        """
        if isinstance(sentences, str):
            raise ValueError(f"expected a list of sentences, got the string {short(sentences)}; write it in brackets.")
        if not len(sentences):
            raise ValueError("expected at least one sentence, got none.")
        shape = (len(sentences), self.length)
        tokens = Tokens(
            token_ids=torch.full(shape, self.pad_id),
            word_mask=torch.zeros(shape, dtype=torch.bool),
            word_index=torch.full(shape, -1),
            spans=torch.zeros(*shape, 2, dtype=torch.long),
            unknown=[],
            truncated=[],
        )
        for row, sentence in enumerate(sentences):
            pieces = self._checked(sentence)
            ids, spans, truncated = self.frame(pieces)
            tokens.token_ids[row, : len(ids)] = torch.tensor(ids)
            tokens.word_mask[row, : len(ids)] = True
            tokens.word_index[row, : len(ids)] = torch.tensor(_word_index(sentence, spans))
            tokens.spans[row, : len(ids)] = torch.tensor(spans)
            tokens.unknown.append(pieces.unknown)
            tokens.truncated.append(truncated)
        return tokens

    def frame(self, pieces: Pieces) -> tuple[list[int], list[tuple[int, int]], bool]:
        """Add start and end tokens and cut to ``length``.

        Args:
            pieces: What ``encode`` returned.

        Returns:
            Ids and spans, at most ``length`` of each, and whether something was cut off. Special tokens have the span
            (0, 0).
        """
        start = [] if self.start_id is None else [self.start_id]
        end = [] if self.end_id is None else [self.end_id]
        ids = start + pieces.ids + end
        spans = [(0, 0)] * len(start) + pieces.spans + [(0, 0)] * len(end)
        truncated = len(ids) > self.length
        ids, spans = ids[: self.length], spans[: self.length]
        if truncated and self.keep_end and self.end_id is not None:
            ids[-1], spans[-1] = self.end_id, (0, 0)
        return ids, spans, truncated

    def _checked(self, sentence: str) -> Pieces:
        """The pieces of a sentence that has some."""
        if not isinstance(sentence, str):
            raise ValueError(f"a sentence is a string, got {type(sentence).__name__} {short(sentence)}.")
        if len(sentence) > LONGEST_SENTENCE:
            raise ValueError(
                f"the sentence {short(sentence)} has {len(sentence):,} characters; at most {LONGEST_SENTENCE:,} are "
                "read."
            )
        if not sentence.isascii() and any("\ud800" <= character <= "\udfff" for character in sentence):  # in no file
            raise ValueError(f"the sentence {short(sentence)} is no whole text: it holds half of a character.")
        pieces = self.encode(sentence) if sentence.strip() else Pieces([], [], [])
        if not pieces.ids:
            raise ValueError(f"the sentence {short(sentence)} is empty; say what to find, for example 'the left cup'.")
        return pieces

    def _cut(self, part: str) -> Pieces:
        """Cut a part that is not remembered, and remember it."""
        pieces = self.cut(part)
        if len(part) <= _LONGEST_KEPT:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[part] = pieces
        return pieces

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes and copies: without what is remembered."""
        return self.__dict__ | {"_kept": {}}


def _word_index(sentence: str, spans: list[tuple[int, int]]) -> list[int]:
    """The word in which each token starts, -1 for tokens without text."""
    starts = [word.start for word in split_words(sentence)]
    return [bisect_right(starts, start) - 1 if end > start else -1 for start, end in spans]
