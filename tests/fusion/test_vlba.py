"""VLBA: attention in both directions over one affinity."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from ris_lib.contract import ALL_READ, Reads
from ris_lib.fusion.vlba import VLBA, Lane, TwoWayAttention
from ris_lib.models.official import lgformer, translate
from tests.golden.case import read_case

SIZE = (3, 4)


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    return torch.randn(2, 12, 8), torch.randn(2, 5, 6), mask


def make(heads=1, reads=ALL_READ, opened=False):
    torch.manual_seed(1)
    block = VLBA(8, 6, heads=heads, reads=reads)
    if opened:
        for lane in (block.pixel_lane, block.word_lane):
            nn.init.normal_(lane.gate[2].weight)
    return block


def learn(block, inputs):
    """Two steps in float64, where rounding cannot pass for a gradient; the gradients of the second."""
    block, inputs = block.double(), [x.double() if x.is_floating_point() else x for x in inputs]
    optimiser = torch.optim.SGD(block.parameters(), lr=0.1)
    torch.manual_seed(2)
    for _ in range(2):
        optimiser.zero_grad()
        fused = block(inputs[0], SIZE, *inputs[1:])
        outputs = [x for x in (fused.pixels, fused.words, fused.pyramid, fused.decoder_words) if x.requires_grad]
        sum((x * torch.randn_like(x)).sum() for x in outputs).backward()
        optimiser.step()
    return {name: p.grad for name, p in block.named_parameters()}


def test_shapes(inputs):
    fused = make()(inputs[0], SIZE, *inputs[1:])
    assert fused.pixels.shape == fused.pyramid.shape == (2, 12, 8)
    assert fused.words.shape == fused.decoder_words.shape == (2, 5, 6)
    assert fused.explanation == {}


@pytest.mark.parametrize("heads", [1, 2])
def test_the_attention_by_hand(inputs, heads):
    """Note 3.2: one affinity, scaled by 1 / sqrt(C) with several heads too, read by rows and by columns."""
    pixels, words, mask = inputs
    torch.manual_seed(1)
    attention = TwoWayAttention(8, 6, heads)
    for_pixels, for_words, weights = attention(pixels, words, mask)
    sentence, real = 1, 2
    query = attention.norm(attention.query(pixels))[sentence]
    key, value = attention.key(words)[sentence, :real], attention.word_value(words)[sentence, :real]
    seen = attention.norm(attention.pixel_value(pixels))[sentence]
    gathered, found, rows = [], [], []
    for q, k, v, u in zip(*(x.chunk(heads, dim=1) for x in (query, key, value, seen))):
        affinity = q @ k.T / math.sqrt(8)
        rows.append(affinity.softmax(dim=1))
        gathered.append(rows[-1] @ v)
        found.append(affinity.softmax(dim=0).T @ u)
    wanted = attention.norm(attention.pixel_out(torch.cat(gathered, dim=1))[None])[0]
    torch.testing.assert_close(for_pixels[sentence], wanted)
    torch.testing.assert_close(for_words[sentence, :real], attention.word_out(torch.cat(found, dim=1)))
    torch.testing.assert_close(weights["word_pixel_attention"][sentence, :, :real], sum(rows) / heads)


def test_there_is_one_head_unless_more_are_asked_for():
    assert VLBA(8, 6).attention.heads == 1


def test_the_block_by_hand(inputs):
    """Note 3.2: concatenation, GELU after each layer, tanh gates, norm on the decoder's map alone."""
    pixels, words, mask = inputs
    block = make(opened=True)
    fused = block(pixels, SIZE, words, mask)
    gathered, found, _ = block.attention(pixels, words, mask)

    def lane(part, x, other):
        gelu, net = nn.functional.gelu, part.fuse
        return gelu(net[2](gelu(net[0](torch.cat([gelu(part.project[0](x)), other], dim=-1)))))

    res_pixels, res_words = lane(block.pixel_lane, pixels, gathered), lane(block.word_lane, words, found)
    first, _, last, _ = block.pixel_lane.gate
    gate = torch.tanh(last(torch.relu(first(res_pixels))))
    torch.testing.assert_close(fused.pixels, pixels + gate * res_pixels)
    torch.testing.assert_close(fused.pyramid, nn.functional.layer_norm(res_pixels, (8,), *block.norm.parameters()))
    real = mask[..., None]
    torch.testing.assert_close(fused.decoder_words, res_words * real)
    first, _, last, _ = block.word_lane.gate
    gate = torch.tanh(last(torch.relu(first(res_words))))
    torch.testing.assert_close(fused.words, (words + gate * res_words) * real)


