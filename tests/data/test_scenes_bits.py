"""Random bits: published numbers, ranges, and the two forms agree."""

import collections

import numpy as np
import pytest

from ris_lib.data.scenes.bits import Bits, hash_grid, noise_grid, seed_of


def test_the_published_stream():
    bits = Bits(1234567)
    assert [bits.word() for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_python_and_numpy_give_the_same_bits():
    bits = Bits(99)
    assert hash_grid(np.int64(99), 2, 3).ravel().tolist() == [bits.word() for _ in range(6)]


def test_seeds_are_fixed_for_ever():
    assert seed_of("train", 0) == 0xD6EC6DECE92A4A47
    assert seed_of("a", "b") != seed_of("ab")


def test_ranges_hold_and_are_reached():
    bits = Bits(0)
    assert {bits.between(3, 6) for _ in range(200)} == {3, 4, 5, 6}
    assert {bits.bell(1) for _ in range(400)} == set(range(-3, 4))
    assert not any(bits.chance(0) for _ in range(50))
    assert all(bits.chance(100) for _ in range(50))
    counts = collections.Counter(bits.weighted((3, 0, 1)) for _ in range(4000))
    assert counts[1] == 0
    assert 2.6 < counts[0] / counts[2] < 3.4


def test_a_sample_has_no_repeats_and_leaves_the_source_alone():
    source = list(range(6))
    sampled = Bits(5).sample(source, 4)
    assert len(set(sampled)) == 4
    assert set(sampled) <= set(source)
    assert source == list(range(6))
    assert sorted(Bits(5).sample(source, 6)) == source


def test_noise_is_uniform():
    noise = noise_grid(2, 100, 100)
    assert noise.dtype == np.float32
    assert 0 <= noise.min() < 0.01 < 0.99 < noise.max() < 1
    assert abs(noise.mean() - 0.5) < 0.01


@pytest.mark.parametrize("weights", [(), (0, 0)])
def test_weights_without_weight_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        Bits(0).weighted(weights)
