"""The top-down decoder and the detail merge."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from ris_lib.contract import Encoded, FeatureMap, PixelFeatures
from ris_lib.decoders import DetailMerge, TopDown

INDEX = torch.tensor([0, 0, 1])


def encoded(sizes, channels=(8, 8, 16, 16), strides=(4, 8, 16, 16), fused=(False, False, False, True), detail=None):
    torch.manual_seed(0)
    maps = [
        FeatureMap(torch.randn(3 if words else 2, c, *size), stride, words)
        for size, c, stride, words in zip(sizes, channels, strides, fused)
    ]
    words = torch.randn(3, 4, 6)
    token = torch.zeros(3, 4, dtype=torch.long)
    return Encoded(maps, words, words[:, 0], token == 0, token, INDEX, detail)


@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (4, 8, 16, 16), (4, 8, 8, 8)])
def test_any_strides_and_odd_sizes(strides):
    sizes = [(-(-50 // s), -(-71 // s)) for s in strides]
    decoder = TopDown((8, 8, 16, 16), strides, word_dim=6, sentence_dim=6, width=8)
    features = decoder(encoded(sizes, strides=strides))
    assert features.finest.shape == (3, decoder.channels, *sizes[0])
    assert features.stride == decoder.stride == 4
    assert [m.shape[1] for m in features.memory] == list(decoder.memory_channels)
    assert [tuple(m.shape[-2:]) for m in features.memory] == sizes[:0:-1]
    assert features.context.shape[1] == decoder.context_channels


@pytest.mark.parametrize(("strides", "side"), [((4, 8, 16, 32), 4), ((4, 8, 16, 16), 4), ((4, 8, 8, 8), 8)])
def test_context_is_the_stride_16_map_where_there_is_one(strides, side):
    sizes = [(64 // s, 64 // s) for s in strides]
    features = TopDown((8, 8, 16, 16), strides, word_dim=6, sentence_dim=6, width=8)(encoded(sizes, strides=strides))
    assert features.context.shape[-1] == side


@pytest.mark.parametrize("fused", [(False,) * 4, (False, True, False, True), (True,) * 4])
def test_the_split_convolution_equals_the_concatenation(fused):
    sizes = [(16, 16), (8, 8), (4, 4), (4, 4)]
    decoder, mixed = TopDown((8, 8, 16, 16), (4, 8, 16, 16), 6, 6, width=8), encoded(sizes, fused=fused)
    repeated = encoded(sizes, fused=fused)
    repeated.pyramid = [FeatureMap(m.for_sentences(INDEX), m.stride, True) for m in mixed.pyramid]
    torch.testing.assert_close(decoder(mixed).finest, decoder(repeated).finest)


def test_every_parameter_learns():
    decoder = TopDown((8, 8, 16, 16), (4, 8, 16, 16), 6, 6, width=8)
    finest = decoder(encoded([(16, 16), (8, 8), (4, 4), (4, 4)])).finest
    (finest * torch.randn_like(finest)).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in decoder.parameters())


@pytest.mark.parametrize("name", ["lavt_simple_decoding", "lavt_simple_decoding_odd"])
def test_equals_lavt_with_its_norm_and_without_the_short_cut(golden_folder, name):
    case = np.load(golden_folder / f"{name}.npz")
    weights = {key[2:]: torch.from_numpy(case[key]) for key in case.files if key.startswith("w/")}
    maps = [torch.from_numpy(case[f"in/x_c{k}"]) for k in (1, 2, 3, 4)]
    decoder = TopDown([m.shape[1] for m in maps], (4, 8, 16, 32), 6, 6, norm="batch", residual=False).eval()
    names = {"conv1": "join", "bn1": "norm", "conv2": "refine.0", "bn2": "refine.1"}
    state = {}
    for key, value in weights.items():
        part, entry = key.split(".")
        if part != "conv1_1":
            state[f"levels.{4 - int(part[-1])}.{names[part[:-2]]}.{entry}"] = value
    decoder.load_state_dict(state)
    words, token = torch.zeros(len(maps[0]), 1, 6), torch.zeros(len(maps[0]), 1, dtype=torch.long)
    pyramid = [FeatureMap(m, s, True) for m, s in zip(maps, (4, 8, 16, 32))]
    finest = decoder(Encoded(pyramid, words, words[:, 0], token == 0, token, torch.arange(len(token)))).finest
    logits = torch.nn.functional.conv2d(finest, weights["conv1_1.weight"], weights["conv1_1.bias"])
    torch.testing.assert_close(logits, torch.from_numpy(case["out/logits"]), atol=2e-6, rtol=1e-5)


def test_the_merge_works_on_the_detail_grid_and_keeps_the_rest():
    detail = FeatureMap(torch.randn(2, 4, 25, 36), stride=2)
    source = encoded([(13, 18)] * 4, strides=(4, 4, 4, 4), detail=detail)
    features = PixelFeatures(torch.randn(3, 8, 13, 18), 4, memory=[torch.zeros(1)], context=torch.ones(1))
    merged = DetailMerge(8, 4, 16)(features, source)
    assert merged.finest.shape == (3, 16, 25, 36)
    assert merged.stride == 2
    assert merged.memory is features.memory
    assert merged.context is features.context


def test_the_merge_listens_to_both_sides():
    torch.manual_seed(0)
    merge = DetailMerge(8, 4, 8)
    source = encoded([(8, 8)] * 4, strides=(4, 4, 4, 4), detail=FeatureMap(torch.randn(2, 4, 16, 16), 2))
    features = PixelFeatures(torch.randn(3, 8, 8, 8), 4)
    base = merge(features, source).finest
    source.detail.values[1] += torch.randn(4, 16, 16)
    changed = merge(features, source).finest
    torch.testing.assert_close(changed[:2], base[:2])
    assert not torch.allclose(changed[2], base[2])
    assert not torch.allclose(merge(PixelFeatures(features.finest.roll(1, -1), 4), source).finest, changed)
    (changed * torch.randn_like(changed)).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in merge.parameters())


def test_a_merge_without_detail_is_refused():
    source = encoded([(8, 8)] * 4, strides=(4, 4, 4, 4))
    with pytest.raises(ValueError, match="no detail map"):
        DetailMerge(8, 4, 8)(PixelFeatures(torch.randn(3, 8, 8, 8), 4), source)


def test_memory_runs_coarse_to_fine():
    features = TopDown((8, 8, 16, 16), (4, 8, 16, 32), 6, 6, width=8)(
        encoded([(16, 16), (8, 8), (4, 4), (2, 2)], strides=(4, 8, 16, 32))
    )
    assert all(a.shape[-1] < b.shape[-1] for a, b in pairwise([*features.memory, features.finest]))
