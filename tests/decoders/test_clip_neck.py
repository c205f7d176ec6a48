"""The neck of CRIS with its transformer and upsampling."""

import pytest
import torch
import torch.nn.functional as F

from ris_lib.contract import Encoded, FeatureMap
from ris_lib.decoders.clip_neck import ClipNeck, SplitJoin, Upsampler, append_coordinates, to_grid

INDEX = torch.tensor([0, 0, 1])
CHANNELS = (8, 8, 16, 16)
MASK = torch.tensor([[True, True, False, False], [True] * 4, [True, True, True, False]])


def encoded(strides=(4, 8, 16, 32), size=(64, 96), fused=False):
    random = torch.Generator().manual_seed(0)
    sides = [tuple(-(-side // stride) for side in size) for stride in strides]
    maps = [
        FeatureMap(torch.randn(3 if fused else 2, c, *side, generator=random), stride, fused)
        for c, side, stride in zip(CHANNELS, sides, strides)
    ]
    words, sentence = torch.randn(3, 4, 6, generator=random), torch.randn(3, 10, generator=random)
    return Encoded(maps, words, sentence, MASK, torch.zeros(3, 4, dtype=torch.long), INDEX)


def repeated(mixed):
    maps = [FeatureMap(m.for_sentences(INDEX), m.stride, True) for m in mixed.pyramid]
    return Encoded(maps, mixed.words, mixed.sentence, mixed.word_mask, mixed.word_index, INDEX)


def make(strides=(4, 8, 16, 32), **options):
    torch.manual_seed(0)
    sizes = {"width": 16, "layers": 1, "heads": 2, "feed_forward": 16, "out_channels": 8, "norm": "group"}
    return ClipNeck(CHANNELS, strides, 6, 10, **{**sizes, **options}).eval()


@pytest.mark.parametrize(
    ("strides", "stride"), [((4, 8, 16, 32), 4), ((4, 8, 16, 16), 4), ((4, 8, 8, 8), 2), ((4, 4, 8, 16), 2)]
)
@pytest.mark.parametrize("size", [(64, 96), (50, 71)])
def test_everything_stands_on_the_grid_of_the_middle_map(strides, stride, size):
    decoder, source = make(strides), encoded(strides, size)
    features = decoder(source)
    h, w = source.pyramid[2].values.shape[-2:]
    assert features.finest.shape == (3, decoder.channels, 4 * h, 4 * w)
    assert features.stride == decoder.stride == stride
    assert [tuple(m.shape) for m in features.memory] == [(3, decoder.memory_channels[0], h, w)]
    assert features.context.shape == (3, decoder.context_channels, h, w)
    assert decoder.maps == (1, 2, 3)
    assert decoder.reads == {"words", "sentence"}


def test_the_sizes_of_cris_are_the_defaults():
    with torch.device("meta"):
        decoder = ClipNeck((256, 512, 1024, 1024), (4, 8, 16, 32), 512, 1024)
    assert (decoder.stride, decoder.channels, decoder.memory_channels, decoder.context_channels) == (
        4,
        256,
        (512,),
        512,
    )
    assert sum(p.numel() for p in decoder.parameters()) == 40_380_160


def silence(*layers):
    """Convolutions whose norm multiplies with zero: what is left has come another way."""
    with torch.no_grad():
        for layer in layers:
            layer[1].weight.zero_()


def test_short_cuts_lead_around_the_convolutions():
    upsampler, x = Upsampler(8, 4, residual=True), torch.randn(2, 8, 3, 5)
    silence(upsampler.first, upsampler.second)
    raised = F.interpolate(F.interpolate(x, scale_factor=2, mode="bilinear"), scale_factor=2, mode="bilinear")
    torch.testing.assert_close(upsampler(x), upsampler.out(upsampler.short_cut(raised)))

    source = encoded((4, 8, 16, 32))
    neck, plain = (make(residual=residual, layers=1).neck for residual in (True, False))
    silence(neck.settle, neck.fine_out, neck.middle_out, plain.settle)
    maps = source.pyramid[1:]
    gathered = []
    neck.gather.register_forward_hook(lambda layer, given, made: gathered.extend([given[0], made]))
    assert torch.equal(neck(*maps, source.sentence, INDEX), gathered[1])
    assert gathered[0][:, :32].abs().sum() > 0  # the fine and the middle map came through
    assert not plain(*maps, source.sentence, INDEX).any()


@pytest.mark.parametrize(("strides", "which"), [((4, 8, 8, 8), 0), ((4, 8, 16, 32), 1), ((4, 8, 16, 16), 1)])
def test_outlines_come_from_the_map_of_the_grid_half_way_up(strides, which):
    decoder, source = make(strides, outlines=True), encoded(strides)
    assert decoder.maps == tuple(sorted({which, 1, 2, 3}))
    base = decoder(source)
    source.pyramid[which].values += 1.0
    changed = decoder(source)
    assert not torch.allclose(changed.finest, base.finest)
    assert torch.equal(changed.context, base.context) == (which == 0)  # the neck does not read it


def test_outlines_need_a_map_of_that_grid():
    with pytest.raises(ValueError, match=r"outlines need a map of stride 4, half of the third map's"):
        make((8, 8, 8, 8), outlines=True)


def test_coordinates_are_x_before_y_with_both_ends():
    x = append_coordinates(torch.zeros(2, 1, 3, 5))
    torch.testing.assert_close(x[1, 1], torch.linspace(-1, 1, 5).expand(3, 5))
    torch.testing.assert_close(x[1, 2], torch.tensor([-1.0, 0.0, 1.0])[:, None].expand(3, 5))


def test_maps_are_averaged_down_and_interpolated_up():
    x = torch.randn(1, 2, 5, 8)
    assert to_grid(x, (5, 8)) is x
    torch.testing.assert_close(to_grid(x, (2, 4)), F.avg_pool2d(x, 2))  # an odd row falls away
    torch.testing.assert_close(to_grid(x, (3, 4)), F.adaptive_avg_pool2d(x, (3, 4)))
    torch.testing.assert_close(to_grid(x, (10, 16)), F.interpolate(x, scale_factor=2, mode="bilinear"))


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_working_once_per_image_equals_working_once_per_sentence(norm):
    decoder, source = make(norm=norm), encoded()
    seen = []
    for layer in (decoder.neck.coarse_in, decoder.neck.middle_in, decoder.neck.fine_in):
        layer.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    base = decoder(source)
    assert seen == [2, 2, 2]
    same = decoder(repeated(source))
    torch.testing.assert_close(same.finest, base.finest)
    torch.testing.assert_close(same.context, base.context)


def test_the_split_join_is_a_convolution_over_both():
    torch.manual_seed(0)
    join, first, second = SplitJoin(4, 6, 8, "group"), torch.randn(2, 4, 5, 5), torch.randn(3, 6, 5, 5)
    expected = F.relu(join.norm(join.conv(torch.cat([first[INDEX], second], dim=1))))
    torch.testing.assert_close(join(FeatureMap(first, 16), second, INDEX), expected)


def test_the_sentence_gates_the_coarsest_map():
    """A gate that is zero everywhere hides the coarsest map: it is a product, not a sum."""
    decoder, source = make(), encoded()
    with torch.no_grad():
        decoder.neck.sentence_norm.weight.zero_()
        decoder.neck.sentence_norm.bias.fill_(-1.0)
    base = decoder(source).context
    source.pyramid[3].values.add_(torch.randn_like(source.pyramid[3].values))
    torch.testing.assert_close(decoder(source).context, base)


def test_sentence_words_and_each_map_matter_and_the_finest_map_does_not():
    decoder = make()
    base = decoder(encoded())
    changed = encoded()
    changed.sentence[0] += torch.randn(10)
    after = decoder(changed).context
    assert not torch.allclose(after[0], base.context[0], atol=1e-3)
    torch.testing.assert_close(after[1:], base.context[1:])
    changed = encoded()
    changed.words[0] += torch.randn(4, 6)
    assert not torch.allclose(decoder(changed).finest[0], base.finest[0], atol=1e-3)
    torch.testing.assert_close(decoder(changed).context, base.context)
    for k in range(4):
        changed = encoded()
        changed.pyramid[k].values[1] += torch.randn_like(changed.pyramid[k].values[1])
        after = decoder(changed).finest
        torch.testing.assert_close(after[:2], base.finest[:2])
        assert torch.allclose(after[2], base.finest[2], atol=1e-3) == (k == 0)


def test_padding_never_matters():
    decoder, source = make(), encoded()
    base = decoder(source).finest
    source.words[~MASK] = 99.0
    torch.testing.assert_close(decoder(source).finest, base)


def test_explaining_changes_nothing():
    decoder = make(layers=2)
    base, explained = decoder(encoded()), decoder(encoded(), explain=True)
    torch.testing.assert_close(explained.finest, base.finest, atol=1e-5, rtol=0)
    assert base.explanation == {}
    (attention,) = explained.explanation["word_pixel_attention"]
    assert attention.shape == (3, 4, 4, 6)
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(3, 4, 6))


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_every_parameter_learns(norm):
    decoder = make(norm=norm).train()
    optimizer = torch.optim.SGD(decoder.parameters(), lr=0.05)
    signs = torch.randn(3, 8, 16, 24, generator=torch.Generator().manual_seed(3))
    for _ in range(2):
        optimizer.zero_grad()
        (decoder(encoded()).finest * signs).sum().backward()
        optimizer.step()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in decoder.parameters())


def alone(source):
    maps = [FeatureMap(m.values[:1], m.stride) for m in source.pyramid]
    return Encoded(maps, source.words[:1], source.sentence[:1], MASK[:1], source.word_index[:1], INDEX[:1])


def test_one_sentence_in_training_is_refused_with_batch_norm_and_fine_with_group_norm():
    with pytest.raises(ValueError, match=r"ClipNeck: batch norm.*at least two.*got 1.*norm='group'"):
        make(norm="batch").train()(alone(encoded()))
    assert torch.isfinite(make(norm="batch").eval()(alone(encoded())).finest).all()
    one, several = make().train(), make().train()
    for layer in (*one.modules(), *several.modules()):
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    torch.testing.assert_close(one(alone(encoded())).finest, several(encoded()).finest[:1])


def test_low_precision_stays_close():
    decoder = make()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        low = decoder(encoded()).finest
    torch.testing.assert_close(low.float(), decoder(encoded()).finest.detach(), atol=0.15, rtol=0.1)


def test_strides_that_have_no_quarter_are_refused():
    with pytest.raises(ValueError, match=r"ClipNeck: in_strides=\(2, 2, 2, 2\)"):
        make((2, 2, 2, 2))


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="layer"):
        make(norm="layer")


@pytest.mark.parametrize("part", ["map", "words", "sentence", "mask"])
def test_wrong_channels_and_masks_are_refused(part):
    source = encoded()
    if part == "map":
        source.pyramid[1].values = source.pyramid[1].values[:, :4]
    if part == "words":
        source.words = source.words[..., :4]
    if part == "sentence":
        source.sentence = source.sentence[:, :4]
    if part == "mask":
        source.word_mask = MASK.float()
    with pytest.raises(ValueError, match="ClipNeck"):
        make()(source)
