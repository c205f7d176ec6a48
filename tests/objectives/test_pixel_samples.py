"""A bounded number of pixels from inside and outside of a target."""

import pytest
import torch

from ris_lib.objectives.pixel_samples import sample_pixels, targets_on_grid


def test_targets_come_down_by_nearest_neighbour():
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, :4, 4:] = True
    masks[1, 2, 6] = True
    masks[1, 3, 3] = True  # falls between the cells
    expected = torch.zeros(2, 4, 4, dtype=torch.bool)
    expected[0, :2, 2:] = True
    expected[1, 1, 3] = True
    assert torch.equal(targets_on_grid(masks, (4, 4)), expected.flatten(1))


def test_targets_stay_binary_on_odd_grids():
    masks = torch.rand(1, 7, 10, generator=torch.Generator().manual_seed(0)) > 0.5
    on_grid = targets_on_grid(masks, (3, 4))
    assert on_grid.shape == (1, 12)
    assert on_grid.dtype == torch.bool
    assert torch.equal(on_grid[0, :4], masks[0, 0, [0, 2, 5, 7]])


@pytest.mark.parametrize("limit", [1, 4, 50, 200])
def test_only_candidates_count_and_none_twice(limit):
    torch.manual_seed(0)
    candidates = torch.rand(3, 100) < torch.tensor([[0.0], [0.1], [0.9]])
    positions, real = sample_pixels(candidates, limit)
    assert positions.shape == real.shape == (3, min(limit, 100))
    for row in range(3):
        drawn = positions[row][real[row]]
        assert candidates[row][drawn].all()
        assert len(drawn.unique()) == len(drawn) == min(limit, int(candidates[row].sum()))


def test_real_columns_come_first():
    torch.manual_seed(0)
    _, real = sample_pixels(torch.rand(4, 30) < 0.3, 20)
    assert (real.int().diff(dim=1) <= 0).all()


def test_draws_follow_the_seed_and_are_fair():
    candidates = torch.ones(2000, 4, dtype=torch.bool)
    torch.manual_seed(0)
    first = sample_pixels(candidates, 1)[0]
    torch.manual_seed(0)
    assert torch.equal(sample_pixels(candidates, 1)[0], first)
    assert not torch.equal(sample_pixels(candidates, 1)[0], first)
    shares = first.flatten().bincount(minlength=4) / 2000
    torch.testing.assert_close(shares, torch.full((4,), 0.25), atol=0.04, rtol=0)
