"""MagNet's fusion block: its image side, its language side in three forms."""

import json

import pytest
import torch
from torch import nn

from ris_lib.contract import Reads
from ris_lib.fusion.cam import CAM, PooledWords
from ris_lib.fusion.cam_words import PixelsToWords
from ris_lib.fusion.pwam import ResidualGate
from ris_lib.models.official import magnet, translate, under
from ris_lib.models.official.rules import left_behind
from tests.golden.case import read_case
from tests.golden.check import load_adapters, run_case

SIZE = (3, 4)
FORMS = ["ours", "released", "fixed01"]


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    return torch.randn(2, 12, 16), torch.randn(2, 5, 6), mask


def make(opened=True, **options):
    torch.manual_seed(1)
    block = CAM(16, 6, **options)
    for module in block.modules():
        if opened and isinstance(module, ResidualGate):
            nn.init.normal_(module.last.weight)
    return block


def same(ours, expected):
    return torch.allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_shapes(inputs, form):
    pixels, words, mask = inputs
    fused = make(language_side=form)(pixels, SIZE, words, mask)
    assert fused.pixels.shape == fused.pyramid.shape == (2, 12, 16)
    assert fused.words.shape == (2, 5, 6)
    assert fused.decoder_words is words
    assert fused.explanation == {}


def test_a_new_block_leaves_both_towers_as_they_are(inputs):
    pixels, words, mask = inputs
    fused = make(opened=False)(pixels, SIZE, words, mask)
    assert torch.equal(fused.pixels, pixels)
    assert torch.equal(fused.words, words)
    assert not torch.equal(fused.pyramid, pixels)


def test_the_image_side_written_out(inputs):
    """magnet.md 3.2: the decoder gets all branches mixed, the next stage the full-resolution one alone."""
    pixels, words, mask = inputs
    block = make()
    fused = block(pixels, SIZE, words, mask)
    residual = block.residual(pixels, words, mask)[0]
    opening = torch.tanh(block.gate.last(nn.functional.gelu(block.gate.first(residual))))
    torch.testing.assert_close(fused.pixels, pixels + opening * residual)
    raised = []
    for side, branch in zip((1, 2, 3, 6), block.pools):
        image = pixels.transpose(1, 2).reshape(2, 16, *SIZE)
        tiles = branch.narrow(nn.functional.adaptive_avg_pool2d(image, side).flatten(2).transpose(1, 2))
        found = branch.residual(tiles, words, mask)[0].transpose(1, 2).reshape(2, 4, side, side)
        raised.append(nn.functional.interpolate(found, SIZE, mode="bilinear", align_corners=True))
    mixture = torch.cat([*raised, residual.transpose(1, 2).reshape(2, 16, *SIZE)], dim=1)
    torch.testing.assert_close(fused.pyramid, block.mixer(mixture.flatten(2).transpose(1, 2)))


def test_pooled_branches_reach_the_decoder_only(inputs):
    pixels, words, mask = inputs
    block = make()
    base = block(pixels, SIZE, words, mask)
    for branch in block.pools:
        nn.init.zeros_(branch.residual.mix.weight)
    changed = block(pixels, SIZE, words, mask)
    assert torch.equal(changed.pixels, base.pixels)
    assert torch.equal(changed.words, base.words)
    assert not same(changed.pyramid, base.pyramid)


def test_the_whole_image_as_one_tile_says_the_same_everywhere(inputs):
    pixels, words, mask = inputs
    torch.manual_seed(1)
    whole, quarters = PooledWords(16, 6, side=1, width=4), PooledWords(16, 6, side=2, width=4)
    everywhere = whole(pixels, SIZE, words, mask)
    torch.testing.assert_close(everywhere, everywhere[:, :1].expand(-1, 12, -1))
    corners = quarters(pixels, SIZE, words, mask).unflatten(1, SIZE)[:, ::2, ::3]
    torch.testing.assert_close(corners.flatten(1, 2), quarters.residual(quarters.tiles(pixels, SIZE), words, mask)[0])


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 2), (7, 5)])
def test_any_map_larger_or_smaller_than_the_pools(inputs, size):
    """magnet.md 11: one position is why the image side has layer norm; only the language side cannot do without two."""
    _, words, mask = inputs
    pixels = torch.randn(2, size[0] * size[1], 16)
    fused = make(reads=Reads(words=False))(pixels, size, words, mask)
    assert torch.isfinite(fused.pyramid).all()
    if size == (1, 1):
        with pytest.raises(ValueError, match=r"CAM, language side.*single position.*larger image"):
            make()(pixels, size, words, mask)


