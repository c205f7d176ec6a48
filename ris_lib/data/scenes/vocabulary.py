"""Everything that a scene can hold and everything that a sentence can say.

Sentences follow the habits of RefCOCO: lower case, no punctuation, American spelling, often telegraphic. All phrases of
the grammar stand in this file, so that ``VOCABULARY`` is complete by construction.
"""

from __future__ import annotations

from collections.abc import Iterable

#: Categories with their nouns; the first noun is the category's name.
NOUNS: dict[str, tuple[str, ...]] = {
    "person": ("person", "guy", "figure"),
    "cat": ("cat", "kitty"),
    "fish": ("fish",),
    "bird": ("bird",),
    "ball": ("ball",),
    "gift": ("gift", "present"),
    "mug": ("mug", "cup"),
    "mushroom": ("mushroom",),
    "tree": ("tree",),
    "house": ("house",),
    "car": ("car",),
    "star": ("star",),
}
CATEGORIES = tuple(NOUNS)
#: Nouns for an object whose category is not said; never used for persons.
ANY_NOUN = ("thing", "object", "one")

#: Colour -> (its RGB, RGB of the second colour of a pattern on it), 0 to 255.
COLOURS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "red": ((222, 62, 52), (250, 214, 198)),
    "orange": ((243, 146, 45), (255, 222, 178)),
    "yellow": ((248, 208, 62), (255, 244, 200)),
    "green": ((66, 160, 80), (190, 228, 186)),
    "blue": ((58, 116, 214), (182, 208, 248)),
    "purple": ((140, 86, 194), (216, 196, 238)),
    "pink": ((244, 138, 178), (255, 222, 232)),
    "brown": ((138, 90, 58), (216, 186, 158)),
    "white": ((244, 241, 233), (166, 164, 164)),
    "black": ((58, 58, 68), (164, 162, 164)),
}
TEXTURES = ("plain", "striped", "dotted", "checkered")
#: Size -> smallest and largest radius in thousandths of the picture's side. The gaps keep sizes tellable.
SIZES: dict[str, tuple[int, int]] = {"small": (72, 86), "medium": (100, 115), "large": (135, 160)}
SURFACES = ("meadow", "sand", "wood", "snow", "water", "tiles", "felt", "night")
#: Colours that are hard to see on a surface; objects of these colours never stand there.
CLASHES: dict[str, tuple[str, ...]] = {
    "meadow": ("green",),
    "wood": ("brown",),
    "snow": ("white",),
    "tiles": ("white",),
    "night": ("black",),
}

#: Colour-category pairs that occur in the split ``compositional`` only, as its targets. Each colour stands once.
HELD: tuple[tuple[str, str], ...] = (
    ("orange", "person"),
    ("purple", "person"),
    ("red", "fish"),
    ("yellow", "mug"),
    ("green", "cat"),
    ("blue", "bird"),
    ("pink", "car"),
    ("brown", "house"),
    ("white", "star"),
    ("black", "ball"),
)

#: Kinds of expressions.
KINDS = ("attribute", "location", "superlative", "ordinal", "relation", "negation")

SIZE_WORDS = {"small": ("small", "little"), "large": ("big", "large")}
TEXTURE_WORDS = {
    "plain": ("plain",),
    "striped": ("striped",),
    "dotted": ("dotted", "spotted"),
    "checkered": ("checkered",),
}
PATTERN_NOUNS = {"striped": ("stripes",), "dotted": ("dots", "spots"), "checkered": ("checks",)}
ORDINALS = {1: "first", 2: "second", 3: "third", 4: "fourth"}
VERTICAL = {"top": ("top", "upper"), "bottom": ("bottom", "lower")}

# Phrases: (full, telegraphic). "{np}" is a noun phrase, "{anchor}" that of another object with its article.
Phrases = tuple[tuple[str, ...], tuple[str, ...]]

#: Clothes, behind the noun: of a colour, of a texture, of both.
SHIRT: dict[str, Phrases] = {
    "colour": (
        ("in {colour}", "wearing {colour}", "in the {colour} shirt", "with the {colour} shirt", "in a {colour} shirt"),
        ("in {colour}", "wearing {colour}", "{colour} shirt"),
    ),
    "texture": (
        ("in the {texture} shirt", "with the {texture} shirt", "wearing a {texture} shirt"),
        ("in {texture} shirt", "{texture} shirt"),
    ),
    "both": (
        ("in the {texture} {colour} shirt", "with a {texture} {colour} shirt", "wearing a {texture} {colour} shirt"),
        ("in {texture} {colour}", "{texture} {colour} shirt"),
    ),
}
HAT: Phrases = (("with a hat", "wearing a hat", "with the hat"), ("with hat", "in hat"))
COLOUR_BEHIND: Phrases = (("that is {colour}",), ("that is {colour}",))
TEXTURE_BEHIND: Phrases = (("with {pattern}",), ("with {pattern}",))

