"""Scenes and sentences: what each split promises, and that sentences say what programs mean."""

import collections
import re

import pytest

from ris_lib.data.scenes import COLOURS, HELD, KINDS, SPLITS, VOCABULARY, Scene, make_scene
from ris_lib.data.scenes.layout import MIN_VISIBLE
from ris_lib.data.scenes.vocabulary import CLASHES, NOUNS, SIZES, TEXTURES

MANY = 150


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[Scene]]:
    return {split: [make_scene(split, index) for index in range(MANY)] for split in SPLITS}


def every(scenes):
    return [scene for members in scenes.values() for scene in members]


def targets(scene):
    return {expression.target: scene.objects[expression.target] for expression in scene.expressions}


def test_names_and_ranges(scenes):
    for scene in every(scenes):
        assert 4 <= len(scene.objects) <= 10
        assert scene.expressions
        assert sorted(scene.order) == list(range(len(scene.objects)))
        assert not {one.colour for one in scene.objects} & set(CLASHES.get(scene.surface, ()))
        for one in scene.objects:
            assert one.category in NOUNS
            assert one.colour in COLOURS
            assert one.texture in TEXTURES
            assert SIZES[one.size][0] <= one.radius <= SIZES[one.size][1]
            assert one.visible >= MIN_VISIBLE
            assert 0 < one.x < 1000
            assert 0 < one.y < 1000
            assert not one.hat or one.category == "person"


def test_persons_are_half_of_the_targets_and_all_or_none_in_testa_and_testb(scenes):
    def share(split):
        categories = [one.category for scene in scenes[split] for one in targets(scene).values()]
        return categories.count("person") / len(categories)

    for split in ("train", "val", "test", "compositional"):
        assert 0.42 < share(split) < 0.58, split
    assert share("testA") == 1
    assert share("testB") == 0


def test_held_pairs_stand_in_compositional_only_and_are_named_by_the_pair(scenes):
    assert {colour for colour, _ in HELD} == set(COLOURS), "each colour stands once"
    for split, members in scenes.items():
        for scene in members:
            held = {k for k, one in enumerate(scene.objects) if (one.colour, one.category) in HELD}
            assert held == (set(targets(scene)) if split == "compositional" else set())
    for scene in scenes["compositional"]:
        assert len(targets(scene)) >= 2
        for expression in scene.expressions:
            target = scene.objects[expression.target]
            said = set(expression.sentence.split()) & {*COLOURS, *sum(NOUNS.values(), ())}
            assert said - set(NOUNS[target.category]) == {target.colour}
            assert any(o.category == target.category and o.colour != target.colour for o in scene.objects)
            assert any(o.colour == target.colour and o.category != target.category for o in scene.objects)


def test_every_kind_is_there_often_enough(scenes):
    kinds = collections.Counter(e.kind for scene in scenes["train"] for e in scene.expressions)
    assert set(kinds) == set(KINDS)
    assert kinds["ordinal"] >= 0.08 * kinds.total()
    assert kinds["negation"] >= 0.05 * kinds.total()
    assert 7 <= kinds.total() / MANY <= 10


def test_sentences_are_clean_and_say_the_words_of_their_program(scenes):
    for scene in every(scenes):
        for target in targets(scene):
            sentences = [e.sentence for e in scene.expressions if e.target == target]
            assert len(set(sentences)) == len(sentences)
        for expression in scene.expressions:
            assert re.fullmatch(r"[a-z]+( [a-z]+)*", expression.sentence)
            words = expression.sentence.split()
            assert set(words) <= set(VOCABULARY)
            assert "a a" not in expression.sentence
            assert "the the" not in expression.sentence
            said = expression.program.description
            for colour in (said.colour, said.not_colour):
                assert colour is None or colour in words
            assert said.category is None or set(words) & set(NOUNS[said.category])
            negated = {"not", "no", "without"} & set(words)
            assert bool(negated) == (expression.kind == "negation")


@pytest.mark.slow
def test_the_vocabulary_holds_what_is_said_and_nothing_else():
    said = {
        word for index in range(3000) for e in make_scene("train", index).expressions for word in e.sentence.split()
    }
    said |= {
        word
        for index in range(50)
        for e in make_scene("compositional", index).expressions
        for word in e.sentence.split()
    }
    assert list(VOCABULARY) == sorted(said)


def test_a_scene_is_always_the_same_and_no_two_are(scenes):
    assert make_scene("val", 7) == scenes["val"][7]
    seeds = [scene.seed for scene in every(scenes)]
    assert len(set(seeds)) == len(seeds)


def test_symbols_are_the_objects_by_name():
    scene = make_scene("val", 3)
    assert scene.symbols()[1] == {
        "category": scene.objects[1].category,
        "colour": scene.objects[1].colour,
        "texture": scene.objects[1].texture,
        "size": scene.objects[1].size,
    }


def test_what_does_not_exist_is_refused_with_what_does():
    with pytest.raises(ValueError, match=r"unknown split 'vla' of scenes; did you mean 'val'"):
        make_scene("vla", 0)
    for index in (-1, 400):
        with pytest.raises(ValueError, match="expected 0 to 399"):
            make_scene("val", index)