def test_both_sides_read_what_the_other_has_not_touched_yet(inputs):
    """magnet.md 2, the order inside a stage."""
    pixels, words, mask = inputs
    block = make()
    base = block(pixels, SIZE, words, mask)
    nn.init.zeros_(block.gate.last.weight)
    assert torch.equal(block(pixels, SIZE, words, mask).words, base.words)
    block = make()
    nn.init.zeros_(block.word_gate.last.weight)
    assert torch.equal(block(pixels, SIZE, words, mask).pixels, base.pixels)
    assert torch.equal(block(pixels, SIZE, words, mask).pyramid, base.pyramid)


def test_the_language_side_written_out_word_by_word(inputs):
    """magnet.md 3.3, with our norm over the channels of each word."""
    pixels, words, mask = (x.double() if x.is_floating_point() else x for x in inputs)
    torch.manual_seed(1)
    side = PixelsToWords(6, 16, heads=2).double()
    query = side.query(words)
    key, value = (nn.InstanceNorm1d(6)(part(pixels).transpose(1, 2)).transpose(1, 2) for part in (side.key, side.value))
    mixed = torch.zeros_like(words)
    for s, l, h in torch.cartesian_prod(torch.arange(2), torch.arange(5), torch.arange(2)).tolist():
        cut = slice(3 * h, 3 * h + 3)
        scores = (key[s, :, cut] @ query[s, l, cut] / 6**0.5).exp()
        mixed[s, l, cut] = scores / scores.sum() @ value[s, :, cut]
    gelu, gathered = nn.functional.gelu, side.out_norm(side.out(mixed))
    torch.testing.assert_close(side(words, pixels, mask)[0], gelu(side.mix(gelu(side.look(words)) * gathered)))


@pytest.mark.parametrize(("form", "leaks"), [("ours", False), ("fixed01", True), ("released", True)])
def test_padding_leaks_into_real_words_but_not_in_ours(inputs, form, leaks):
    """magnet.md 10: the norm over the tokens of a sentence sees its padding, even with the mask that was meant."""
    pixels, words, mask = inputs
    block = make(language_side=form)
    base = block(pixels, SIZE, words, mask)
    longer = torch.cat([words, torch.randn(2, 3, 6)], dim=1)
    longer_mask = torch.cat([mask, torch.zeros(2, 3, dtype=torch.bool)], dim=1)
    padded = block(pixels, SIZE, longer, longer_mask)
    assert same(padded.words[:, :5][mask], base.words[mask]) != leaks
    words = words.masked_fill(~mask[..., None], 99.0)
    changed = block(pixels, SIZE, words, mask)
    assert same(changed.words[1, :2], base.words[1, :2]) != (form == "released")  # numbers leak through queries alone
    for other in (padded, changed):  # pixels never see it
        torch.testing.assert_close(other.pixels, base.pixels)
        torch.testing.assert_close(other.pyramid, base.pyramid)


def test_words_matter_to_pixels_and_pixels_to_words(inputs):
    pixels, words, mask = inputs
    block = make()
    base = block(pixels, SIZE, words, mask)
    other_words, other_pixels = words.clone(), pixels.clone()
    other_words[1, 1, 0] += 1.0
    other_pixels[1, 3] += torch.randn(16)
    assert not same(block(pixels, SIZE, other_words, mask).pixels[1], base.pixels[1])
    assert not same(block(pixels, SIZE, other_words, mask).pyramid[1], base.pyramid[1])
    assert not same(block(other_pixels, SIZE, words, mask).words[1, :2], base.words[1, :2])


def test_released_words_look_everywhere_alike_and_padding_at_one_pixel(inputs):
    """magnet.md 9.3: the additive mask in the place of a 0/1 mask."""
    pixels, words, mask = inputs
    block = make(language_side="released")
    weights = block(pixels, SIZE, words, mask, explain=True).explanation["pixel_word_attention"].flatten(2)
    torch.testing.assert_close(weights[mask], torch.full((7, 12), 1 / 12))
    torch.testing.assert_close(weights[~mask].amax(dim=1), torch.ones(3))
    blind = block.word_residual.gather(words[:1], pixels[:1], mask[:1])[0]
    assert blind.abs().max() < 1e-2  # without padding all words gather the same mean of zero-mean values: nothing


def test_the_meant_mask_lets_real_words_look_as_ours_do(inputs):
    pixels, words, mask = inputs
    meant, ours = (
        make(language_side=form)(pixels, SIZE, words, mask, explain=True).explanation["pixel_word_attention"]
        for form in ("fixed01", "ours")
    )
    torch.testing.assert_close(meant[mask], ours[mask])
    torch.testing.assert_close(meant[~mask], torch.full((3, *SIZE), 1 / 12))


