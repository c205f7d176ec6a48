"""A scene: its objects, what it stands on, and what can be said of it."""

from __future__ import annotations

from dataclasses import dataclass

from ris_lib._names import unknown
from ris_lib.data.scenes.bits import Bits, seed_of
from ris_lib.data.scenes.grammar import SceneExpression, expressions, name_pair
from ris_lib.data.scenes.layout import SceneObject, choose_surface, draw_order, sample_objects
from ris_lib.data.scenes.resolver import Resolver
from ris_lib.data.scenes.vocabulary import HELD

#: Name of the data set; every scene depends on it.
VERSION = "scenes-v1"
#: Number of scenes of each split.
SPLITS = {"train": 8000, "val": 400, "test": 1000, "testA": 500, "testB": 500, "compositional": 500}
#: At most so many objects of a scene are targets.
MAX_TARGETS = 4
#: Percent: how often the next target is a person where both persons and things are left.
PERSON_TARGETS = 65
#: Percent of the targets with three sentences instead of two.
THIRD_SENTENCE = 30


@dataclass(frozen=True)
class Scene:
    """The description of one picture, in integers, at no particular size.

    Args:
        split: Name of the split.
        index: Number in the split.
        seed: Drives textures and pixel noise.
        surface: A name of ``SURFACES``.
        noise: Strength of the pixel noise, tenths of a level.
        objects: Four to ten objects; object k has the id k + 1 in drawn id maps.
        expressions: At least one; the sentences of one target stand together.
    """

    split: str
    index: int
    seed: int
    surface: str
    noise: int
    objects: tuple[SceneObject, ...]
    expressions: tuple[SceneExpression, ...]

    @property
    def order(self) -> list[int]:
        """Object numbers from back to front."""
        return draw_order(self.objects)

    def symbols(self) -> list[dict[str, str]]:
        """Category, colour, texture and size of each object, by name.

        Real data sets do not have them: what uses them in training must say so.
        """
        names = ("category", "colour", "texture", "size")
        return [{name: getattr(thing, name) for name in names} for thing in self.objects]


def make_scene(split: str, index: int, key: str = "") -> Scene:
    """Make a scene; the same on every machine.

    Args:
        split: A name of ``SPLITS``. ``testA`` asks for persons only, ``testB`` for other things only, ``compositional``
            for held colour-category pairs only, which occur in no other split.
        index: From 0 to the size of the split, excluded.
        key: With a key, other scenes of the same kind come out, which nobody can make without it.

    Raises:
        ValueError: There is no such split or scene.

    Example:
        >>> scene = make_scene("val", 0)
        >>> scene == make_scene("val", 0)
        True
        >>> scene == make_scene("val", 0, key="nobody knows")
        False
        >>> len(scene.objects) >= 4 and len(scene.expressions) >= 1
        True
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS, of="scenes")
    if not 0 <= index < SPLITS[split]:
        raise ValueError(f"scene {index} of split {split!r} does not exist; expected 0 to {SPLITS[split] - 1}.")
    attempt = 0
    while True:
        bits = Bits(seed_of(VERSION, split, index, attempt, *([key] if key else [])))
        attempt += 1
        objects = sample_objects(bits, split)
        if objects is None:
            continue
        said = _say(bits, split, objects)
        if said:
            surface = choose_surface(bits, objects)
            return Scene(split, index, bits.word(), surface, bits.between(10, 40), objects, said)


def _say(bits: Bits, split: str, objects: tuple[SceneObject, ...]) -> tuple[SceneExpression, ...]:
    resolver = Resolver(objects)
    said: list[SceneExpression] = []
    if split == "compositional":
        for target, thing in enumerate(objects):
            if (thing.colour, thing.category) in HELD:
                named = name_pair(resolver, target, bits, 2)
                if not named:
                    return ()
                said += named
        return tuple(said)
    persons = [k for k, thing in enumerate(objects) if thing.category == "person" and split != "testB"]
    things = [k for k, thing in enumerate(objects) if thing.category != "person" and split != "testA"]
    persons, things = bits.sample(persons, len(persons)), bits.sample(things, len(things))
    targets = 0
    while targets < MAX_TARGETS and (persons or things):
        pool = persons if not things or (persons and bits.chance(PERSON_TARGETS)) else things
        named = expressions(resolver, pool.pop(), bits, 3 if bits.chance(THIRD_SENTENCE) else 2)
        said += named
        targets += bool(named)
    return tuple(said)
