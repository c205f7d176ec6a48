"""The resolver: hand-made scenes, where readers would hesitate it must, and a second reading without margins agrees."""

import math

import pytest

from ris_lib.data.scenes import SPLITS, Description, Modifier, Program, Resolver, SceneObject, make_scene
from ris_lib.data.scenes.bits import Bits
from ris_lib.data.scenes.grammar import say


def thing(category="ball", colour="red", x=500, y=500, radius=100, **more):
    sizes = {"texture": "plain", "size": "small" if radius < 90 else "medium" if radius < 120 else "large"}
    return SceneObject(category=category, colour=colour, x=x, y=y, radius=radius, **(sizes | more))


def resolve(objects, modifier=None, **said):
    return Resolver(objects).resolve(Program(Description(**said), modifier))


def test_one_true_and_none_unsure():
    objects = [thing(), thing(colour="blue"), thing("cat", "blue")]
    assert resolve(objects, category="ball", colour="blue") == 1
    assert resolve(objects, category="ball") is None, "two balls"
    assert resolve(objects, category="star") is None, "no star"


@pytest.mark.parametrize(("other", "expected"), [(100, None), (104, None), (124, None), (125, 1), (140, 1)])
def test_the_largest_is_clearly_larger(other, expected):
    stars = [thing("star", x=200), thing("star", x=800, radius=other)]
    assert resolve(stars, Modifier("extreme", "largest"), category="star") == expected
    assert resolve(stars, Modifier("extreme", "smallest"), category="star") == (None if expected is None else 0)


def test_superlatives_need_a_rival_and_rivals_in_plain_sight():
    assert resolve([thing()], Modifier("extreme", "left"), category="ball") is None
    stars = [thing("star", radius=150), thing("star", radius=80, visible=70)]
    assert resolve(stars, Modifier("extreme", "largest"), category="star") is None


@pytest.mark.parametrize("name", ["relation", "closest"])
def test_a_relation_needs_another_object(name):
    with pytest.raises(ValueError, match=f"modifier '{name}' has no anchor; describe the other object"):
        resolve([thing()], Modifier(name, "near"), category="ball")
    with pytest.raises(ValueError, match=f"modifier '{name}' has no anchor; describe the other object"):
        say(Program(Description("ball"), Modifier(name, "near")), Bits(0))


def test_left_leaves_room_for_doubt():
    for x, expected in [(300, 0), (450, None), (600, None)]:
        assert resolve([thing(x=x)], Modifier("region", "left"), category="ball") == expected
    near_middle = [thing(x=300), thing(x=450)]
    assert resolve(near_middle, Modifier("region", "left"), category="ball") is None, "the second might be meant"
    assert resolve(near_middle, Modifier("extreme", "left"), category="ball") == 0


def test_the_rank_counts_centres_and_edges():
    small_and_big = [thing(y=240, radius=72), thing(y=310, radius=158)]
    assert resolve(small_and_big, Modifier("extreme", "top"), category="ball") is None, "the big one reaches higher"
    row = [thing(x=x) for x in (100, 400, 440, 800)]
    assert resolve(row, Modifier("ordinal", "left", 1), category="ball") == 0
    assert resolve(row, Modifier("ordinal", "left", 2), category="ball") is None, "the second and third stand together"
    assert resolve(row, Modifier("ordinal", "right", 1), category="ball") == 3
    assert resolve(row[:2], Modifier("ordinal", "left", 1), category="ball") is None, "counting takes three"


def test_a_second_colour_is_a_doubt():
    houses = [thing("house", "red", accent="white"), thing("house", "white", accent="red")]
    assert resolve(houses, category="house", colour="red") is None
    assert resolve(houses[:1], category="house", colour="red") == 0


def test_a_person_is_no_thing_but_perhaps():
    assert resolve([thing(), thing("person")], colour="red") is None
    assert resolve([thing(), thing("person", "blue")], colour="red") == 0


def test_medium_might_be_called_either():
    assert resolve([thing(radius=140), thing(radius=80)], category="ball", size="large") == 0
    assert resolve([thing(radius=140), thing(radius=105)], category="ball", size="large") is None


