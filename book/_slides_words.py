"""The words of a slide: of a paragraph the last sentences, which lead to a figure, or the first, which say what it is about."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import NamedTuple

from bs4 import Tag

#: So many letters of a paragraph lead to a figure or to code; formulas and small tables leave room for more.
LETTERS, MORE_LETTERS = 260, 500
#: So many letters say what an exercise asks.
OPENING = 200
#: What stays as it is in a paragraph.
_KEPT = {"math", "code", "em", "strong", "span"}
#: The first of the letters that Unicode leaves to everybody; one stands for each part that is kept.
_PRIVATE = 0xE000
_BETWEEN = re.compile(r"(?:(?<=[.?!])|(?<=[.?!][”)]))\s+(?=[A-Z“*(])")
#: A sentence that begins like this leans on the one before it.
_LEANS = re.compile(
    r"(And|Ask|Both|But|Each|Here|Its?|Neither|No|One|So|That|The others?|Theirs?|Then|There|These|They|This|Those)\b|\("
)
#: A sentence about the page, which is not there when the slide is.
_POINTS = re.compile(r"\b(next|this|last) (cell|cells)\b|\bof this page\b")


class Words(NamedTuple):
    """A paragraph as text, in which one private letter stands for each formula, piece of code or stressed word."""

    text: str
    parts: Sequence[str] = ()

    @classmethod
    def of(cls, paragraph: Tag) -> Words:
        """The words of a tag of a built page."""
        text, parts = "", []
        for part in paragraph.children:
            if isinstance(part, Tag) and part.name in _KEPT:
                text += chr(_PRIVATE + len(parts))
                parts.append(str(part))
            else:
                text += part.get_text()
        return cls(re.sub(r"\s+", " ", text).strip(), parts)

    def after(self, before: Words) -> Words:
        """These words behind others, if they lean on them."""
        if not _LEANS.match(self.text):
            return self
        places = range(_PRIVATE, _PRIVATE + len(self.parts))
        moved = self.text.translate({one: one + len(before.parts) for one in places})
        return Words(f"{before.text} {moved}", [*before.parts, *self.parts])

    def lead(self, letters: int = LETTERS) -> Words:
        """The last sentences, see the function ``lead``."""
        return self._replace(text=lead(self.text, letters))

    def opening(self) -> Words:
        """The first sentences, as far as they fit."""
        kept, *others = sentences(self.text)
        for sentence in others:
            if len(kept) + 1 + len(sentence) > OPENING:
                break
            kept = f"{kept} {sentence}"
        return self._replace(text=kept)

    def divided(self) -> tuple[Words, Words]:
        """The first sentence, and the others."""
        first, *others = sentences(self.text)
        return self._replace(text=first), self._replace(text=" ".join(others))

    def length(self) -> int:
        """How many letters are read, those of the parts included."""
        return len(
            re.sub(r"\s+", "", re.sub(r"<[^>]+>", "", self.html()))
        ) + self.text.count(" ")

    def html(self) -> str:
        """As HTML, every part in its place."""
        shown = html.escape(self.text)
        for number, part in enumerate(self.parts):
            shown = shown.replace(chr(_PRIVATE + number), part)
        return shown


def sentences(text: str) -> list[str]:
    """The sentences of a text.

    Example:
        >>> sentences("Is it so? (It is.) Then 3.5 is enough.")
        ['Is it so?', '(It is.)', 'Then 3.5 is enough.']
    """
    return _BETWEEN.split(text)


def lead(text: str, letters: int = LETTERS) -> str:
    """The last whole sentences that fit; the last one always, and one that the first leans on, up to twice the room.

    Sentences about the page are left out, unless there is no other; and nobody runs a slide.

    Example:
        >>> lead("Words first. Then a figure. Look for the dots.", letters=20)
        'Look for the dots.'
        >>> lead("Two dots are red. They are small.", letters=20)
        'Two dots are red. They are small.'
        >>> lead("Look for the dots. The next cell draws them.")
        'Look for the dots.'
    """
    left = sentences(re.sub(r"(?i)\b(before you) run\b", r"\1 look", text))
    left = [one for one in left if not _POINTS.search(one)] or left
    kept = left.pop()
    while left:
        longer = f"{left[-1]} {kept}"
        if len(longer) > (2 * letters if _LEANS.match(kept) else letters):
            break
        kept = longer
        left.pop()
    return kept
