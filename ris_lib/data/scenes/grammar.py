"""From programs to sentences: which programs are asked of a scene, and how they are said."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ris_lib.data.scenes import vocabulary as words
from ris_lib.data.scenes.bits import Bits
from ris_lib.data.scenes.resolver import Description, Modifier, Program, Resolver

#: How often each kind is tried, in the order of ``KINDS``; a kind that fits no object is tried in vain.
KIND_WEIGHTS: tuple[int, ...] = (30, 22, 14, 14, 20, 14)
#: Percent of the programs kept although their modifier was not needed: people say more than they must.
REDUNDANT = 12
#: Percent of the sentences in telegraphic style ("red ball left").
TELEGRAPHIC = 40
_SIDES = ("left", "right", "top", "bottom")
_QUARTERS = ("top left", "top right", "bottom left", "bottom right")
_REGIONS = (*_SIDES, "middle", *_QUARTERS, *(f"{quarter} corner" for quarter in _QUARTERS))


@dataclass(frozen=True)
class SceneExpression:
    """A sentence that names one object of a scene.

    Args:
        sentence: Lower case, words separated by single spaces.
        target: Number of the object in ``Scene.objects``.
        kind: A name of ``KINDS``.
        program: What the sentence means; ``Resolver(scene.objects).resolve(program) == target``.
    """

    sentence: str
    target: int
    kind: str
    program: Program


def expressions(resolver: Resolver, target: int, bits: Bits, count: int) -> list[SceneExpression]:
    """Make up different sentences that name one object.

    Args:
        resolver: Of the scene.
        target: Number of the object.
        bits: Where randomness comes from.
        count: How many at most; fewer where the object cannot be named in so many ways.
    """
    weights = list(KIND_WEIGHTS)
    made: list[SceneExpression] = []
    while len(made) < count and any(weights):
        position = bits.weighted(weights)
        kind = words.KINDS[position]
        program = _find(resolver, target, bits, kind, {expression.program for expression in made})
        if program is None:
            weights[position] = 0
            continue
        weights[position] = (weights[position] + 3) // 4
        made.append(SceneExpression(say(program, bits), target, kind, program))
    return made


def name_pair(resolver: Resolver, target: int, bits: Bits, count: int) -> list[SceneExpression]:
    """Sentences that name an object by its colour and category and nothing else; none where that is not enough."""
    thing = resolver.objects[target]
    program = Program(Description(category=thing.category, colour=thing.colour))
    if resolver.resolve(program) != target:
        return []
    said = {say(program, bits): None for _ in range(4 * count)}
    return [SceneExpression(sentence, target, "attribute", program) for sentence in list(said)[:count]]


def _find(resolver: Resolver, target: int, bits: Bits, kind: str, used: set[Program]) -> Program | None:
    """A program of a kind that names the target, the first in random order."""
    candidates = _CANDIDATES[kind](resolver, target)
    for program in bits.sample(candidates, len(candidates)):
        if program in used or resolver.resolve(program) != target:
            continue
        described = program.description
        if program.modifier is not None:
            bare = replace(program, modifier=None)
        else:
            bare = Program(replace(described, not_colour=None, not_texture=None, hat=None))
        if bare != program and resolver.resolve(bare) == target and (kind == "negation" or not bits.chance(REDUNDANT)):
            continue
        return program
    return None


def _descriptions(resolver: Resolver, target: int) -> list[Description]:
    """Ways to describe an object, the short ones more than once so that they are drawn more often."""
    thing = resolver.objects[target]
    bare = Description(category=thing.category)
    coloured = replace(bare, colour=thing.colour)
    found = [bare, bare, coloured, coloured, replace(bare, texture=thing.texture)]
    found.append(replace(coloured, texture=thing.texture))
    if thing.category != "person":
        found.append(Description(colour=thing.colour))
    return found


def _attribute(resolver: Resolver, target: int) -> list[Program]:
    thing = resolver.objects[target]
    found = _descriptions(resolver, target)
    bare, coloured = found[0], found[2]
    if thing.category != "person":
        found.append(Description(colour=thing.colour, texture=thing.texture))
        found.append(Description(texture=thing.texture))
    if thing.size != "medium":
        found += [replace(description, size=thing.size) for description in (bare, coloured)]
    if thing.hat:
        found += [replace(description, hat=True) for description in (bare, coloured)]
    return [Program(description) for description in found]


def _location(resolver: Resolver, target: int) -> list[Program]:
    places = [word for word in _REGIONS if resolver.region(word).yes >> target & 1]
    return [
        Program(description, Modifier("region", word))
        for description in _descriptions(resolver, target)
        for word in places
    ]


def _superlative(resolver: Resolver, target: int) -> list[Program]:
    return [
        Program(description, Modifier("extreme", word))
        for description in _descriptions(resolver, target)
        for word in (*_SIDES, "largest", "smallest")
        if description.category or word in _SIDES
    ]


def _ordinal(resolver: Resolver, target: int) -> list[Program]:
    return [
        Program(description, Modifier("ordinal", side, number))
        for description in _descriptions(resolver, target)
        for side in _SIDES
        for number in words.ORDINALS
    ]


def _relation(resolver: Resolver, target: int) -> list[Program]:
    anchors = [describe_shortly(resolver, other) for other in range(len(resolver.objects)) if other != target]
    relations = [
        Modifier("closest" if word == "closest" else "relation", word, anchor=anchor)
        for anchor in anchors
        if anchor is not None
        for word in words.RELATIONS
    ]
    return [
        Program(description, relation) for description in _descriptions(resolver, target)[1:5] for relation in relations
    ]


def _negation(resolver: Resolver, target: int) -> list[Program]:
    thing = resolver.objects[target]
    bare = Description(category=thing.category)
    coloured = replace(bare, colour=thing.colour)
    patterned = replace(bare, texture=thing.texture)
    around = {other.colour for other in resolver.objects} - {thing.colour}
    found = [
        replace(base, not_colour=colour) for base in (bare, patterned) for colour in words.COLOURS if colour in around
    ]
    for texture in words.TEXTURES:
        if texture != thing.texture:
            found += [replace(base, not_texture=texture) for base in (bare, coloured)]
    if thing.category == "person" and not thing.hat:
        found += [replace(base, hat=False) for base in (bare, coloured)]
    programs = [Program(description) for description in found]
    for side in _SIDES:
        programs += [Program(description, Modifier("not region", side)) for description in (bare, coloured)]
    return programs


_CANDIDATES = {
    "attribute": _attribute,
    "location": _location,
    "superlative": _superlative,
    "ordinal": _ordinal,
    "relation": _relation,
    "negation": _negation,
}


def describe_shortly(resolver: Resolver, target: int) -> Description | None:
    """The shortest description that fits this object only: category, with colour, with texture; None if none does."""
    thing = resolver.objects[target]
    bare = Description(category=thing.category)
    for description in (bare, replace(bare, colour=thing.colour), replace(bare, texture=thing.texture)):
        if description.texture != "plain" and resolver.resolve(Program(description)) == target:
            return description
    return None


def say(program: Program, bits: Bits) -> str:
    """Say a program, one of the ways in which it can be said.

    Example:
        >>> say(Program(Description(category="ball", colour="red"), Modifier("ordinal", "left", 2)), Bits(1))
        'the second red ball counting from the left'
    """
    style = int(bits.chance(TELEGRAPHIC))
    description, modifier = program.description, program.modifier
    negated = description.not_colour or description.not_texture or description.hat is False
    noun_phrase = _noun_phrase(description, bits, style, alone=modifier is None and not negated)
    person = description.category == "person"
    if negated:
        sentence = _say_negated(description, noun_phrase, bits, style)
    elif modifier is not None:
        sentence = _say_modified(modifier, noun_phrase, person, bits, style)
    else:
        sentence = noun_phrase
    return sentence if style else f"the {sentence}"


def _noun_phrase(description: Description, bits: Bits, style: int, alone: bool) -> str:
    """Noun with what is said before and behind it; ``alone``: nothing follows, so that longer forms can be read."""
    person = description.category == "person"
    before, behind = [], []
    if description.size:
        before.append(bits.pick(words.SIZE_WORDS[description.size]))
    texture = bits.pick(words.TEXTURE_WORDS[description.texture]) if description.texture else ""
    colour = description.colour or ""
    if person and (texture or colour):
        form = "both" if texture and colour else "colour" if colour else "texture"
        shirt = bits.pick(words.SHIRT[form][style]).format(colour=colour, texture=texture)
        (before if style and shirt.endswith("shirt") and not shirt.startswith("in ") else behind).append(shirt)
    elif not person:
        if description.texture and alone and texture != "plain" and bits.chance(25):
            pattern = bits.pick(words.PATTERN_NOUNS[description.texture])
            behind.append(bits.pick(words.TEXTURE_BEHIND[style]).format(pattern=pattern))
        elif texture:
            before.append(texture)
        if colour and alone and not behind and bits.chance(12):
            behind.append(bits.pick(words.COLOUR_BEHIND[style]).format(colour=colour))
        elif colour:
            before.append(colour)
    if description.hat:
        behind.append(bits.pick(words.HAT[style]))
    noun = bits.pick(words.NOUNS[description.category] if description.category else words.ANY_NOUN)
    return " ".join([*before, noun, *behind])


def _say_negated(description: Description, noun_phrase: str, bits: Bits, style: int) -> str:
    person = description.category == "person"
    if description.hat is False:
        return bits.pick(words.NO_HAT[style]).format(np=noun_phrase)
    if description.not_colour:
        return bits.pick(words.NOT_COLOUR[person][style]).format(np=noun_phrase, colour=description.not_colour)
    name = description.not_texture
    assert name is not None  # one of the three is said
    phrases = words.NOT_TEXTURE[person][style]
    if name == "plain":
        phrases = tuple(phrase for phrase in phrases if "{pattern}" not in phrase)
    pattern = bits.pick(words.PATTERN_NOUNS.get(name, ("",)))
    return bits.pick(phrases).format(np=noun_phrase, texture=bits.pick(words.TEXTURE_WORDS[name]), pattern=pattern)


def _say_modified(modifier: Modifier, noun_phrase: str, person: bool, bits: Bits, style: int) -> str:
    that = "who" if person else "that"
    if modifier.name == "region":
        return _say_region(modifier.word, noun_phrase, bits, style)
    if modifier.name == "not region":
        return bits.pick(words.NOT_REGION[style]).format(np=noun_phrase, that=that, place=words.PLACES[modifier.word])
    if modifier.name == "extreme":
        return bits.pick(words.EXTREMES[modifier.word][style]).format(np=noun_phrase)
    if modifier.name == "ordinal":
        ordinal = words.ORDINALS[modifier.number]
        return bits.pick(words.ORDINAL[style]).format(np=noun_phrase, ordinal=ordinal, side=modifier.word)
    anchor = _noun_phrase(modifier.other(), bits, style, alone=False)
    return bits.pick(words.RELATION[style]).format(
        np=noun_phrase,
        that=that,
        relation=bits.pick(words.RELATIONS[modifier.word][style]),
        anchor=anchor if style and bits.chance(50) else f"the {anchor}",
    )


def _say_region(word: str, noun_phrase: str, bits: Bits, style: int) -> str:
    parts = word.split()
    if len(parts) == 1:
        form = "middle" if word == "middle" else "side" if word in ("left", "right") else "vertical"
        return bits.pick(words.REGIONS[form][style]).format(np=noun_phrase, side=word)
    vertical = bits.pick(words.VERTICAL[parts[0]])
    form = "corner" if parts[-1] == "corner" else "quarter"
    return bits.pick(words.REGIONS[form][style]).format(np=noun_phrase, vertical=vertical, side=parts[1])