@pytest.mark.parametrize("form", FORMS)
def test_a_sentence_of_one_token(inputs, form):
    pixels, words, mask = inputs
    arguments = pixels, SIZE, words[:, :1], mask[:, :1]
    if form == "ours":
        assert torch.isfinite(make(language_side=form)(*arguments).words).all()
    else:
        with pytest.raises(ValueError, match=r"CAM, language side.*language_side='ours'"):
            make(language_side=form)(*arguments)


@pytest.mark.parametrize("form", FORMS)
def test_explaining_changes_nothing(inputs, form):
    pixels, words, mask = inputs
    block = make(language_side=form)
    silent, told = (block(pixels, SIZE, words, mask, explain) for explain in (False, True))
    for name in ("pixels", "words", "pyramid"):
        torch.testing.assert_close(getattr(silent, name), getattr(told, name), atol=1e-5, rtol=0)
    by_word, by_pixel = (told.explanation[f"{name}_attention"] for name in ("word_pixel", "pixel_word"))
    assert by_word.shape == by_pixel.shape == (2, 5, *SIZE)
    torch.testing.assert_close(by_word.sum(dim=1), torch.ones(2, *SIZE))
    torch.testing.assert_close(by_pixel.sum(dim=(2, 3)), torch.ones(2, 5))
    only = make(reads=Reads(words=False))(pixels, SIZE, words, mask, explain=True)
    assert list(only.explanation) == ["word_pixel_attention"]


def two_steps(block, run):
    """Gradients after one step down the slope."""
    for _ in range(2):
        block.zero_grad()
        run().backward()
        gradients = {name: p.grad for name, p in block.named_parameters()}
        with torch.no_grad():
            for p in block.parameters():
                p -= 0 if p.grad is None else 0.1 * p.grad
    return gradients


@pytest.mark.parametrize("reads", [Reads(), Reads(pixels=False, words=False), Reads(pyramid=False)])
def test_every_parameter_learns_from_the_second_step_on(inputs, reads):
    pixels, words, mask = inputs
    block = make(opened=False, reads=reads)
    wanted, wanted_words = torch.randn(2, 2, 12, 16), torch.randn(2, 5, 6) * mask[..., None]

    def run():
        fused = block(pixels, SIZE, words, mask)
        loss = (fused.pixels * wanted[0] * reads.pixels).sum() + (fused.pyramid * wanted[1] * reads.pyramid).sum()
        return loss + (fused.words * wanted_words * reads.words).sum()

    for name, gradient in two_steps(block, run).items():
        assert gradient is not None, name
        assert torch.isfinite(gradient).all(), name
        assert gradient.abs().max() > 1e-7, name


def test_with_both_gate_matrices_at_zero_vision_never_reaches_the_words(inputs):
    """magnet.md 9.4: what the release starts from."""
    pixels, words, mask = inputs
    block = make(opened=False)
    nn.init.zeros_(block.word_gate.first.weight)
    gradients = two_steps(block, lambda: block(pixels, SIZE, words, mask).words.square().sum())
    dead = [gradient for name, gradient in gradients.items() if name.startswith("word_")]
    assert dead
    assert all(gradient.abs().sum() == 0 for gradient in dead)


def test_what_nobody_reads_is_not_built(inputs):
    pixels, words, mask = inputs

    def parts(reads):
        return {name.split(".")[0] for name, _ in make(reads=reads).named_parameters()}

    assert parts(Reads()) == {"residual", "gate", "pools", "mixer", "word_residual", "word_gate"}
    assert parts(Reads(words=False)) == {"residual", "gate", "pools", "mixer"}
    assert parts(Reads(pixels=False, words=False)) == {"residual", "pools", "mixer"}
    assert parts(Reads(pyramid=False, words=False)) == {"residual", "gate"}
    last = make(reads=Reads(pixels=False, words=False))(pixels, SIZE, words, mask)
    assert last.pixels is pixels
    assert last.words is last.decoder_words is words
    with pytest.raises(ValueError, match="CAM: neither"):
        make(reads=Reads(pixels=False, pyramid=False))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("explain", [False, True])