REGIONS: dict[str, Phrases] = {
    "side": (
        ("{np} on the {side}", "{np} on the {side} side", "{np} to the {side}", "{side} {np}"),
        ("{side} {np}", "{np} {side}", "{np} on {side}"),
    ),
    "vertical": (
        ("{np} at the {side}", "{np} at the {side} of the picture", "{side} {np}"),
        ("{side} {np}", "{np} {side}", "{np} at {side}"),
    ),
    "middle": (
        ("{np} in the middle", "{np} in the center", "{np} in the middle of the picture", "middle {np}"),
        ("middle {np}", "center {np}", "{np} in middle"),
    ),
    "quarter": (
        ("{np} at the {vertical} {side}", "{np} on the {vertical} {side}", "{vertical} {side} {np}"),
        ("{vertical} {side} {np}", "{np} {vertical} {side}"),
    ),
    "corner": (
        ("{np} in the {vertical} {side} corner", "{np} in the corner at the {vertical} {side}"),
        ("{np} in {vertical} {side} corner", "{np} {vertical} {side} corner"),
    ),
}
EXTREMES: dict[str, Phrases] = {
    "left": (
        ("leftmost {np}", "{np} furthest to the left", "{np} that is furthest to the left"),
        ("leftmost {np}", "{np} furthest left", "far left {np}"),
    ),
    "right": (
        ("rightmost {np}", "{np} furthest to the right", "{np} that is furthest to the right"),
        ("rightmost {np}", "{np} furthest right", "far right {np}"),
    ),
    "top": (("topmost {np}", "{np} closest to the top", "highest {np}"), ("topmost {np}", "highest {np}")),
    "bottom": (("lowest {np}", "{np} closest to the bottom"), ("lowest {np}", "{np} closest to bottom")),
    "largest": (("largest {np}", "biggest {np}", "largest {np} in the picture"), ("largest {np}", "biggest {np}")),
    "smallest": (
        ("smallest {np}", "tiniest {np}", "smallest {np} in the picture"),
        ("smallest {np}", "tiniest {np}"),
    ),
}
ORDINAL: Phrases = (
    ("{ordinal} {np} from the {side}", "{ordinal} {np} counting from the {side}"),
    ("{ordinal} {np} from {side}", "{ordinal} {np} from the {side}"),
)
RELATIONS: dict[str, Phrases] = {
    "left of": (("to the left of", "on the left side of", "left of"), ("left of", "to left of")),
    "right of": (("to the right of", "on the right side of", "right of"), ("right of", "to right of")),
    "above": (("above", "over"), ("above",)),
    "below": (("below", "under"), ("below", "under")),
    "near": (("next to", "near", "close to"), ("next to", "near", "by")),
    "closest": (("closest to", "nearest to"), ("closest to", "nearest")),
}
RELATION: Phrases = (("{np} {relation} {anchor}", "{np} {that} is {relation} {anchor}"), ("{np} {relation} {anchor}",))

#: What is said not to be so; first of things, then of persons.
NOT_COLOUR: tuple[Phrases, Phrases] = (
    (("{np} that is not {colour}", "{np} which is not {colour}"), ("{np} not {colour}",)),
    (
        ("{np} who is not wearing {colour}", "{np} not wearing {colour}", "{np} whose shirt is not {colour}"),
        ("{np} not in {colour}", "{np} not wearing {colour}"),
    ),
)
NOT_TEXTURE: tuple[Phrases, Phrases] = (
    (("{np} that is not {texture}", "{np} without {pattern}"), ("{np} not {texture}", "{np} no {pattern}")),
    (
        ("{np} whose shirt is not {texture}", "{np} without {pattern}"),
        ("{np} not {texture}", "{np} no {pattern}"),
    ),
)
NO_HAT: Phrases = (("{np} without a hat", "{np} who is not wearing a hat"), ("{np} without hat", "{np} no hat"))
NOT_REGION: Phrases = (("{np} {that} is not {place}", "{np} not {place}"), ("{np} not {place}",))
PLACES = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom"}


def _words(source: str | dict | Iterable) -> set[str]:
    """All words in nested dictionaries and tuples of phrases, without the ``{placeholders}``."""
    if isinstance(source, str):
        return {word for word in source.split() if not word.startswith("{")}
    parts = source.values() if isinstance(source, dict) else source
    return set().union(*map(_words, parts))


#: Every word that a sentence can hold, sorted.
VOCABULARY: tuple[str, ...] = tuple(
    sorted(
        {"the", "a", "that", "who"}
        | _words([NOUNS, ANY_NOUN, tuple(COLOURS), SIZE_WORDS, TEXTURE_WORDS, PATTERN_NOUNS, ORDINALS, VERTICAL])
        | _words([SHIRT, HAT, COLOUR_BEHIND, TEXTURE_BEHIND, REGIONS, EXTREMES, ORDINAL, RELATIONS, RELATION])
        | _words([NOT_COLOUR, NOT_TEXTURE, NO_HAT, NOT_REGION, PLACES])
    )
)
