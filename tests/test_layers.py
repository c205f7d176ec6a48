"""Coordinates, resizing, convolution blocks."""

import pytest
import torch

from ris_lib.layers import ConvNormAct, Residual, coordinates, norm_2d, resize_map


def test_coordinates_by_hand():
    assert coordinates((2, 1), torch.zeros(1)).tolist() == [[-0.5, 0.0], [0.5, 0.0]]


def test_coordinates_mean_the_same_place_at_any_resolution():
    coarse = coordinates((4, 6), torch.zeros(1)).view(4, 6, 2)
    fine = coordinates((8, 12), torch.zeros(1)).view(4, 2, 6, 2, 2)
    torch.testing.assert_close(fine.mean(dim=(1, 3)), coarse)


def test_resize_map_by_hand_and_without_need():
    x = torch.tensor([[[[0.0, 1.0]]]])
    torch.testing.assert_close(resize_map(x, (1, 4)).flatten(), torch.tensor([0.0, 0.25, 0.75, 1.0]))
    torch.testing.assert_close(resize_map(x, (1, 3), align_corners=True).flatten(), torch.tensor([0.0, 0.5, 1.0]))
    assert resize_map(x, (1, 2)) is x


@pytest.mark.parametrize("side", [7, 8])
def test_stride_two_rounds_up(side):
    assert ConvNormAct(3, 8, stride=2)(torch.randn(1, 3, side, side)).shape == (1, 8, 4, 4)


def test_residual_starts_from_its_input():
    torch.manual_seed(0)
    block = Residual(8)
    with torch.no_grad():
        block.body[1][1].weight.zero_()
    x = torch.randn(1, 8, 4, 4)
    torch.testing.assert_close(block(x), x.relu())


@pytest.mark.parametrize(("channels", "stride"), [(12, 1), (8, 2), (12, 2)])
def test_a_residual_short_cut_changes_channels_and_size(channels, stride):
    torch.manual_seed(0)
    block, x = Residual(8, channels, stride), torch.randn(2, 8, 7, 6)
    with torch.no_grad():
        block.body[1][1].weight.zero_()
    assert block(x).shape == (2, channels, 7 if stride == 1 else 4, 6 if stride == 1 else 3)
    torch.testing.assert_close(block(x), block.short_cut(x).relu())
    assert block(x).abs().sum() > 0


def test_group_norm_treats_every_sample_alone():
    torch.manual_seed(0)
    block, x = ConvNormAct(3, 12), torch.randn(4, 3, 5, 5)
    torch.testing.assert_close(block(x)[:1], block(x[:1]))
    assert norm_2d("group", 12).num_groups == 1


def test_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="norm='layer'"):
        norm_2d("layer", 8)