def test_negation_turns_truth_but_not_doubt():
    objects = [thing(), thing(), thing(colour="blue")]
    assert resolve(objects, category="ball", not_colour="red") == 2
    assert resolve(objects, category="ball", not_colour="blue") is None
    side = [thing(x=100), thing(x=800)]
    assert resolve(side, Modifier("not region", "left"), category="ball") == 1
    assert resolve([thing(x=100), thing(x=450)], Modifier("not region", "left"), category="ball") is None


def test_a_hidden_hat_is_a_doubt():
    persons = [thing("person", hat=True), thing("person", hat=False)]
    assert resolve(persons, category="person", hat=True) == 0
    assert resolve(persons, category="person", hat=False) == 1
    persons[1] = thing("person", hat=False, visible=60)
    assert resolve(persons, category="person", hat=True) is None


def test_relations():
    objects = [thing(x=200), thing(x=800), thing("tree", "green", x=500)]
    tree = Description(category="tree")
    assert resolve(objects, Modifier("relation", "left of", anchor=tree), category="ball") == 0
    assert resolve(objects, Modifier("relation", "right of", anchor=tree), category="ball") == 1
    assert resolve(objects, Modifier("relation", "near", anchor=tree), category="ball") is None
    assert resolve(objects, Modifier("closest", "closest", anchor=tree), category="ball") is None, "equally far"
    assert resolve([thing(x=330), *objects[1:]], Modifier("closest", "closest", anchor=tree), category="ball") == 0
    far_away = [thing(x=200, y=200), thing(x=290, y=200), thing("tree", "green", x=900, y=900)]
    assert resolve(far_away, Modifier("closest", "closest", anchor=tree), category="ball") is None, "hard to tell"
    two_trees = [*objects, thing("tree", "green", x=400)]
    assert resolve(two_trees, Modifier("relation", "left of", anchor=tree), category="ball") is None, "which tree?"


def fits(thing, said):
    """Whether a description is true, read word for word."""
    return (
        (thing.category == said.category if said.category else thing.category != "person")
        and said.colour in (None, thing.colour)
        and said.texture in (None, thing.texture)
        and said.size in (None, thing.size)
        and said.hat in (None, thing.hat)
        and said.not_colour != thing.colour
        and said.not_texture != thing.texture
    )


def place(thing, end):
    signs = {"left": thing.x, "right": -thing.x, "top": thing.y, "bottom": -thing.y}
    return (signs | {"largest": -thing.radius, "smallest": thing.radius})[end]


def inside(thing, word):
    if word == "middle":
        return max(abs(thing.x - 500), abs(thing.y - 500)) < 250
    part = 400 if word.endswith("corner") else 500
    far = {"left": thing.x, "right": 1000 - thing.x, "top": thing.y, "bottom": 1000 - thing.y}
    return all(far[side] < part for side in word.split() if side != "corner")


def read(objects, program):
    """Everything a sentence is true of, without margins and without the resolver's code."""
    found = [k for k, one in enumerate(objects) if fits(one, program.description)]
    modifier = program.modifier
    if modifier is None:
        return found
    if modifier.name in ("region", "not region"):
        return [k for k in found if inside(objects[k], modifier.word) == (modifier.name == "region")]
    if modifier.name in ("extreme", "ordinal"):
        return [sorted(found, key=lambda k: place(objects[k], modifier.word))[modifier.number - 1]]
    (anchor,) = [k for k, one in enumerate(objects) if fits(one, modifier.anchor)]
    other = objects[anchor]
    far = {k: math.dist((objects[k].x, objects[k].y), (other.x, other.y)) for k in found if k != anchor}
    if modifier.name == "closest":
        return [min(far, key=far.get)]
    if modifier.word == "near":
        return [k for k, way in far.items() if way < 120 + objects[k].radius + other.radius]
    end = {"left of": "left", "right of": "right", "above": "top", "below": "bottom"}[modifier.word]
    return [k for k in far if place(objects[k], end) < place(other, end)]


@pytest.mark.parametrize("split", SPLITS)
def test_every_sentence_names_its_target_alone(split):
    for index in range(80):
        scene = make_scene(split, index)
        resolver = Resolver(scene.objects)
        for expression in scene.expressions:
            assert resolver.resolve(expression.program) == expression.target, expression
            assert read(scene.objects, expression.program) == [expression.target], expression