def test_the_decoder_gets_residuals_not_updates(inputs):
    """Pitfall 5."""
    fused = make(opened=True)(inputs[0], SIZE, *inputs[1:])
    assert not torch.allclose(fused.decoder_words, fused.words)
    assert not torch.allclose(fused.pyramid, fused.pixels)
    assert (fused.decoder_words[1, 2:] == 0).all()
    assert (fused.words[1, 2:] == 0).all()


def test_closed_gates_leave_the_encoder_untouched(inputs):
    pixels, words, mask = inputs
    fused = make()(pixels, SIZE, words, mask)
    assert torch.equal(fused.pixels, pixels)
    assert torch.equal(fused.words, words * mask[..., None])
    assert fused.pyramid.abs().sum() > 0


def test_both_directions_read_one_affinity(inputs):
    """Log weights of either softmax are the affinity up to a constant per row or column."""
    pixels, words, _ = inputs
    explanation = make()(pixels, SIZE, words, torch.ones(2, 5, dtype=torch.bool), explain=True).explanation
    rows, columns = (explanation[f"{n}_attention"].flatten(2).log() for n in ("word_pixel", "pixel_word"))

    def centred(x):
        return x - x.mean(1, keepdim=True) - x.mean(2, keepdim=True) + x.mean((1, 2), keepdim=True)

    torch.testing.assert_close(centred(rows), centred(columns), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("heads", [1, 2])
def test_explaining_changes_nothing_and_sums_to_one(inputs, heads):
    pixels, words, mask = inputs
    block = make(heads, opened=True)
    plain, explained = (block(pixels, SIZE, words, mask, explain=e) for e in (False, True))
    for name in ("pixels", "words", "pyramid", "decoder_words"):
        torch.testing.assert_close(getattr(plain, name), getattr(explained, name), atol=1e-5, rtol=0)
    by_word, by_pixel = (explained.explanation[f"{n}_attention"] for n in ("word_pixel", "pixel_word"))
    assert by_word.shape == by_pixel.shape == (2, 5, *SIZE)
    torch.testing.assert_close(by_word.sum(dim=1), torch.ones(2, *SIZE))
    torch.testing.assert_close(by_pixel.sum(dim=(2, 3)), torch.ones(2, 5))
    assert (by_word[1, 2:] == 0).all()


def test_padding_never_matters_and_words_always_do(inputs):
    """Pitfall 3: neither the content of padding nor its length, on either side."""
    pixels, words, mask = inputs
    block = make(opened=True)
    base = block(pixels, SIZE, words, mask)
    padded, changed = words.clone(), words.clone()
    padded[1, 2:] = 99.0
    changed[1, 1, 0] += 1.0
    longer = torch.cat([padded, torch.full((2, 3, 6), -7.0)], dim=1)
    longer_mask = torch.cat([mask, torch.zeros(2, 3, dtype=torch.bool)], dim=1)
    for name in ("pixels", "pyramid"):
        wanted = getattr(base, name)
        torch.testing.assert_close(getattr(block(pixels, SIZE, padded, mask), name), wanted)
        torch.testing.assert_close(getattr(block(pixels, SIZE, longer, longer_mask), name), wanted)
        assert not torch.allclose(getattr(block(pixels, SIZE, changed, mask), name)[1], wanted[1])
    for name in ("words", "decoder_words"):
        wanted = getattr(base, name)
        torch.testing.assert_close(getattr(block(pixels, SIZE, padded, mask), name), wanted)
        torch.testing.assert_close(getattr(block(pixels, SIZE, longer, longer_mask), name)[:, :5], wanted)


def test_pixels_reach_the_words(inputs):
    """The way back, AlignFormer's claim."""
    pixels, words, mask = inputs
    block = make(opened=True)
    other = block(pixels.flip(1) * 2 + pixels, SIZE, words, mask)
    assert not torch.allclose(other.decoder_words, block(pixels, SIZE, words, mask).decoder_words)


def test_a_padded_word_gives_finite_numbers_and_gradients(inputs):
    """Pitfall 2: in the softmax over pixels a padded word is a row that is blocked whole."""
    pixels, words, mask = (x.requires_grad_() if x.is_floating_point() else x for x in inputs)
    fused = make(opened=True)(pixels, SIZE, words, mask, explain=True)
    (fused.pyramid.sum() + fused.decoder_words.square().sum() + fused.words.sum()).backward()
    assert all(torch.isfinite(x).all() for x in (fused.pyramid, fused.words, pixels.grad, words.grad))
    assert (words.grad[1, 2:] == 0).all()
    torch.testing.assert_close(fused.explanation["pixel_word_attention"][1, 2:], torch.full((3, *SIZE), 1 / 12))


@pytest.mark.parametrize(
    "reads",
    [
        ALL_READ,
        Reads(pixels=False, words=False),
        Reads(decoder_words=False),
        Reads(words=False, decoder_words=False),
        Reads(pixels=False, pyramid=False, words=False),
        Reads(pyramid=False, decoder_words=False),
    ],
)
def test_what_is_read_learns_and_the_rest_is_not_built(inputs, reads):
    """Pitfall 1 too: after one step every parameter, the gates among them, has a gradient."""
    block = make(reads=reads)
    gradients = learn(block, inputs)
    assert all(g is not None and torch.isfinite(g).all() and g.abs().max() > 1e-9 for g in gradients.values())
    built = {name.split(".")[0] for name in gradients}
    assert ("norm" in built) == reads.pyramid
    assert ("pixel_lane" in built) == (reads.pixels or reads.pyramid)
    assert ("word_lane" in built) == (reads.words or reads.decoder_words)
    assert any(name.startswith("pixel_lane.gate") for name in gradients) == reads.pixels
    assert any(name.startswith("word_lane.gate") for name in gradients) == reads.words


@pytest.mark.parametrize("reads", [Reads(pixels=False, words=False), Reads(pyramid=False, decoder_words=False)])
def test_an_unread_output_is_returned_as_it_came(inputs, reads):
    pixels, words, mask = inputs
    fused = make(reads=reads)(pixels, SIZE, words, mask)
    came = {"pixels": pixels, "pyramid": pixels, "words": words, "decoder_words": words}
    assert all(getattr(fused, name) is value for name, value in came.items() if not getattr(reads, name))


def test_two_zero_gate_matrices_would_never_learn(inputs):
    """Pitfall 1, shown: with both matrices at zero the gate's gradient is zero for ever."""
    block = make()
    for layer in (block.pixel_lane.gate[0], block.pixel_lane.gate[2]):
        nn.init.zeros_(layer.weight)
    gradients = learn(block, inputs)
    assert gradients["pixel_lane.gate.0.weight"].abs().sum() == gradients["pixel_lane.gate.2.weight"].abs().sum() == 0
    assert Lane(8).gate[0].weight.abs().sum() > 0


def test_bfloat16_and_large_features(inputs):
    pixels, words, mask = inputs
    block = make(opened=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused = block(pixels * 100, SIZE, words * 100, mask)
        (fused.pyramid.float().sum() + fused.decoder_words.float().sum()).backward()
    assert all(torch.isfinite(x).all() for x in (fused.pixels, fused.words, fused.pyramid, fused.decoder_words))
    reference = block(pixels, SIZE, words, mask).decoder_words
    with torch.autocast("cpu", dtype=torch.bfloat16):
        halved = block(pixels, SIZE, words, mask).decoder_words
    torch.testing.assert_close(halved.float(), reference, atol=0.05, rtol=0.05)


@pytest.mark.parametrize(("width", "millions"), [(128, 4.6), (256, 5.2), (512, 7.4), (1024, 14.9)])
def test_as_many_parameters_as_the_released_code(width, millions):
    """Note 3.2: 4.6, 5.2, 7.4 and 14.9 million at Swin-B's widths, without the output norm."""
    with torch.device("meta"):
        block = VLBA(width, 768)
    assert round((sum(p.numel() for p in block.parameters()) - 2 * width) / 1e6, 1) == millions


@pytest.mark.parametrize("name", ["lgformer_vlba_h1", "lgformer_vlba_h4"])
def test_equals_lgformer_in_float64(golden_folder, name):
    case = read_case(golden_folder / f"{name}.npz")
    wanted = np.load(golden_folder / f"{name}.npz")
    config = case.config
    block = VLBA(
        config["dim"], config["lang_dim"], config["num_heads"], reads=Reads(pixels=False, words=False, pyramid=False)
    )
    block.attention = TwoWayAttention(config["dim"], config["lang_dim"], config["num_heads"])
    block.pixel_lane = Lane(config["dim"], gated=False)
    block.load_state_dict(translate(case.official_weights(), lgformer.VLBA))
    block = block.double()
    pixels, words = (torch.from_numpy(case.inputs[key]).double() for key in ("x", "l"))
    words, mask = words.transpose(1, 2), torch.from_numpy(case.inputs["l_mask"])[..., 0].bool()
    gathered, found, _ = block.attention(pixels, words, mask)
    residual = block.pixel_lane(pixels, gathered)
    torch.testing.assert_close(residual, torch.from_numpy(wanted["out64/res_vis"]), atol=1e-6, rtol=1e-6)
    residual = block.word_lane(words, found) * mask[..., None]
    wanted_words = torch.from_numpy(wanted["out64/res_lang"]).transpose(1, 2)
    torch.testing.assert_close(residual, wanted_words, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("bad", [lambda m: m.float(), lambda m: m[:, :3], lambda m: m & False])
def test_bad_word_masks_are_refused(inputs, bad):
    pixels, words, mask = inputs
    with pytest.raises(ValueError, match="VLBA"):
        make()(pixels, SIZE, words, bad(mask))


def test_a_map_of_one_position_is_refused(inputs):
    """Pitfall 4."""
    pixels, words, mask = inputs
    with pytest.raises(ValueError, match=r"VLBA: instance norm over a single position.*at least two"):
        make()(pixels[:, :1], (1, 1), words, mask)


def test_other_shapes_are_refused(inputs):
    pixels, words, mask = inputs
    for arguments in ((pixels[..., :7], SIZE, words), (pixels, SIZE, words[..., :5])):
        with pytest.raises(ValueError, match=r"VLBA: .*expected \(S, N, 8\) and \(S, L, 6\)"):
            make()(*arguments, mask)
    with pytest.raises(ValueError, match=r"VLBA: .*3 x 3 = 9 pixels"):
        make()(pixels, (3, 3), words, mask)
    with pytest.raises(ValueError, match=r"VLBA: .*same S sentences"):
        make()(pixels[:1], SIZE, words, mask)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="heads=4 must divide"):
        VLBA(8, 6, heads=4)
    with pytest.raises(ValueError, match="nobody reads"):
        VLBA(8, 6, reads=Reads(False, False, False, False))
