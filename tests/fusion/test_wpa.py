"""Word-pixel alignment."""

import pytest
import torch
import torch.nn.functional as F

from ris_lib.contract import Reads
from ris_lib.encoders import StagedEncoder, TinyImage, TinyText
from ris_lib.fusion import wpa
from ris_lib.fusion.wpa import WPA, Update
from tests.tiny_batches import make_batch

SIZE = (3, 4)
READS = {
    "all": Reads(),
    "pixels": Reads(pixels=True, words=False, pyramid=False, decoder_words=False),
    "pyramid": Reads(pixels=False, words=False, pyramid=True, decoder_words=False),
    "words": Reads(pixels=False, words=True, pyramid=False, decoder_words=False),
    "decoder_words": Reads(pixels=False, words=False, pyramid=False, decoder_words=True),
}


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    return torch.randn(2, 12, 8), torch.randn(2, 5, 6), mask


def make(**options):
    """A block of two heads with open gates."""
    torch.manual_seed(1)
    block = WPA(8, 6, **{"head_dim": 4, **options})
    for part in block.modules():
        if isinstance(part, Update) and part.gate is not None:
            torch.nn.init.normal_(part.gate[2].weight)
    return block


def by_hand(block, pixels, words, mask):
    """The formulas, a loop over heads, nothing shared with the library."""

    def norm(x, weights, layer):
        return F.layer_norm(x @ weights.weight.T, weights.weight.shape[:1], layer.weight, layer.bias)

    def update_of(part, mixed):
        return mixed @ part.out.weight.T + part.out.bias

    def gated(part, update):
        gate = F.gelu(update @ part.gate[0].weight.T) @ part.gate[2].weight.T
        return torch.tanh(gate) * update

    v = norm(pixels, block.pixel_key, block.pixel_norm)
    t = norm(words, block.word_key, block.word_norm)
    value_t = words @ block.pixel_update.value.weight.T + block.pixel_update.value.bias
    value_v = pixels @ block.word_update.value.weight.T + block.word_update.value.bias
    to_pixels, to_words, word_maps, pixel_maps = [], [], [], []
    for head in torch.arange(v.shape[-1]).split(v.shape[-1] // block.heads):
        affinity = v[..., head] @ t[..., head].transpose(1, 2) / len(head) ** 0.5
        over_words = torch.softmax(affinity + (mask[:, None].to(v.dtype) - 1) * 1e4, dim=2)
        over_pixels = torch.softmax(affinity.transpose(1, 2), dim=2)
        to_pixels.append(over_words @ value_t[..., head])
        to_words.append(over_pixels @ value_v[..., head])
        word_maps.append(over_words.transpose(1, 2))
        pixel_maps.append(over_pixels)
    taken = pixels * update_of(block.pixel_update, torch.cat(to_pixels, dim=2))
    new_pixels = pixels + gated(block.pixel_update, taken)
    heard = update_of(block.word_update, torch.cat(to_words, dim=2))
    new_words = words + gated(block.word_update, heard) * mask[..., None]
    maps = [torch.stack(m).mean(dim=0).unflatten(2, SIZE) for m in (word_maps, pixel_maps)]
    return new_pixels, pixels + taken, new_words, *maps


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_equals_the_formulas(inputs, dtype, tolerance):
    pixels, words, mask = inputs
    block = make().to(dtype)
    assert block.heads == 2
    fused = block(pixels.to(dtype), SIZE, words.to(dtype), mask, explain=True)
    expected = by_hand(block, pixels.to(dtype), words.to(dtype), mask)
    got = (
        fused.pixels,
        fused.pyramid,
        fused.words,
        *(fused.explanation[f"{name}_attention"] for name in ("word_pixel", "pixel_word")),
    )
    for ours, theirs in zip(got, expected):
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
    assert fused.decoder_words is fused.words


@pytest.mark.parametrize(
    ("pixel_dim", "options", "width", "heads"),
    [(512, {}, 256, 8), (96, {}, 96, 3), (8, {}, 8, 1), (100, {}, 100, 2), (8, {"width": 12, "head_dim": 5}, 12, 2)],
)
def test_heads_are_as_many_as_divide_the_width(pixel_dim, options, width, heads):
    block = WPA(pixel_dim, 6, **options)
    assert (block.pixel_norm.weight.shape[0], block.heads) == (width, heads)


def test_closed_gates_change_nothing_of_what_goes_on_and_the_decoder_hears_past_them(inputs):
    pixels, words, mask = inputs
    fused = WPA(8, 6)(pixels, SIZE, words, mask)
    assert torch.equal(fused.pixels, pixels)
    assert torch.equal(fused.words, words)
    share = (fused.pyramid - pixels).std() / pixels.std()
    assert 0.2 < share < 5, "words are as loud as pixels, not a whisper"


def towers():
    torch.manual_seed(0)
    image = TinyImage(widths=(8, 8, 16, 16), strides=(4, 8, 16, 16), detail_channels=8)
    return image, TinyText(12, mask_id=2, width=8, layers=(1, 1, 1, 1), heads=2)


def test_an_untrained_encoder_equals_its_towers_without_fusion():
    """But for what the decoder gets: without the updates themselves, that is equal too."""
    batch = make_batch()
    image, text = towers()
    blocks = [WPA(c, 8) for c in image.channels]
    for block in blocks:
        torch.nn.init.zeros_(block.pixel_update.out.weight)
        torch.nn.init.zeros_(block.pixel_update.out.bias)
    fused = StagedEncoder(image, text, blocks)(batch)
    plain = StagedEncoder(*towers(), [None] * 4)(batch)
    assert torch.equal(fused.words, plain.words)
    assert torch.equal(fused.sentence, plain.sentence)
    for ours, theirs in zip(fused.pyramid, plain.pyramid):
        torch.testing.assert_close(ours.values, theirs.for_sentences(batch.image_index), atol=1e-6, rtol=1e-6)


def test_an_encoder_explains_each_stage():
    batch = make_batch()
    image, text = towers()
    encoded = StagedEncoder(image, text, [WPA(c, 8) for c in image.channels])(batch, explain=True)
    for name in ("word_pixel_attention", "pixel_word_attention"):
        assert [tuple(m.shape) for m in encoded.explanation[name]] == [(3, 5, s, s) for s in (16, 8, 4, 4)]


def test_padding_never_matters_and_words_always_do(inputs):
    pixels, words, mask = inputs
    block = make()
    base = block(pixels, SIZE, words, mask)
    changed, padded = words.clone(), words.clone()
    padded[1, 2:] = 99.0
    changed[1, 1, 0] += 1.0
    after = block(pixels, SIZE, padded, mask)
    torch.testing.assert_close(after.pixels, base.pixels)
    torch.testing.assert_close(after.words[mask], base.words[mask])
    assert torch.equal(after.words[~mask], padded[~mask])
    after = block(pixels, SIZE, changed, mask)
    assert not torch.allclose(after.pixels[1], base.pixels[1])
    torch.testing.assert_close(after.pixels[0], base.pixels[0])


def test_longer_padding_changes_nothing(inputs):
    pixels, words, mask = inputs
    block = make()
    base = block(pixels, SIZE, words, mask)
    longer = block(pixels, SIZE, F.pad(words, (0, 0, 0, 10), value=3.0), F.pad(mask, (0, 10)))
    torch.testing.assert_close(longer.pixels, base.pixels)
    torch.testing.assert_close(longer.words[:, :5][mask], base.words[mask])


def test_words_hear_the_pixels(inputs):
    pixels, words, mask = inputs
    block, other = make(), pixels.clone()
    other[0, 3] += 1.0
    base, after = block(pixels, SIZE, words, mask).words, block(other, SIZE, words, mask).words
    assert not torch.allclose(after[0], base[0])
    torch.testing.assert_close(after[1], base[1])


def test_explaining_does_not_change_the_result(inputs):
    pixels, words, mask = inputs
    block = make()
    plain, shown = block(pixels, SIZE, words, mask), block(pixels, SIZE, words, mask, explain=True)
    torch.testing.assert_close(shown.pixels, plain.pixels, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shown.words, plain.words, atol=1e-5, rtol=1e-5)
    assert plain.explanation == {}
    over_words, over_pixels = (shown.explanation[f"{n}_attention"] for n in ("word_pixel", "pixel_word"))
    torch.testing.assert_close(over_words.sum(dim=1), torch.ones(2, *SIZE))
    torch.testing.assert_close(over_pixels.sum(dim=(2, 3)), torch.ones(2, 5))
    assert (over_words[1, 2:] == 0).all()


@pytest.mark.parametrize("read", READS)
def test_what_nobody_reads_is_not_built_and_comes_back_as_it_came(inputs, read):
    pixels, words, mask = inputs
    block = make(reads=READS[read])
    fused = block(pixels, SIZE, words, mask, explain=True)
    assert (fused.pixels is pixels) == (not READS[read].pixels)
    assert (fused.pyramid is pixels) == ("words" in read)
    assert (fused.words is words) == (read in ("pixels", "pyramid"))
    expected = {"word_pixel_attention"} if fused.words is words else {"pixel_word_attention"}
    if read == "all":
        expected = {"word_pixel_attention", "pixel_word_attention"}
    assert set(fused.explanation) == expected
    assert fused.decoder_words is fused.words


def test_a_block_that_nobody_reads_is_refused():
    with pytest.raises(ValueError, match="nothing is read"):
        WPA(8, 6, reads=Reads(False, False, False, False))


@pytest.mark.parametrize("read", READS)
def test_only_the_second_gate_matrix_lives_at_first_and_everything_after_one_step(inputs, read):
    pixels, words, mask = inputs[0].double(), inputs[1].double(), inputs[2]  # rounding errors are not a gradient
    torch.manual_seed(1)
    block = WPA(8, 6, head_dim=4, reads=READS[read]).double()
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    target = torch.randn_like(pixels), torch.randn_like(words) * mask[..., None]

    def learn():
        optimizer.zero_grad()
        fused = block(pixels, SIZE, words, mask)
        wanted = READS[read]
        outputs = [(fused.pixels, 0)] * wanted.pixels + [(fused.pyramid, 0)] * wanted.pyramid
        outputs += [(fused.words, 1)] * (wanted.words or wanted.decoder_words)
        sum((output * target[side]).sum() for output, side in outputs).backward()
        return {name for name, p in block.named_parameters() if p.grad is not None and p.grad.abs().max() > 1e-12}

    closed = {name for name, _ in block.named_parameters() if name.endswith("gate.2.weight")}
    past_the_gate = {f"pixel_update.{name}" for name in ("value.weight", "value.bias", "out.weight", "out.bias")}
    first = learn()
    assert first == closed if not READS[read].pyramid else first >= closed | past_the_gate
    optimizer.step()
    assert learn() == {name for name, _ in block.named_parameters()}
    assert all(torch.isfinite(p.grad).all() for p in block.parameters())


def test_both_softmaxes_run_in_float32_within_autocast(inputs, monkeypatch):
    pixels, words, mask = inputs
    seen, attend = [], wpa.attend
    monkeypatch.setattr(
        wpa, "attend", lambda q, k, v, **rest: seen.append((q.dtype, v.dtype)) or attend(q, k, v, **rest)
    )
    block = make()
    expected = block(pixels, SIZE, words, mask)
    seen.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused = block(pixels, SIZE, words, mask, explain=True)
        fused.pixels.float().sum().backward()
    assert seen == [(torch.float32, torch.float32)] * 2
    torch.testing.assert_close(fused.pixels.float(), expected.pixels, atol=0.1, rtol=0.1)
    torch.testing.assert_close(fused.words.float(), expected.words, atol=0.1, rtol=0.1)


@pytest.mark.parametrize(
    "bad", [lambda m: m.float(), lambda m: (m.float() - 1) * 1e4, lambda m: m[:, :3], lambda m: m & False]
)
def test_bad_word_masks_are_refused_also_the_additive_form(inputs, bad):
    pixels, words, mask = inputs
    with pytest.raises(ValueError, match="WPA"):
        make()(pixels, SIZE, words, bad(mask))


def test_wrong_shapes_are_refused(inputs):
    pixels, words, mask = inputs
    block = make()
    with pytest.raises(ValueError, match=r"expected \(S, N, 8\) and \(S, L, 6\)"):
        block(pixels[..., :7], SIZE, words, mask)
    with pytest.raises(ValueError, match=r"expected \(S, N, 8\) and \(S, L, 6\)"):
        block(pixels, SIZE, words[..., :5], mask)
    with pytest.raises(ValueError, match=r"WPA: .*same S sentences"):
        block(pixels[:1], SIZE, words, mask)
    with pytest.raises(ValueError, match="3 x 3 = 9 pixels"):
        block(pixels, (3, 3), words, mask)


@pytest.mark.parametrize("option", ["width", "head_dim"])
def test_bad_options_are_refused(option):
    with pytest.raises(ValueError, match=f"{option}=0"):
        WPA(8, 6, **{option: 0})


def test_without_a_gate_nothing_can_be_let_through():
    with pytest.raises(ValueError, match="without a gate"):
        Update(source_dim=6, width=8, target_dim=4, heads=2, gated=False).admit(torch.zeros(1, 3, 4))
