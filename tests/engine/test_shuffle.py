from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ris_lib.engine.shuffle import other_pictures, shuffle_sentences, with_index


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=12), st.integers(0, 5))
def test_every_sentence_goes_to_another_picture_and_none_is_lost(counts, seed):
    image_of = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    if 2 * max(counts) > len(image_of):
        with pytest.raises(ValueError, match="cannot all go to other pictures"):
            other_pictures(image_of, seed)
        return
    taken = other_pictures(image_of, seed)
    assert sorted(taken) == list(range(len(image_of)))
    assert not (image_of[taken] == image_of).any()


def test_only_the_link_between_sentences_and_masks_changes(scenes):
    shuffled = shuffle_sentences(scenes, seed=1)
    assert Counter(shuffled.sentences()) == Counter(scenes.sentences())
    assert shuffled.sentences() != scenes.sentences()
    assert shuffled.sentences() == shuffle_sentences(scenes, seed=1).sentences()
    assert shuffled.sentences() != shuffle_sentences(scenes, seed=2).sentences()
    assert shuffled.counts() == scenes.counts()
    before, after = scenes[3], shuffled[3]
    assert (before.image == after.image).all()
    pairs = list(zip(before.expressions, after.expressions, strict=True))
    assert all(one.rle == two.rle and one.referent_id == two.referent_id for one, two in pairs)


def test_kinds_travel_with_their_sentences(scenes):
    kinds = {(e.sentence, e.kind) for k in range(len(scenes)) for e in scenes.expressions(k)}
    shuffled = shuffle_sentences(scenes, seed=0)
    assert {(e.sentence, e.kind) for k in range(len(scenes)) for e in shuffled.expressions(k)} == kinds


def test_one_picture_cannot_be_shuffled(scenes):
    with pytest.raises(ValueError, match="Take more pictures"):
        shuffle_sentences(with_index(scenes, scenes.index, limit=1), seed=0)
