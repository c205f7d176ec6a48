"""LAVT's fusion block and its pieces."""

import json
import re

import pytest
import torch
from torch import nn

from ris_lib.contract import Reads
from ris_lib.fusion.pwam import PWAM, ResidualGate
from ris_lib.models.official import lavt, translate
from ris_lib.models.official.rules import left_behind
from tests.golden.case import read_case
from tests.golden.check import load_adapters, run_case

SIZE = (3, 4)


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    return torch.randn(2, 12, 8), torch.randn(2, 5, 6), mask


def make(**options):
    torch.manual_seed(1)
    return PWAM(8, 6, **options)


def open_gates(block):
    for module in block.modules():
        if isinstance(module, ResidualGate):
            nn.init.normal_(module.last.weight)
    return block


def test_shapes_and_untouched_words(inputs):
    pixels, words, mask = inputs
    fused = make()(pixels, SIZE, words, mask)
    assert fused.pixels.shape == fused.pyramid.shape == (2, 12, 8)
    assert fused.words is fused.decoder_words is words
    assert fused.explanation == {}


@pytest.mark.parametrize(("norm", "heads"), [("instance", 1), ("instance", 4), ("layer", 2)])
def test_the_formula_written_out_word_by_word(inputs, norm, heads):
    """The scale has all channels in it, whatever the number of heads."""
    pixels, words, mask = inputs
    block = make(norm=norm, heads=heads).double()
    pixels, words, part = pixels.double(), words.double(), block.residual
    query, key, value = part.query_norm(part.query(pixels)), part.key(words), part.value(words)
    mixed = torch.zeros_like(pixels)
    for s, n, h in torch.cartesian_prod(torch.arange(2), torch.arange(12), torch.arange(heads)).tolist():
        cut, real = slice(h * 8 // heads, (h + 1) * 8 // heads), mask[s]
        scores = (key[s, real, cut] * query[s, n, cut]).sum(dim=1) / 8**0.5
        mixed[s, n, cut] = (scores.exp() / scores.exp().sum()) @ value[s, real, cut]
    gathered = part.out_norm(part.out(mixed))
    gelu = nn.functional.gelu
    expected = gelu(part.mix(gelu(part.look(pixels)) * gathered))
    torch.testing.assert_close(part(pixels, words, mask)[0], expected)
    fused = open_gates(block)(pixels, SIZE, words, mask)
    opening = torch.tanh(block.gate.last(torch.relu(block.gate.first(expected))))
    torch.testing.assert_close(fused.pixels, pixels + opening * expected)
    torch.testing.assert_close(fused.pyramid, block.norm(expected))


@pytest.mark.parametrize("norm", ["instance", "layer"])
def test_padding_never_matters_and_words_always_do(inputs, norm):
    pixels, words, mask = inputs
    block = open_gates(make(norm=norm))
    base = block(pixels, SIZE, words, mask)
    padded, changed = words.clone(), words.clone()
    padded[1, 2:] = 99.0
    changed[1, 1, 0] += 1.0
    shorter = block(pixels[1:], SIZE, words[1:, :2], mask[1:, :2])
    for other, rows in ((block(pixels, SIZE, padded, mask), slice(0, 2)), (shorter, slice(1, 2))):
        torch.testing.assert_close(other.pixels, base.pixels[rows])
        torch.testing.assert_close(other.pyramid, base.pyramid[rows])
    moved = block(pixels, SIZE, changed, mask)
    assert not torch.allclose(moved.pixels[1], base.pixels[1])
    assert not torch.allclose(moved.pyramid[1], base.pyramid[1])
    torch.testing.assert_close(moved.pyramid[0], base.pyramid[0])


def test_a_single_position_is_refused_and_layer_norm_is_the_way_out(inputs):
    pixels, words, mask = inputs
    with pytest.raises(ValueError, match=r"PWAM.*single position.*norm='layer'"):
        make()(pixels[:, :1], (1, 1), words, mask)
    assert torch.isfinite(make(norm="layer")(pixels[:, :1], (1, 1), words, mask).pyramid).all()


def test_a_new_block_leaves_the_image_tower_as_it_is(inputs):
    pixels, words, mask = inputs
    block = make()
    assert torch.equal(block(pixels, SIZE, words, mask).pixels, pixels)
    assert not torch.equal(open_gates(block)(pixels, SIZE, words, mask).pixels, pixels)


def two_steps(module, run):
    """Gradients after one step down the slope."""
    for _ in range(2):
        module.zero_grad()
        run().backward()
        gradients = {name: p.grad for name, p in module.named_parameters()}
        with torch.no_grad():
            for p in module.parameters():
                p -= 0 if p.grad is None else 0.1 * p.grad
    return gradients


@pytest.mark.parametrize(
    ("activation", "both_zero"), [("relu", False), ("gelu", False), ("relu", True), ("gelu", True)]
)
def test_a_gate_learns_unless_both_of_its_matrices_start_at_zero(activation, both_zero):
    """magnet.md 9.4: such a gate is dead for ever, and so is everything behind it."""
    torch.manual_seed(0)
    gate, residual, wanted = ResidualGate(4, activation), torch.randn(1, 6, 4), torch.randn(1, 6, 4)
    if both_zero:
        nn.init.zeros_(gate.first.weight)
    gradients = two_steps(gate, lambda: (gate(residual) * wanted).sum())
    assert all((gradient.abs().sum() == 0) == both_zero for gradient in gradients.values())


@pytest.mark.parametrize(
    "reads", [Reads(), Reads(pixels=False), Reads(pyramid=False), Reads(words=False, decoder_words=False)]
)
@pytest.mark.parametrize("norm", ["instance", "layer"])
def test_every_parameter_learns_from_the_second_step_on(inputs, reads, norm):
    pixels, words, mask = inputs
    block = make(reads=reads, norm=norm, heads=2)
    wanted = torch.randn(2, 2, 12, 8)

    def run():
        fused = block(pixels, SIZE, words, mask)
        return (fused.pixels * wanted[0] * reads.pixels).sum() + (fused.pyramid * wanted[1] * reads.pyramid).sum()

    for name, gradient in two_steps(block, run).items():
        assert gradient is not None, name
        assert torch.isfinite(gradient).all(), name
        assert gradient.abs().max() > 1e-7, name


def test_what_nobody_reads_is_not_built(inputs):
    pixels, words, mask = inputs
    assert not [name for name, _ in make(reads=Reads(pixels=False)).named_parameters() if name.startswith("gate")]
    assert not [name for name, _ in make(reads=Reads(pyramid=False)).named_parameters() if name.startswith("norm")]
    assert make(reads=Reads(pixels=False))(pixels, SIZE, words, mask).pixels is pixels
    with pytest.raises(ValueError, match="PWAM: neither"):
        make(reads=Reads(pixels=False, pyramid=False))


@pytest.mark.parametrize("norm", ["instance", "layer"])
def test_explaining_changes_nothing_and_its_weights_sum_to_one_over_the_real_words(inputs, norm):
    pixels, words, mask = inputs
    block = open_gates(make(norm=norm, heads=2))
    silent, told = (block(pixels, SIZE, words, mask, explain) for explain in (False, True))
    torch.testing.assert_close(silent.pixels, told.pixels, atol=1e-5, rtol=0)
    torch.testing.assert_close(silent.pyramid, told.pyramid, atol=1e-5, rtol=0)
    assert list(told.explanation) == ["word_pixel_attention"]
    weights = told.explanation["word_pixel_attention"]
    assert weights.shape == (2, 5, *SIZE)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, *SIZE))
    assert (weights[1, 2:] == 0).all()


