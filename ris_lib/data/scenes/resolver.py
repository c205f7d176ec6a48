"""What a program means in a scene, in three values: true, false, unsure.

A program is a description ("red ball") with at most one modifier ("on the left"). Every test has a margin: clearly so,
clearly not so, and between them unsure, where readers might disagree. A program names an object only if exactly one
object is true and none is unsure. The margins are our decision, made by looking at pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ris_lib.data.scenes.layout import SceneObject

#: Sides (thousandths): clearly left below the first, clearly not left above the second. Likewise for the others.
SIDE = (390, 500)
#: The same for the corners, and for the distance from the middle.
CORNER, MIDDLE = (280, 420), (140, 250)
#: Objects are in order where their centres differ by this much and their outer edges do not disagree.
ORDER_GAP = 70
#: Hundredths: a larger object's radius over the smaller one's, at least.
SIZE_RATIO = 125
#: Between two objects' squares: clearly near below the first, clearly not near above the second.
NEAR = (80, 170)
#: The second-nearest is further away by this much, from centre to centre and from edge to edge, and by this factor
#: (hundredths) from centre to centre.
CLOSER_GAP, CLOSER_EDGE_GAP, CLOSER_RATIO = 90, 30, 130
#: Percent of the silhouette: what is hidden more than this may hide its hat or look smaller.
PLAIN_TO_SEE = 80


@dataclass(frozen=True)
class Description:
    """What is said of an object itself; None = not said.

    Args:
        category: Name of the category; None is said as "thing", which never means a person.
        colour: Name of the colour.
        texture: Name of the texture.
        size: ``small`` or ``large``.
        hat: True "with a hat", False "without a hat".
        not_colour: "that is not red".
        not_texture: "that is not striped".
    """

    category: str | None = None
    colour: str | None = None
    texture: str | None = None
    size: str | None = None
    hat: bool | None = None
    not_colour: str | None = None
    not_texture: str | None = None


@dataclass(frozen=True)
class Modifier:
    """What is said of an object's place or rank.

    Args:
        name: ``region``, ``not region``, ``extreme`` (a rank from one end), ``ordinal``, ``relation`` or ``closest``.
        word: The region; the end that is counted from (a side, ``largest``, ``smallest``); the relation.
        number: Rank from that end, from 1.
        anchor: The other object of a relation.
    """

    name: str
    word: str
    number: int = 1
    anchor: Description | None = None

    def other(self) -> Description:
        """The other object of a relation.

        Raises:
            ValueError: It is not described.
        """
        if self.anchor is None:
            raise ValueError(f"the modifier {self.name!r} has no anchor; describe the other object.")
        return self.anchor


@dataclass(frozen=True)
class Program:
    """The meaning of a sentence."""

    description: Description
    modifier: Modifier | None = None


class Truth(NamedTuple):
    """A three-valued statement about all objects; bit k stands for object k.

    Args:
        yes: Objects for which it is true.
        maybe: Objects for which it is true or unsure.
    """

    yes: int
    maybe: int

    def __and__(self, other: Truth) -> Truth:
        return Truth(self.yes & other.yes, self.maybe & other.maybe)


def judge(value: float, bounds: tuple[float, float]) -> tuple[bool, bool]:
    """(true, true or unsure) of "``value`` is small", given (clearly so below, clearly not so above)."""
    return value < bounds[0], value <= bounds[1]


class Resolver:
    """Finds what programs mean in one scene.

    Args:
        objects: The scene's objects.

    Example:
        >>> cat = SceneObject("cat", "red", "plain", "small", radius=80, x=200, y=500)
        >>> bird = SceneObject("bird", "red", "plain", "large", radius=140, x=800, y=500)
        >>> resolver = Resolver([cat, bird])
        >>> resolver.resolve(Program(Description(colour="red"))) is None  # both are red
        True
        >>> resolver.resolve(Program(Description(colour="red"), Modifier("region", "right")))
        1
    """

    def __init__(self, objects: Sequence[SceneObject]):
        self.objects = tuple(objects)
        self._everything = (1 << len(self.objects)) - 1
        self._known: dict[tuple, Truth] = {}

    def resolve(self, program: Program) -> int | None:
        """The number of the one object that a program means, or None where that is not sure.

        Raises:
            ValueError: The program speaks of a relation to an object that it does not describe.
        """
        described = self.describe(program.description)
        modifier = program.modifier
        if modifier is None:
            return _only(described)
        if modifier.name in ("region", "not region"):
            region = self.region(modifier.word)
            if modifier.name == "not region":
                region = self._negate(region)
            return _only(described & region)
        if modifier.name in ("extreme", "ordinal"):
            return self._ranked(described, modifier)
        anchor = _only(self.describe(modifier.other()))
        if anchor is None:
            return None
        if modifier.name == "closest":
            return self._closest(described, anchor)
        return _only(described & self.relation(modifier.word, anchor))

    def describe(self, description: Description) -> Truth:
        """Which objects a description fits."""
        truth = self._is("category", description.category)
        for attribute in ("colour", "texture", "size", "hat"):
            value = getattr(description, attribute)
            if value is not None:
                truth &= self._is(attribute, value)
        for attribute in ("colour", "texture"):
            value = getattr(description, f"not_{attribute}")
            if value is not None:
                truth &= self._negate(self._is(attribute, value))
        return truth

    def region(self, word: str) -> Truth:
        """Which objects lie in a part of the picture: a side, ``middle``, ``top left``, ``top left corner``, ..."""
        return self._remember(("region", word), lambda thing: _in_region(thing, word))

    def relation(self, word: str, anchor: int) -> Truth:
        """Which objects stand so to the object ``anchor``, which itself does not."""
        other = self.objects[anchor]
        return self._remember(
            ("relation", word, anchor),
            lambda thing: (False, False) if thing is other else _related(thing, word, other),
        )

    def before(self, first: int, second: int, end: str) -> bool:
        """Whether ``first`` clearly comes before ``second``, counted from an end (side, ``largest``, ``smallest``)."""
        a, b = self.objects[first], self.objects[second]
        if end == "largest":
            return 100 * a.radius >= SIZE_RATIO * b.radius
        if end == "smallest":
            return 100 * b.radius >= SIZE_RATIO * a.radius
        place, other = _from_side(a, end), _from_side(b, end)
        return other - place >= ORDER_GAP and other - b.radius >= place - a.radius

    def _ranked(self, described: Truth, modifier: Modifier) -> int | None:
        """The object of a rank; a superlative takes two objects to compare, an ordinal takes three."""
        if described.yes != described.maybe:
            return None
        members = [k for k in range(len(self.objects)) if described.yes >> k & 1]
        if len(members) < (3 if modifier.name == "ordinal" else 2) or modifier.number >= len(members):
            return None
        if modifier.word in ("largest", "smallest") and any(self.objects[k].visible < PLAIN_TO_SEE for k in members):
            return None
        for k in members:
            ahead = sum(self.before(other, k, modifier.word) for other in members if other != k)
            if ahead == modifier.number - 1:
                behind = sum(self.before(k, other, modifier.word) for other in members if other != k)
                if ahead + behind == len(members) - 1:
                    return k
        return None

    def _closest(self, described: Truth, anchor: int) -> int | None:
        """The described object closest to the anchor, which does not count itself."""
        if described.yes != described.maybe:
            return None
        other = self.objects[anchor]
        members = [k for k in range(len(self.objects)) if described.yes >> k & 1 and k != anchor]
        ways = sorted((math.sqrt(_square(self.objects[k], other)), self.objects[k].radius, k) for k in members)
        if len(ways) < 2:
            return None
        nearest, radius, winner = ways[0]
        clear = all(
            way - nearest >= CLOSER_GAP
            and (way - size) - (nearest - radius) >= CLOSER_EDGE_GAP
            and 100 * way >= CLOSER_RATIO * nearest
            for way, size, _ in ways[1:]
        )
        return winner if clear else None

    def _is(self, attribute: str, value: object) -> Truth:
        return self._remember((attribute, value), lambda thing: _has(thing, attribute, value))

    def _negate(self, truth: Truth) -> Truth:
        return Truth(self._everything & ~truth.maybe, self._everything & ~truth.yes)

    def _remember(self, key: tuple, test: Callable[[SceneObject], tuple[bool, bool]]) -> Truth:
        truth = self._known.get(key)
        if truth is None:
            yes = maybe = 0
            for number, thing in enumerate(self.objects):
                true, possible = test(thing)
                yes |= true << number
                maybe |= possible << number
            truth = self._known[key] = Truth(yes, maybe)
        return truth


def _only(truth: Truth) -> int | None:
    """The one object that is true where no other is true or unsure."""
    if truth.yes == truth.maybe and truth.yes and not truth.yes & (truth.yes - 1):
        return truth.yes.bit_length() - 1
    return None


def _has(thing: SceneObject, attribute: str, value: object) -> tuple[bool, bool]:
    if attribute == "category" and value is None:  # a "thing": some readers would call a person so
        return thing.category != "person", True
    if attribute == "size":  # medium might be called either
        return thing.size == value, thing.size in (value, "medium")
    if attribute == "colour":  # a house with a red roof might be called red
        return thing.colour == value, value in (thing.colour, thing.accent)
    if attribute == "hat":
        fits = thing.category == "person" and thing.hat == value
        hidden = thing.category == "person" and thing.visible < PLAIN_TO_SEE
        return fits and not hidden, fits or hidden
    fits = getattr(thing, attribute) == value
    return fits, fits


def _from_side(thing: SceneObject, side: str) -> int:
    """Distance of the centre from a side of the picture, thousandths."""
    place = thing.x if side in ("left", "right") else thing.y
    return place if side in ("left", "top") else 1000 - place


def _in_region(thing: SceneObject, word: str) -> tuple[bool, bool]:
    if word == "middle":
        return judge(max(abs(thing.x - 500), abs(thing.y - 500)), MIDDLE)
    sides = word.split()
    bounds = SIDE
    if sides[-1] == "corner":
        sides, bounds = sides[:-1], CORNER
    verdicts = [judge(_from_side(thing, side), bounds) for side in sides]
    return all(true for true, _ in verdicts), all(possible for _, possible in verdicts)


def _related(thing: SceneObject, word: str, anchor: SceneObject) -> tuple[bool, bool]:
    if word == "near":
        return judge(math.sqrt(_square(thing, anchor)) - thing.radius - anchor.radius, NEAR)
    right, down = thing.x - anchor.x, thing.y - anchor.y
    way, off = {"left of": (-right, down), "right of": (right, down), "above": (-down, right), "below": (down, right)}[
        word
    ]
    clear = way > max(60, (thing.radius + anchor.radius) // 2) and abs(off) < 8 * way // 10 + 20
    return clear, way > -20


def _square(a: SceneObject, b: SceneObject) -> int:
    """Squared distance of two centres; its square root in double precision is the same everywhere."""
    return (a.x - b.x) ** 2 + (a.y - b.y) ** 2
