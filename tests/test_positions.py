"""Sine positions."""

import math

import numpy as np
import pytest
import torch

from ris_lib.positions import sine_1d, sine_2d

LIKE = torch.zeros(1, dtype=torch.float64)


def by_hand(position, channels):
    """One position, number by number."""
    return [(math.cos if k % 2 else math.sin)(position / 10000 ** (2 * (k // 2) / channels)) for k in range(channels)]


def test_a_sequence_by_hand():
    expected = torch.tensor([by_hand(p, 6) for p in range(5)], dtype=torch.float64)
    torch.testing.assert_close(sine_1d(5, 6, LIKE), expected)


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("column_first", [False, True])
def test_a_map_by_hand(normalised, column_first):
    height, width = 3, 5
    rows = []
    for y in range(height):
        for x in range(width):
            places = [(y + 1) / height * 2 * math.pi, (x + 1) / width * 2 * math.pi] if normalised else [y, x]
            if column_first:
                places.reverse()
            rows.append(by_hand(places[0], 4) + by_hand(places[1], 4))
    mine = sine_2d((height, width), 8, LIKE, normalised=normalised, column_first=column_first)
    torch.testing.assert_close(mine, torch.tensor(rows, dtype=torch.float64), atol=1e-5, rtol=0)


def test_normalised_maps_of_different_sizes_agree_about_the_end():
    ends = [sine_2d(size, 8, LIKE)[-1] for size in ((3, 5), (30, 50), (1, 1))]
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], atol=1e-4, rtol=0)


def test_every_cell_has_its_own_position():
    table = sine_2d((12, 15), 16, LIKE)
    nearest = torch.cdist(table, table) + 10 * torch.eye(len(table), dtype=torch.float64)
    assert nearest.min() > 1e-2


def test_half_precision_is_the_rounded_float32():
    for dtype in (torch.float16, torch.bfloat16):
        low = sine_1d(400, 8, torch.zeros(1, dtype=dtype))
        assert low.dtype == dtype
        assert torch.equal(low, sine_1d(400, 8, torch.zeros(1)).to(dtype))
        assert torch.equal(sine_2d((2, 300), 8, low), sine_2d((2, 300), 8, torch.zeros(1)).to(dtype))


def test_channels_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="sine_1d: channels=3"):
        sine_1d(2, 3, LIKE)
    with pytest.raises(ValueError, match="sine_2d: channels=6"):
        sine_2d((2, 2), 6, LIKE)


def test_equals_the_positions_of_cris(golden_folder):
    """papers/eavl.md: the column is encoded before the row, cells counted from 0."""
    case = np.load(golden_folder / "cris_decoder.npz")
    size, channels = case["in/vis"].shape[2:], case["in/vis"].shape[1]
    mine = sine_2d(size, channels, torch.zeros(1), normalised=False, column_first=True)
    np.testing.assert_allclose(mine.numpy(), case["out/pos2d"][:, 0], atol=1e-6)
    words = sine_1d(case["in/txt"].shape[1], channels, torch.zeros(1))
    np.testing.assert_allclose(words.numpy(), case["out/pos1d"][:, 0], atol=2e-6)
