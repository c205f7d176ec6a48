"""The light decoder: an FPN with word layers."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from ris_lib.contract import Encoded, FeatureMap
from ris_lib.decoders.light import Light

INDEX = torch.tensor([0, 0, 1])
STRIDES = [(4, 8, 16, 32), (4, 8, 16, 16), (4, 8, 8, 8)]
CHANNELS = (8, 8, 16, 16)


def encoded(strides=(4, 8, 16, 16), fused=(False, False, False, True), size=(64, 64)):
    torch.manual_seed(0)
    sizes = [(-(-size[0] // s), -(-size[1] // s)) for s in strides]
    maps = [
        FeatureMap(torch.randn(3 if words else 2, c, *hw), stride, words)
        for hw, c, stride, words in zip(sizes, CHANNELS, strides, fused)
    ]
    words, token = torch.randn(3, 5, 6), torch.zeros(3, 5, dtype=torch.long)
    mask = torch.tensor([[True] * 5, [True] * 4 + [False], [True, True, False, False, False]])
    return Encoded(maps, words, words[:, 0], mask, token, INDEX)


def make(strides=(4, 8, 16, 16), **options):
    torch.manual_seed(1)
    return Light(CHANNELS, strides, 6, 6, **{"width": 16, "heads": 2} | options)


@pytest.mark.parametrize("strides", STRIDES)
def test_any_strides_and_odd_sizes(strides):
    decoder, source = make(strides), encoded(strides, size=(50, 71))
    features = decoder(source)
    sizes = [tuple(m.values.shape[-2:]) for m in source.pyramid]
    assert features.finest.shape == (3, decoder.channels, *sizes[0])
    assert features.stride == decoder.stride == 4
    assert [m.shape[:2] for m in features.memory] == [(3, c) for c in decoder.memory_channels]
    assert [tuple(m.shape[-2:]) for m in features.memory] == sizes[:0:-1]
    assert features.context.shape[1] == decoder.context_channels
    assert features.explanation == {}


@pytest.mark.parametrize(("strides", "side"), [((4, 8, 16, 32), 4), ((4, 8, 16, 16), 4), ((4, 8, 8, 8), 8)])
def test_context_is_the_stride_16_level_where_there_is_one(strides, side):
    features = make(strides)(encoded(strides))
    assert features.context.shape[-1] == side


def test_memory_runs_coarse_to_fine():
    features = make((4, 8, 16, 32))(encoded((4, 8, 16, 32)))
    assert all(a.shape[-1] < b.shape[-1] for a, b in pairwise([*features.memory, features.finest]))


@pytest.mark.parametrize("strides", STRIDES)
def test_padding_never_matters_and_words_reach_the_finest_map(strides):
    decoder, source = make(strides), encoded(strides, fused=(False,) * 4)
    base = decoder(source)
    words = source.words
    source.words = words.clone()
    source.words[2, 2:] = 99.0
    torch.testing.assert_close(decoder(source).finest, base.finest)
    source.words = words.clone()
    source.words[2, 1] += 1.0
    changed = decoder(source)
    assert torch.equal(changed.finest[:2], base.finest[:2])
    moved = (changed.finest[2] - base.finest[2]).abs()
    assert (moved.sum(dim=0) > 0).all()
    assert moved.mean() > 0.01
    assert not torch.allclose(changed.context[2], base.context[2])


def test_without_word_layers_nothing_is_heard():
    decoder, source = make(word_layers=0), encoded()
    base = decoder(source).finest
    source.words += 1.0
    assert torch.equal(decoder(source).finest, base)
    assert decoder.reads == frozenset()
    assert make().reads == {"words"}


@pytest.mark.parametrize("word_layers", [0, 2])
@pytest.mark.parametrize("fused", [(False,) * 4, (False, True, False, False), (False, True, False, True), (True,) * 4])
def test_working_on_images_equals_working_on_sentences(fused, word_layers):
    decoder, mixed, repeated = make(word_layers=word_layers), encoded(fused=fused), encoded(fused=fused)
    repeated.pyramid = [FeatureMap(m.for_sentences(INDEX), m.stride, True) for m in mixed.pyramid]
    ours, wanted = decoder(mixed), decoder(repeated)
    for a, b in zip([ours.finest, ours.context, *ours.memory], [wanted.finest, wanted.context, *wanted.memory]):
        torch.testing.assert_close(a, b)


def test_maps_without_words_are_processed_once_an_image():
    decoder, source = make(), encoded(fused=(False,) * 4)
    seen = []
    for level in (*decoder.levels, *decoder.pixel_layers):
        part = level.lateral if hasattr(level, "lateral") else level
        part.register_forward_hook(lambda part, arguments, output: seen.append(len(output)))
    decoder(source)
    # the first comparison among the pixels comes before any word, the second after
    assert seen == [2, 2, 2, 3, 2, 2]


def test_explaining_changes_nothing_and_sums_to_one():
    decoder, source = make(), encoded()
    plain, explained = decoder(source), decoder(source, explain=True)
    torch.testing.assert_close(plain.finest, explained.finest, atol=1e-5, rtol=0)
    maps = explained.explanation["word_pixel_attention"]
    assert [m.shape for m in maps] == [(3, 5, 4, 4)] * 2
    torch.testing.assert_close(maps[0].sum(dim=1), torch.ones(3, 4, 4))
    assert (maps[1][2, 2:] == 0).all()


def test_place_matters_through_the_positions():
    """With equal pixels everywhere, left and right differ only by what the positions ask of the words."""
    decoder, source = make(), encoded(fused=(False,) * 4)
    level = FeatureMap(torch.ones(3, 16, 4, 4), 16, True)
    heard, _ = decoder._listen(level, source, explain=False)
    assert not torch.allclose(heard.values[..., 0], heard.values[..., -1])


@pytest.mark.parametrize("strides", STRIDES)
@pytest.mark.parametrize("options", [{}, {"word_layers": 0}, {"norm": "batch"}])
def test_every_parameter_learns(strides, options):
    """Two steps in float64, where rounding cannot pass for a gradient."""
    decoder, source = make(strides, **options).double(), encoded(strides)
    source.words = source.words.double()
    source.pyramid = [FeatureMap(m.values.double(), m.stride, m.per_sentence) for m in source.pyramid]
    optimiser = torch.optim.SGD(decoder.parameters(), lr=0.01)
    for _ in range(2):
        optimiser.zero_grad()
        finest = decoder(source).finest
        (finest * torch.randn_like(finest)).sum().backward()
        optimiser.step()
    gradients = {name: p.grad for name, p in decoder.named_parameters()}
    dead = {n for n, g in gradients.items() if g is None or not torch.isfinite(g).all() or g.abs().max() < 1e-9}
    # a bias of all keys cancels in a softmax over the keys
    assert {name for name in dead if not name.endswith("attention.key.bias")} == set()


def test_bfloat16():
    decoder, source = make(), encoded()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        finest = decoder(source).finest
        finest.float().sum().backward()
    torch.testing.assert_close(finest.float(), decoder(source).finest, atol=0.1, rtol=0.1)
    assert all(torch.isfinite(p.grad).all() for p in decoder.parameters())


def test_batch_norm_on_demand():
    decoder = make(norm="batch")
    assert any(isinstance(part, nn.BatchNorm2d) for part in decoder.modules())
    assert not any(isinstance(part, nn.GroupNorm) for part in decoder.modules())


@pytest.mark.parametrize("bad", [lambda m: m.float(), lambda m: m[:, :3], lambda m: m & False])
def test_bad_word_masks_are_refused(bad):
    source = encoded()
    source.word_mask = bad(source.word_mask)
    with pytest.raises(ValueError, match="Light"):
        make()(source)


def test_other_maps_are_refused():
    source = encoded()
    source.pyramid.reverse()
    with pytest.raises(ValueError, match=r"\(16, 16, 8, 8\) channels"):
        make()(source)


def test_other_words_are_refused():
    source = encoded()
    source.words = source.words[..., :5]
    with pytest.raises(ValueError, match="expected 6 channels"):
        make()(source)


@pytest.mark.parametrize(("options", "message"), [({"width": 18}, "multiple of 4"), ({"heads": 3}, "heads=3")])
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
