"""CLIP's byte-pair tokens, through ``open_clip``.

Source: Radford et al. 2021 (CLIP). The end token is restored where a sentence is cut, as in CRIS: CLIP reads the
sentence's state at that token.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from typing import Any

from ris_lib._shown import short
from ris_lib.data.tokenizers.base import Pieces, Tokenizer

_END_OF_WORD = "</w>"

#: Characters of a sentence that has to be mended before it is read: the time grows with their third power.
MOST_MENDED = 500


class ClipTokenizer(Tokenizer):
    """Start token, byte pairs, end token. CLIP has no mask token: a learned embedding stands in for it.

    Args:
        length: Tokens per sentence, start and end included. CRIS uses 17 for RefCOCO and RefCOCO+, 22 for RefCOCOg.

    Raises:
        ValueError: ``open_clip`` is not installed.

    Example:
        >>> tokens = ClipTokenizer(length=8)(["the man's kneepads"])
        >>> tokens.token_ids[0].tolist()
        [49406, 518, 786, 568, 6358, 1178, 2485, 49407]
        >>> tokens.spans[0, 4:7].tolist()
        [[10, 13], [13, 15], [15, 18]]
    """

    kind = "clip"
    pad_id, start_id, end_id = 0, 49406, 49407
    mask_id = None
    keep_end = True

    def __init__(self, length: int = 17):
        super().__init__(length)
        _clip()

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids: 49408."""
        return len(_clip().encoder)

    def parts(self, sentence: str) -> Iterable[tuple[int, str]]:
        """What stands between blanks in plain text; else the whole sentence, because it is mended as a whole."""
        plain = sentence.isascii() and sentence.isprintable() and "&" not in sentence
        return super().parts(sentence) if plain else [(0, sentence)]

    def cut(self, part: str) -> Pieces:
        """Cut a part of a sentence into byte pairs; every text can be spelt in them, so nothing is unknown.

        A token whose bytes are part of a character has that character's span.

        Raises:
            ValueError: A long text would have to be mended.
        """
        clip = _clip()
        ids = clip.encode(part)
        cleaned = clip.clean_fn(part)
        place = _alignment(part, cleaned)
        # one entry per byte that the tokens cover: which character of the cleaned text it belongs to
        characters = [
            k for match in clip.pat.finditer(cleaned) for k in range(*match.span()) for _ in cleaned[k].encode()
        ]
        spans, done = [], 0
        for number in ids:
            size = len(clip.decoder[number].removesuffix(_END_OF_WORD))  # the table has one character per byte
            first, last = characters[done], characters[done + size - 1]
            spans.append((place[first][0], place[last][1]))
            done += size
        return Pieces(ids, spans, [])

    def check(self, sentence: str, pieces: Pieces) -> None:
        """Refuse what only CLIP's frame may hold.

        Raises:
            ValueError: The text spells one of CLIP's special tokens.
        """
        if not {self.start_id, self.end_id}.isdisjoint(pieces.ids):
            raise ValueError(f"the sentence {short(sentence)} spells a special token of CLIP; leave that out.")

    def to_config(self) -> dict[str, Any]:
        """The settings as JSON can hold them."""
        return {"kind": self.kind, "length": self.length}


@cache
def _clip():
    """open_clip's tokeniser, made once a process."""
    try:
        from open_clip.tokenizer import SimpleTokenizer
    except ImportError as error:
        raise ValueError(
            "CLIP's tokens need the package open_clip, which is not installed. Run: pip install open_clip_torch"
        ) from error
    return SimpleTokenizer()


def _alignment(sentence: str, cleaned: str) -> list[tuple[int, int]]:
    """The span in ``sentence`` of each character of its cleaned text.

    Cleaning merges blanks and lowers the case, which is followed here character by character. Rarely it does more
    (mends a wrong encoding, reads "&amp;"); then the rest is aligned by likeness.
    """
    text, place = "", []
    for k, character in enumerate(sentence):
        lowered = " " if character.isspace() else character.lower()
        if lowered != " " or (text and not text.endswith(" ")):
            text += lowered
            place += [(k, k + 1)] * len(lowered)
    if len(text.rstrip()) == len(cleaned):  # the same, or character by character another, such as a straight quote
        return place
    if len(sentence) > MOST_MENDED:
        raise ValueError(
            f"the sentence {short(sentence)} has {len(sentence):,} characters, some of them entities or in a wrong "
            f"encoding; of such a sentence at most {MOST_MENDED} are read. Write it plainly."
        )
    aligned = []
    for how, start, end, to_start, to_end in difflib.SequenceMatcher(None, text, cleaned, False).get_opcodes():
        if how == "equal":
            aligned += place[start:end]
        else:  # characters that cleaning made stand for all that it replaced
            begin, stop = place[min(start, len(place) - 1)][0], place[max(end - 1, 0)][1]
            aligned += [(begin, max(begin, stop))] * (to_end - to_start)
    return aligned