def test_half_precision(inputs, form, explain):
    pixels, words, mask = inputs
    block = make(language_side=form)
    exact = block(pixels, SIZE, words, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused = block(pixels, SIZE, words, mask, explain)
    torch.testing.assert_close(fused.pixels.float(), exact.pixels, atol=0.15, rtol=0.1)
    if form == "ours":
        torch.testing.assert_close(fused.words.float(), exact.words, atol=0.15, rtol=0.1)
    sum(x.float().square().sum() for x in (fused.pixels, fused.words, fused.pyramid)).backward()
    assert all(torch.isfinite(p.grad).all() for p in block.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, w, m: (p, w, m.float()), "CAM: word_mask must be bool"),
        (lambda p, w, m: (p, w, m[:, :3]), "CAM: word_mask has shape"),
        (lambda p, w, m: (p, w, m & False), "CAM: a row of word_mask"),
        (lambda p, w, m: (p[..., :12], w, m), r"CAM: pixels .*expected \(S, N, 16\) and \(S, L, 6\)"),
        (lambda p, w, m: (p[:, :11], w, m), "CAM: pixels .*3 x 4 = 12 pixels"),
        (lambda p, w, m: (p, w[..., :5], m), r"CAM: pixels .*expected \(S, N, 16\) and \(S, L, 6\)"),
        (lambda p, w, m: (p[:1], w, m), "CAM: .*same S sentences"),
    ],
)
def test_bad_input_is_refused(inputs, change, message):
    pixels, words, mask = change(*inputs)
    with pytest.raises(ValueError, match=message):
        make()(pixels, SIZE, words, mask)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pixel_dim": 18}, "CAM: pixel_dim=18"),
        ({"pixel_dim": 4}, "CAM: pixel_dim=4"),
        ({"pools": (1, 0)}, r"CAM: pools=\(1, 0\)"),
        ({"language_side": "mine", "reads": Reads(words=False)}, "CAM: language_side='mine'"),
        ({"heads": 4}, "CAM: word_dim=6 is not a multiple of heads=4"),
    ],
)
def test_bad_options_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CAM(**{"pixel_dim": 16, "word_dim": 6, **arguments})


def test_the_language_side_alone_knows_its_forms():
    with pytest.raises(ValueError, match="language_side='mine'"):
        PixelsToWords(6, 8, form="mine")


def test_the_size_of_the_released_model():
    """magnet.md 7, counts of the image and language sides at Swin-B widths, in millions."""
    count = dict.fromkeys(("residual", "pools", "mixer", "gate", "word_residual", "word_gate"), 0)
    with torch.device("meta"):
        for width in (128, 256, 512, 1024):
            block = CAM(width, 768, language_side="released")
            for part in count:
                count[part] += sum(p.numel() for p in getattr(block, part).parameters()) / 1e6
    assert count["residual"] == pytest.approx(8.54, abs=0.01)
    assert count["pools"] + count["mixer"] == pytest.approx(54.57, abs=0.01)
    assert count["gate"] == pytest.approx(2.79, abs=0.01)
    assert count["word_residual"] == pytest.approx(12.40, abs=0.01)
    assert count["word_gate"] == pytest.approx(4.72, abs=0.01)


@pytest.mark.parametrize(
    "name",
    [
        "magnet_vision_cam_s1",
        "magnet_vision_cam_s2",
        "magnet_vision_cam_s4_small",
        "magnet_lang_pwam",
        "magnet_lang_pwam_nopad",
        "magnet_lang_stage_full_formula",
    ],
)
def test_equals_magnet(golden_folder, name):
    load_adapters()
    line = run_case(read_case(golden_folder / f"{name}.npz"))
    assert line.status == "ok", line


def test_every_name_of_the_released_encoder_is_known(golden_folder):
    """What comes out fills four blocks: the last has neither a gate for pixels nor a language side."""
    rules = under(r"image_model\.", "", magnet.IMAGE_MODEL) + under(r"language_model\.", "", magnet.LANGUAGE_MODEL)
    named = json.loads((golden_folder / "keys_magnet.json").read_text(encoding="utf-8"))["state_dicts"]["model"]
    weights = {
        name: torch.empty(spec["shape"], device="meta")
        for name, spec in named.items()
        if name.startswith(("image_model.", "language_model."))
    }
    ours = translate(weights, rules)
    with torch.device("meta"):
        blocks = nn.ModuleList(
            CAM(width, 768, language_side="released", reads=Reads(pixels=width < 1024, words=width < 1024))
            for width in (128, 256, 512, 1024)
        )
    fusions = {name.removeprefix("fusions."): t.shape for name, t in ours.items() if name.startswith("fusions.")}
    assert fusions == {name: tensor.shape for name, tensor in blocks.state_dict().items()}
    left = left_behind(weights, rules)
    assert sum(why == magnet.NO_NEXT_STAGE for why in left.values()) == 2
    assert sum(why == magnet.NO_NEXT_GROUP for why in left.values()) == 14
    assert sum(why == magnet.NEVER_APPLIED for why in left.values()) == 16
