"""The image tower from scratch."""

import pytest
import torch

from ris_lib.encoders import TinyImage


def run(tower, images):
    x, detail = tower.stem(images)
    maps = []
    for k in range(4):
        x = tower.stage(k, x)
        maps.append(x)
    return detail, maps


@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (4, 8, 16, 16), (2, 4, 8, 8)])
@pytest.mark.parametrize("size", [(64, 96), (50, 71)])
def test_maps_have_the_declared_channels_and_strides(strides, size):
    tower = TinyImage(widths=(8, 16, 24, 32), strides=strides, detail_channels=8)
    detail, maps = run(tower, torch.randn(2, 3, *size))
    assert detail.shape == (2, 8, -(-size[0] // 2), -(-size[1] // 2))
    for feature_map, channels, stride in zip(maps, tower.channels, tower.strides):
        assert feature_map.shape == (2, channels, -(-size[0] // stride), -(-size[1] // stride))


def test_every_parameter_learns():
    tower = TinyImage(widths=(8, 8, 8, 8), detail_channels=8)
    _, maps = run(tower, torch.randn(1, 3, 64, 64))
    (maps[3] * torch.randn_like(maps[3])).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in tower.parameters())


def test_an_image_does_not_depend_on_its_neighbours_or_on_the_mode():
    tower, images = TinyImage(widths=(8, 8, 8, 8), detail_channels=8), torch.randn(3, 3, 48, 48)
    together = run(tower.train(), images)[1][3]
    alone = run(tower.eval(), images[1:2])[1][3]
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("strides", [(4, 8, 8, 4), (4, 16, 32, 64), (8, 8, 8, 8)])
def test_strides_that_cannot_be_built_are_refused(strides):
    with pytest.raises(ValueError, match="strides"):
        TinyImage(strides=strides)


def test_four_of_each_are_needed():
    with pytest.raises(ValueError, match="expected four of each"):
        TinyImage(widths=(8, 8, 8))


def test_every_stage_has_a_block():
    with pytest.raises(ValueError, match="at least one residual block"):
        TinyImage(depths=(1, 1, 0, 0))
