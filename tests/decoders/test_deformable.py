"""The deformable pixel decoder, with and without words."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ris_lib.contract import Encoded, FeatureMap
from ris_lib.decoders.deformable import Deformable
from ris_lib.models.official.lgformer_pixel_decoder import PIXEL_DECODER as LGFORMER
from ris_lib.models.official.rules import translate
from tests.golden.case import read_case
from tests.golden.magnet_decoder_cases import encoded_maps
from tests.golden.magnet_decoder_cases import pixel_decoder as golden_adapter

INDEX = torch.tensor([0, 0, 1])
CHANNELS, STRIDES = (8, 8, 16, 16), (4, 8, 16, 32)
SIZES = [(12, 17), (6, 9), (3, 5), (2, 3)]
MASK = torch.tensor([[True] * 4, [True, True, False, False], [True, True, True, False]])


def make(seed=0, **options):
    torch.manual_seed(seed)
    options = {"width": 16, "layers": 2, "heads": 2, "points": 2, "feed_forward": 24, "groups": 4} | options
    if options.get("words"):
        options = {"word_feed_forward": 24, "length": 4} | options
    return Deformable(CHANNELS, options.pop("strides", STRIDES), 6, 6, **options)


def encoded(sizes=SIZES, strides=STRIDES, fused=(True,) * 4):
    torch.manual_seed(7)
    maps = [
        FeatureMap(torch.randn(3 if words else 2, c, *size), stride, words)
        for size, c, stride, words in zip(sizes, CHANNELS, strides, fused)
    ]
    words = torch.randn(3, 4, 6)
    return Encoded(maps, words, words[:, 0], MASK, torch.zeros(3, 4, dtype=torch.long), INDEX)


def repeated(mixed):
    """The same with every map once per sentence."""
    return replace(mixed, pyramid=[FeatureMap(m.for_sentences(INDEX), m.stride, True) for m in mixed.pyramid])


def changed_words(source, where, value):
    words = source.words.clone()
    words[where] = value
    return replace(source, words=words)


VARIANTS = [{"levels": 4}, {"levels": 3, "words": True}, {"levels": 4, "words": True}, {"levels": 3}]


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (4, 8, 16, 16), (4, 8, 8, 8)])
def test_any_strides_and_odd_sizes(options, strides):
    sizes = [(-(-50 // s), -(-71 // s)) for s in strides]
    decoder = make(strides=strides, channels=12, **options)
    features = decoder(encoded(sizes, strides))
    assert features.finest.shape == (3, 12, *sizes[0])
    assert features.stride == decoder.stride == 4
    assert decoder.channels == 12
    assert [tuple(m.shape) for m in features.memory] == [(3, 16, *size) for size in sizes[:0:-1]]
    assert decoder.memory_channels == (16, 16, 16)
    assert decoder.maps == (0, 1, 2, 3)
    assert features.explanation == {}


@pytest.mark.parametrize(("strides", "place"), [((4, 8, 16, 32), 1), ((4, 8, 16, 16), 1), ((4, 8, 8, 8), 0)])
def test_context_is_the_stride_16_map_where_there_is_one(strides, place):
    decoder = make(strides=strides)
    features = decoder(encoded([(32 // s, 48 // s) for s in strides], strides))
    assert features.context is features.memory[place]
    assert features.context.shape[1] == decoder.context_channels


def test_memory_runs_coarse_to_fine():
    """papers/alignformer.md 9.6: the encoder's maps run fine to coarse, the decoder's coarse to fine."""
    features = make()(encoded())
    assert all(a.shape[-1] < b.shape[-1] for a, b in pairwise([*features.memory, features.finest]))


@pytest.mark.parametrize("options", VARIANTS)
def test_all_levels_hear_of_all_levels(options):
    decoder, source = make(**options), encoded()
    base = decoder(source)
    for k in range(4):
        pyramid = list(source.pyramid)
        pyramid[k] = replace(pyramid[k], values=pyramid[k].values + torch.randn_like(pyramid[k].values))
        moved = decoder(replace(source, pyramid=pyramid))
        assert not torch.allclose(moved.finest, base.finest)
        late = options["levels"] == 3 and k == 0  # the finest map joins after the exchange
        assert all(torch.equal(a, b) == late for a, b in zip(moved.memory, base.memory))


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("fused", [(False,) * 4, (False, False, False, True), (True,) * 4, (True, False, False, False)])
def test_shared_images_equal_repeated_images(options, fused):
    decoder, mixed = make(**options), encoded(fused=fused)
    mine, reference = decoder(mixed), decoder(repeated(mixed))
    torch.testing.assert_close(mine.finest, reference.finest, atol=1e-5, rtol=1e-5)
    for a, b in zip(mine.memory, reference.memory):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "fused", "batches"),
    [
        ({"levels": 4}, (False,) * 4, [2, 2]),
        ({"levels": 4}, (False, False, False, True), [3, 3]),
        ({"levels": 3}, (True, False, False, False), [2, 2]),
        ({"levels": 3, "words": True}, (False,) * 4, [2, 3]),
    ],
)
def test_an_image_is_worked_on_once_until_words_enter(options, fused, batches):
    decoder, seen = make(**options), []
    for layer in decoder.layers:
        layer.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    decoder(encoded(fused=fused))
    assert seen == batches


@pytest.mark.parametrize("levels", [3, 4])
def test_padding_never_matters_and_words_always_do(levels):
    """papers/alignformer.md 9.3."""
    decoder, source = make(levels=levels, words=True), encoded()
    assert decoder.reads == {"words"}
    base = decoder(source).finest
    torch.testing.assert_close(decoder(changed_words(source, ~MASK, 99.0)).finest, base)
    moved = decoder(changed_words(source, (1, 1), 1.0)).finest
    assert not torch.allclose(moved[1], base[1])
    torch.testing.assert_close(moved[[0, 2]], base[[0, 2]])


def test_shorter_sentences_use_the_first_positions():
    """papers/alignformer.md 9.9: cutting off padding changes nothing."""
    decoder, source = make(levels=3, words=True, length=9), encoded()
    keep = replace(source, words=source.words[1:, :3], word_mask=MASK[1:, :3], image_index=INDEX[1:])
    keep.pyramid = [replace(m, values=m.values[1:]) for m in source.pyramid]
    torch.testing.assert_close(decoder(keep).finest, decoder(source).finest[1:])


def test_the_order_of_words_matters():
    decoder, source = make(levels=3, words=True), encoded()
    turned = replace(source, words=source.words.flip(1), word_mask=MASK.flip(1))
    assert not torch.allclose(decoder(turned).finest[0], decoder(source).finest[0])
    torch.nn.init.zeros_(decoder.word_position)
    torch.testing.assert_close(decoder(turned).finest, decoder(source).finest)


def test_without_words_nothing_of_them_is_built_or_read():
    decoder, source = make(), encoded()
    assert decoder.reads == frozenset()
    assert not [name for name, _ in decoder.named_parameters() if "word" in name]
    nothing = replace(source, words=torch.full_like(source.words, torch.nan), word_mask=MASK & False)
    assert torch.equal(decoder(nothing).finest, decoder(source).finest)


@pytest.mark.parametrize("options", VARIANTS)
def test_explain_changes_nothing_and_shows_the_last_look_at_the_words(options):
    decoder, source = make(**options), encoded()
    plain, open_ = decoder(source), decoder(source, explain=True)
    torch.testing.assert_close(open_.finest, plain.finest, atol=1e-5, rtol=0)
    if not options.get("words"):
        assert open_.explanation == {}
        return
    (shown,) = open_.explanation["word_pixel_attention"]
    assert shown.shape == (3, 4, *SIZES[4 - options["levels"]])
    torch.testing.assert_close(shown.sum(dim=1), torch.ones_like(shown[:, 0]))
    assert shown.transpose(0, 1)[:, 1][~MASK[1]].abs().max() == 0


@pytest.mark.parametrize("options", VARIANTS)
def test_every_parameter_learns_after_one_step(options):
    decoder, source = make(**options), encoded()
    asked = torch.randn(3, 16, *SIZES[0])
    for _ in range(2):
        with torch.no_grad():
            for parameter in decoder.parameters():  # a step of gradient descent, of nothing before the first
                parameter -= 0 if parameter.grad is None else 0.01 * parameter.grad
                parameter.grad = None
        (decoder(source).finest * asked).sum().backward()
    for name, parameter in decoder.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("options", VARIANTS)
def test_bfloat16_autocast(options):
    """papers/alignformer.md 3.3: with words it is computed in float32 even under mixed precision."""
    decoder, source = make(**options), encoded()
    exact = decoder(source).finest
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = decoder(source).finest
    if options.get("words"):
        assert torch.equal(low, exact)
        rounded = replace(source, words=source.words.bfloat16())
        rounded.pyramid = [replace(m, values=m.values.bfloat16()) for m in source.pyramid]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert decoder(rounded).finest.dtype == torch.float32
    else:
        assert (low.float() - exact).abs().mean() < 0.05 * exact.abs().mean()
    low.float().square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in decoder.parameters() if p.grad is not None)


@pytest.mark.parametrize("options", VARIANTS)
def test_levels_of_a_single_cell(options):
    sizes = [(4, 4), (2, 2), (1, 1), (1, 1)]
    features = make(**options)(encoded(sizes))
    assert torch.isfinite(features.finest).all()
    assert [tuple(m.shape[-2:]) for m in features.memory] == sizes[:0:-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 2}, "levels=2"),
        ({"layers": 0}, "layers=0"),
        ({"width": 18}, "width=18"),
        ({"width": 6, "groups": 2}, "multiple of groups=2 and of 4"),
        ({"heads": 3}, "heads=3"),
        ({"words": True, "word_heads": 3}, "heads=3"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: replace(e, word_mask=MASK.float()), "must be bool"),
        (lambda e: replace(e, word_mask=MASK[:, :3]), "word_mask has shape"),
        (lambda e: replace(e, word_mask=MASK & False), "all False"),
        (lambda e: replace(e, words=e.words[..., :5]), "expected 6 channels"),
        (lambda e: replace(e, words=e.words.repeat(1, 2, 1), word_mask=MASK.repeat(1, 2)), "8 tokens.*length=8"),
        (lambda e: replace(e, pyramid=e.pyramid[:3]), "expected .8, 8, 16, 16."),
        (lambda e: replace(e, pyramid=e.pyramid[::-1]), "expected .8, 8, 16, 16."),
    ],
)
def test_bad_input_is_refused(change, message):
    with pytest.raises(ValueError, match=f"Deformable: .*{message}"):
        make(levels=3, words=True)(change(encoded()))


def test_as_large_as_the_released_decoders():
    """papers/magnet.md 7: 3.59 M for MagNet; papers/alignformer.md 3.3: 9.5 M in the word layers of LGFormer."""
    channels = (128, 256, 512, 1024)
    magnet = Deformable(channels, STRIDES, 768, 768)
    lgformer = Deformable(channels, STRIDES, 768, 768, layers=6, levels=3, words=True)
    assert round(sum(p.numel() for p in magnet.parameters()) / 1e6, 2) == 3.59
    assert round(sum(p.numel() for p in lgformer.word_layers.parameters()) / 1e6, 1) == 9.5


def test_equals_magnet(golden_folder):
    """papers/magnet.md 3.4: all four maps in the encoder, no further level."""
    case = read_case(golden_folder / "magnet_pixel_decoder.npz")
    mine = golden_adapter(case)
    for name, expected in case.expected.items():
        torch.testing.assert_close(mine[name].detach(), torch.from_numpy(expected), atol=1e-5, rtol=0)


def test_equals_lgformer(golden_folder):
    """papers/alignformer.md 3.3: two feed-forward networks a layer, learned word positions, one further level."""
    case = read_case(golden_folder / "lgformer_decoder_full_formula.npz")
    config = case.config
    maps = [torch.from_numpy(case.inputs[f"s{k}"]) for k in (1, 2, 3, 4)]
    decoder = Deformable(
        [m.shape[1] for m in maps],
        STRIDES,
        word_dim=config["txt_dim"],
        sentence_dim=config["txt_dim"],
        width=config["conv_dim"],
        channels=config["mask_dim"],
        layers=config["encoder_layers"],
        heads=config["encoder_nheads"],
        points=config["n_points"],
        feed_forward=config["encoder_dim_feedforward"],
        levels=3,
        words=True,
        word_heads=config["word_attention_nheads"],
        word_feed_forward=config["word_attention_dim_feedforward"],
        length=config["text_len"],
    )
    prefix = "pix_dec."
    official = {k.removeprefix(prefix): v for k, v in case.official_weights().items() if k.startswith(prefix)}
    decoder.load_state_dict(translate(official, LGFORMER))
    words = torch.from_numpy(case.inputs["text"]).transpose(1, 2)
    word_mask = torch.from_numpy(case.inputs["text_mask"])[..., 0].bool()
    with torch.no_grad():
        features = decoder(encoded_maps(maps, words, word_mask))
    for name, mine in (
        ("pixel_embedding_b0", features.finest[:1]),
        ("ms0", features.memory[0]),
        ("ms1", features.memory[1]),
    ):
        torch.testing.assert_close(mine, torch.from_numpy(case.expected[name]), atol=2e-5, rtol=0)


@pytest.mark.parametrize("options", VARIANTS)
def test_flops_can_be_counted_without_gradients(options):
    decoder, source = make(**options), encoded()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        decoder(source)
    assert counter.get_total_flops() > 0