def test_dropout_works_in_training_only(inputs):
    pixels, words, mask = inputs
    block = make(dropout=0.5)
    assert not torch.equal(block(pixels, SIZE, words, mask).pyramid, block(pixels, SIZE, words, mask).pyramid)
    plain = make().eval()
    torch.testing.assert_close(
        block.eval()(pixels, SIZE, words, mask).pyramid, plain(pixels, SIZE, words, mask).pyramid
    )


@pytest.mark.parametrize("norm", ["instance", "layer"])
@pytest.mark.parametrize("explain", [False, True])
def test_half_precision(inputs, norm, explain):
    pixels, words, mask = inputs
    block = open_gates(make(norm=norm))
    exact = block(pixels, SIZE, words, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused = block(pixels, SIZE, words, mask, explain)
    torch.testing.assert_close(fused.pixels.float(), exact.pixels, atol=0.15, rtol=0.1)
    (fused.pixels.float().sum() + fused.pyramid.float().square().sum()).backward()
    assert all(torch.isfinite(p.grad).all() for p in block.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, w, m: (p, w, m.float()), "PWAM: word_mask must be bool"),
        (lambda p, w, m: (p, w, m[:, :3]), "PWAM: word_mask has shape"),
        (lambda p, w, m: (p, w, m & False), "PWAM: a row of word_mask"),
        (lambda p, w, m: (p[..., :7], w, m), r"PWAM: pixels .*expected \(S, N, 8\) and \(S, L, 6\)"),
        (lambda p, w, m: (p[:, :11], w, m), "PWAM: pixels .*3 x 4 = 12 pixels"),
        (lambda p, w, m: (p, w[..., :5], m), r"PWAM: pixels .*expected \(S, N, 8\) and \(S, L, 6\)"),
        (lambda p, w, m: (p[:1], w, m), "PWAM: .*same S sentences"),
        (lambda p, w, m: (p.transpose(1, 2).unflatten(2, SIZE), w, m), r"PWAM: .*expected \(S, N, 8\)"),
    ],
)
def test_bad_input_is_refused(inputs, change, message):
    pixels, words, mask = change(*inputs)
    with pytest.raises(ValueError, match=message):
        make()(pixels, SIZE, words, mask)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "PWAM: pixel_dim=8 is not a multiple of heads=3"),
        ({"norm": "batch"}, "PWAM: norm='batch'"),
        ({"gate": "tanh"}, "gate='tanh'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.parametrize("name", ["lavt_pwam_h1", "lavt_pwam_h4"])
def test_equals_lavt(golden_folder, name):
    load_adapters()
    line = run_case(read_case(golden_folder / f"{name}.npz"))
    assert line.status == "ok", line


def test_every_name_in_a_file_of_lavts_is_known(golden_folder):
    """With both state dicts; what comes out fills four blocks, the last without a gate."""
    parts = json.loads((golden_folder / "keys_lavt.json").read_text(encoding="utf-8"))["state_dicts"]
    named = parts["model"] | {f"bert_model.{name}": spec for name, spec in parts["bert_model"].items()}
    weights = {name: torch.empty(spec["shape"], device="meta") for name, spec in named.items()}
    ours = translate(weights, lavt.LAVT)
    with torch.device("meta"):
        blocks = nn.ModuleList(PWAM(width, 768, reads=Reads(pixels=width < 1024)) for width in (128, 256, 512, 1024))
    prefix = "encoder.fusions."
    fusions = {name.removeprefix(prefix): tensor.shape for name, tensor in ours.items() if name.startswith(prefix)}
    assert fusions == {name: tensor.shape for name, tensor in blocks.state_dict().items()}
    reasons = {
        r"backbone\.layers\.3\.res_gate\.[02]\.weight": lavt.NO_NEXT_STAGE,
        r"backbone\.layers\.\d\.fusion\.image_lang_att\.(f_query|f_value|W)\.0\.bias": lavt.CANCELS_IN_NORM,
        r"backbone\.layers\.\d\.fusion\.image_lang_att\.f_key\.0\.bias": lavt.CANCELS_IN_SOFTMAX,
        r"backbone\.layers\.\d\.blocks\.\d+\.attn\.relative_position_index": "computed from the window's side",
    }
    left = left_behind(weights, lavt.LAVT)
    assert len(left) == 2 + 12 + 4 + 24
    assert all(
        any(re.fullmatch(p, name) and why == reason for p, reason in reasons.items()) for name, why in left.items()
    )
