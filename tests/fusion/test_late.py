"""Late fusion."""

import pytest
import torch

from ris_lib.fusion import LateFusion

SIZE = (3, 4)


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    return torch.randn(2, 12, 8), torch.randn(2, 5, 6), mask


@pytest.fixture
def block():
    torch.manual_seed(1)
    return LateFusion(8, 6, heads=2)


def test_shapes_and_untouched_words(block, inputs):
    pixels, words, mask = inputs
    fused = block(pixels, SIZE, words, mask)
    assert fused.pixels.shape == fused.pyramid.shape == (2, 12, 8)
    assert fused.words is fused.decoder_words is words
    assert fused.explanation == {}


def test_padding_never_matters_and_words_always_do(block, inputs):
    pixels, words, mask = inputs
    base = block(pixels, SIZE, words, mask).pyramid
    padded, changed = words.clone(), words.clone()
    padded[1, 2:] = 99.0
    changed[1, 1, 0] += 1.0
    torch.testing.assert_close(block(pixels, SIZE, padded, mask).pyramid, base)
    assert not torch.allclose(block(pixels, SIZE, changed, mask).pyramid[1], base[1])


def test_the_sentence_is_the_mean_of_its_words(block, inputs):
    pixels, words, mask = inputs
    mean = words[1:, :2].mean(dim=1, keepdim=True)
    one_word = block(pixels[1:], SIZE, mean, torch.ones(1, 1, dtype=torch.bool)).pyramid
    torch.testing.assert_close(block(pixels, SIZE, words, mask).pyramid[1:], one_word)


def test_place_matters_only_through_the_coordinates(block, inputs):
    _, words, mask = inputs
    same = torch.ones(2, 12, 8)
    assert not torch.allclose(
        block(same, SIZE, words, mask).pyramid[0, 0], block(same, SIZE, words, mask).pyramid[0, 1]
    )
    torch.nn.init.zeros_(block.position.weight)
    blind = block(same, SIZE, words, mask).pyramid
    torch.testing.assert_close(blind[:, :1].expand(-1, 12, -1), blind)


def test_pixels_see_one_another_only_through_the_layers(inputs):
    pixels, words, mask = inputs
    other = pixels.clone()
    other[0, 0] += torch.arange(8.0)
    for layers, connected in ((0, False), (1, True)):
        torch.manual_seed(1)
        block = LateFusion(8, 6, layers=layers, heads=2)
        before, after = (block(x, SIZE, words, mask).pyramid[0, 5] for x in (pixels, other))
        assert torch.allclose(before, after) != connected


def test_every_parameter_learns(block, inputs):
    pixels, words, mask = inputs
    out = block(pixels, SIZE, words, mask).pyramid
    (out * torch.randn_like(out)).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in block.parameters())


@pytest.mark.parametrize("bad", [lambda m: m.float(), lambda m: m[:, :3], lambda m: m & False])
def test_bad_word_masks_are_refused(block, inputs, bad):
    pixels, words, mask = inputs
    with pytest.raises(ValueError, match="LateFusion"):
        block(pixels, SIZE, words, bad(mask))
