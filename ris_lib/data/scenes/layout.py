"""What stands where: the description of a scene, in integers, and how one is made up.

Positions and sizes are thousandths of the picture's side, angles are degrees. A description is drawn from integer bits
and checked with exact arithmetic at one reference resolution (``silhouettes``): a seed is the same scene on every
machine and at whatever size it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ris_lib.data.scenes.bits import Bits
from ris_lib.data.scenes.silhouettes import visible_areas
from ris_lib.data.scenes.vocabulary import CATEGORIES, CLASHES, COLOURS, HELD, SIZES, SURFACES, TEXTURES

#: Percent of the scenes that hold persons; with the choice of targets it makes half of the targets persons.
PERSON_SCENES = 78
#: At least this share of each silhouette is visible, in percent.
MIN_VISIBLE = 55
_THINGS = CATEGORIES[1:]
_COLOURS = tuple(COLOURS)


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene.

    Args:
        category: A name of ``CATEGORIES``.
        colour: A name of ``COLOURS``; of a person, the colour of the shirt.
        texture: A name of ``TEXTURES``.
        size: A name of ``SIZES``.
        radius: Half the side of the square that the object fills, thousandths of the picture's side.
        x: Centre, thousandths from the left.
        y: Centre, thousandths from the top.
        rotation: Degrees, clockwise.
        mirrored: Drawn facing the other way.
        rgb: The drawn colour, 0 to 255: the named one with a little jitter.
        accent: Colour name of a roof or ribbon, None where there is none.
        hat: A person with a hat.
        skin: Number of the skin colour, persons only.
        hair: Number of the hair colour, persons only.
        angle: Direction of stripes, degrees.
        phase: Offset of stripes, degrees.
        visible: Percent of the silhouette that nothing covers, at the reference resolution.
    """

    category: str
    colour: str
    texture: str
    size: str
    radius: int
    x: int
    y: int
    rotation: int = 0
    mirrored: bool = False
    rgb: tuple[int, int, int] = (128, 128, 128)
    accent: str | None = None
    hat: bool = False
    skin: int = 0
    hair: int = 0
    angle: int = 0
    phase: int = 0
    visible: int = 100


def draw_order(objects: tuple[SceneObject, ...] | list[SceneObject]) -> list[int]:
    """Object numbers from back to front: what stands lower in the picture covers what stands higher."""
    return sorted(range(len(objects)), key=lambda k: (objects[k].y + objects[k].radius, k))


def sample_objects(bits: Bits, split: str) -> tuple[SceneObject, ...] | None:
    """Make up the objects of a scene.

    Args:
        bits: Where randomness comes from.
        split: Name of the split: persons for sure in ``testA``, held pairs in ``compositional`` only.

    Returns:
        Four to ten objects, or None where this draw gives no good scene; then draw again with other bits.
    """
    pairs = _held_pairs(bits) if split == "compositional" else _free_pairs(bits, split)
    textures = ("plain", *bits.sample(TEXTURES[1:], bits.between(1, 2)))
    objects: list[SceneObject] = []
    for colour, category in pairs:
        placed = _place(bits, colour, category, textures, objects)
        if placed is not None:
            objects.append(placed)
        elif split == "compositional":
            return None
    if len(objects) < 4:
        return None
    areas = visible_areas(objects, draw_order(objects))
    objects = [replace(thing, visible=seen * 100 // whole) for thing, (seen, whole) in zip(objects, areas)]
    if any(thing.visible < MIN_VISIBLE for thing in objects):
        return None
    return tuple(objects)


def choose_surface(bits: Bits, objects: tuple[SceneObject, ...]) -> str:
    """A surface on which every object can be seen."""
    colours = {thing.colour for thing in objects}
    return bits.pick([name for name in SURFACES if not colours & set(CLASHES.get(name, ()))])


def _free_pairs(bits: Bits, split: str) -> list[tuple[str, str]]:
    """(colour, category) of each object, none held: few categories and colours, so that one word is seldom enough."""
    persons_stand_there = split == "testA" or bits.chance(PERSON_SCENES)
    things = bits.sample(_THINGS, bits.between(1, 2) if persons_stand_there else 2)
    count = bits.between(6, 10)
    persons = bits.between(3, count - 2) if persons_stand_there else 0
    palette = bits.sample(_COLOURS, bits.between(3, 5))
    pairs = []
    for number in range(count):
        category = "person" if number < persons else things[0] if bits.chance(30) else things[number % len(things)]
        allowed = [(colour, category) for colour in palette if (colour, category) not in HELD]
        pairs.append(bits.pick(allowed))
    return bits.sample(pairs, count)


def _held_pairs(bits: Bits) -> list[tuple[str, str]]:
    """Two or four held pairs, half of them persons, and objects that share one word with each of them.

    For targets (a, person) and (b, car) the pairs (b, person) and (a, car) stand there too, so that neither the colour
    nor the category alone is enough.
    """
    count = bits.between(1, 2)
    persons = bits.sample([pair for pair in HELD if pair[1] == "person"], count)
    things = bits.sample([pair for pair in HELD if pair[1] != "person"], count)
    targets = persons + things
    mixed = [(a, y) for (a, _), (_, y) in zip(persons, things)] + [(b, x) for (_, x), (b, _) in zip(persons, things)]
    colours, categories = [colour for colour, _ in targets], [category for _, category in targets]
    free = [(colour, category) for colour in colours for category in categories if (colour, category) not in HELD]
    extra = [bits.pick(free) for _ in range(bits.between(0, 3) if count == 1 else 0)]
    return bits.sample(targets + mixed + extra, len(targets + mixed + extra))


def _place(
    bits: Bits, colour: str, category: str, textures: tuple[str, ...], others: list[SceneObject]
) -> SceneObject | None:
    """An object at a free place, or None where none was found. Some overlap is allowed, more of it now and then."""
    for _ in range(40):
        size = ("small", "medium", "large")[bits.weighted((30, 42, 28))]
        radius = bits.between(*SIZES[size])
        edge = radius * 95 // 100
        x, y = bits.between(edge, 1000 - edge), bits.between(edge, 1000 - edge)
        distance = 94 if bits.chance(75) else 70
        if all(_apart(x - other.x, y - other.y, (radius + other.radius) * distance) for other in others):
            break
    else:
        return None
    light = bits.between(94, 105)
    red, green, blue = (max(0, min(255, level * light // 100 + bits.bell(2))) for level in COLOURS[colour][0])
    accents = [name for name in _COLOURS if name not in (colour, "black")]
    return SceneObject(
        category=category,
        colour=colour,
        texture=textures[0] if bits.chance(50) else bits.pick(textures[1:]),
        size=size,
        radius=radius,
        x=x,
        y=y,
        rotation=bits.bell(5),
        mirrored=bits.chance(50),
        rgb=(red, green, blue),
        accent=bits.pick(accents) if category in ("house", "gift") else None,
        hat=category == "person" and bits.chance(40),
        skin=bits.below(5),
        hair=bits.below(5),
        angle=bits.pick((0, 45, 90)),
        phase=bits.below(360),
    )


def _apart(across: int, down: int, hundredfold: int) -> bool:
    return 10_000 * (across * across + down * down) >= hundredfold * hundredfold
