"""One token per word, from a vocabulary that the training sentences give.

For models that are trained from scratch. A word that the vocabulary does not have becomes [UNK] and is reported, never
swallowed: a model cannot find what it has no word for.

Source: our decision.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from ris_lib._shown import listing, short
from ris_lib.data.tokenizers.base import Pieces, Tokenizer, split_words

#: The first ids; the vocabulary's words follow.
RESERVED = ("[PAD]", "[UNK]", "[MASK]")


class WordTokenizer(Tokenizer):
    """Split into words, look each up; no start and end tokens.

    Marks (full stop, comma, ...) are tokens where the vocabulary has them and are left out where it has not: they are
    not words, so they are never reported as unknown.

    Args:
        vocabulary: Words in lower case, each one word of ``split_words``; their ids follow the three reserved ones in
            this order.
        length: Words per sentence, L; what is longer is cut, and ``Tokens.truncated`` says so.

    Raises:
        ValueError: The vocabulary is empty, names a word twice or holds something that is not one word.

    Example:
        >>> tokenizer = WordTokenizer(["cup", "left", "red", "the"], length=5)
        >>> tokens = tokenizer(["The left mug"])
        >>> tokens.token_ids.tolist(), tokens.unknown
        ([[6, 4, 1, 0, 0]], [['mug']])
        >>> tokens.spans[0, 1].tolist()
        [4, 8]
    """

    kind = "words"
    pad_id, unknown_id, mask_id = range(3)

    def __init__(self, vocabulary: Sequence[str], length: int = 20):
        super().__init__(length)
        if isinstance(vocabulary, str) or not len(vocabulary):
            raise ValueError(f"the vocabulary is {short(vocabulary)}; expected a list of at least one word.")
        for word in vocabulary:
            if not isinstance(word, str) or not _is_one_word(word):
                raise ValueError(
                    f"{short(word)} can never be met: the vocabulary takes single words in lower case. "
                    "WordTokenizer.from_sentences splits sentences into such words."
                )
        self.vocabulary = tuple(vocabulary)
        self._ids = {word: len(RESERVED) + k for k, word in enumerate(self.vocabulary)}
        self._says_nothing = {self.unknown_id, *(k for word, k in self._ids.items() if not _has_letter(word))}
        if len(self._ids) != len(self.vocabulary):
            twice = sorted({word for word in self.vocabulary if self.vocabulary.count(word) > 1})
            raise ValueError(f"the vocabulary has {listing(map(repr, twice))} more than once; every word needs one id.")

    @classmethod
    def from_sentences(cls, sentences: Iterable[str], length: int = 20) -> WordTokenizer:
        """Make the tokeniser that knows every word of some sentences; ids in alphabetical order.

        Args:
            sentences: The training sentences.
            length: As above.

        Raises:
            ValueError: There is not a single word.

        Example:
            >>> WordTokenizer.from_sentences(["a red cup", "the cup"]).vocabulary
            ('a', 'cup', 'red', 'the')
        """
        words = sorted({word.text for sentence in sentences for word in split_words(sentence)})
        if not words:
            raise ValueError("the sentences hold not a single word; expected some to learn a vocabulary of.")
        return cls(words, length)

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids, the reserved ones included."""
        return len(RESERVED) + len(self.vocabulary)

    def cut(self, part: str) -> Pieces:
        """Cut a part of a sentence into known words and [UNK]."""
        words = [word for word in split_words(part) if word.text in self._ids or _has_letter(word.text)]
        return Pieces(
            ids=[self._ids.get(word.text, self.unknown_id) for word in words],
            spans=[(word.start, word.end) for word in words],
            unknown=[part[word.start : word.end] for word in words if word.text not in self._ids],
        )

    def check(self, sentence: str, pieces: Pieces) -> None:
        """Refuse a sentence of unknown words and marks.

        Raises:
            ValueError: There are words or marks, but no word that the vocabulary has.
        """
        if self._says_nothing.issuperset(pieces.ids) and (words := split_words(sentence)):
            unknown = [word.text for word in words if word.text not in self._ids and _has_letter(word.text)]
            raise ValueError(self._no_known_word(sentence, unknown))

    def to_config(self) -> dict[str, Any]:
        """The settings as JSON can hold them, the vocabulary included."""
        return {"kind": self.kind, "length": self.length, "vocabulary": list(self.vocabulary)}

    def _no_known_word(self, sentence: str, unknown: list[str]) -> str:
        near = sorted(
            {n for word in unknown[:5] for n in difflib.get_close_matches(word, self.vocabulary, n=2, cutoff=0.75)}
        )
        listed = f"unknown: {listing(unknown)}" if unknown else "it holds marks only"
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        known = ", ".join([word for word in self.vocabulary if _has_letter(word)][:12])
        return (
            f"the sentence {short(sentence)} has no word that this vocabulary knows ({listed}).{hint} "
            f"It knows {len(self.vocabulary)} words, among them {known}."
        )


def _is_one_word(text: str) -> bool:
    return [word.text for word in split_words(text)] == [text] or (
        text.startswith("'") and [word.text for word in split_words("x" + text)] == ["x", text]
    )


def _has_letter(text: str) -> bool:
    return any(character.isalnum() for character in text)
