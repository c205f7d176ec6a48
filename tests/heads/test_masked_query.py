"""The single query with masked attention."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ris_lib.contract import Encoded, PixelFeatures
from ris_lib.heads.masked_query import MaskedQuery, attended
from tests.golden.case import read_case
from tests.golden.magnet_decoder_cases import query_decoder as golden_adapter

WORDS = torch.zeros(2, 3, 6)
TOKEN = torch.zeros(2, 3, dtype=torch.long)
ENCODED = Encoded([], WORDS, WORDS[:, 0], TOKEN == 0, TOKEN, torch.arange(2))


def make(channels=8, memory=(16, 12, 16), seed=0, **options):
    torch.manual_seed(seed)
    options = {"layers": 4, "heads": 2, "feed_forward": 24, "width": 16} | options
    return MaskedQuery(channels, 6, 6, memory, None, **options)


def features(channels=8, memory=(16, 12, 16), finest=(13, 9), stride=4, scale=1.0):
    torch.manual_seed(3)
    sizes = [(2, 3), (4, 5), (7, 5)]
    maps = [scale * torch.randn(2, c, *size) for c, size in zip(memory, sizes)]
    return PixelFeatures(scale * torch.randn(2, channels, *finest), stride, memory=maps)


def step(head, gradient_of):
    """One step of gradient descent on the head, of nothing before the first."""
    with torch.no_grad():
        for parameter in head.parameters():
            parameter -= 0 if parameter.grad is None else 0.01 * parameter.grad
            parameter.grad = None
    gradient_of().backward()


def test_attended_by_hand():
    logits = torch.tensor([[[[2.0, -1.0], [0.0, -5.0]]]])
    assert attended(logits, (2, 2)).tolist() == [[True, False, True, False]]
    assert attended(logits, (1, 1)).tolist() == [[True]]  # the mean, -1, is outside: nothing is left, so all
    assert attended(logits + 1.5, (1, 1)).tolist() == [[True]]
    assert attended(-logits, (1, 2)).tolist() == [[False, True]]  # columns (-2 + 0) / 2 and (1 + 5) / 2


def test_a_fully_masked_row_attends_everywhere_and_gives_no_nan():
    """papers/magnet.md 11: with one query, rows that mask everything are reset."""
    head, source = make(), features()
    with torch.no_grad():
        source.finest.abs_()
        head.kernel[-1].weight.zero_()
        head.kernel[-1].bias.fill_(-1.0)  # every pixel of every prediction is background
    seen = []
    for layer in head.layers:
        layer.attention.register_forward_pre_hook(lambda m, a, k: seen.append(k["mask"]), with_kwargs=True)
    output = head(source, ENCODED)
    assert all(mask.all() for mask in seen)
    assert all((logits < 0).all() for logits in [output.logits, *output.aux_logits])
    output.logits.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)
    with torch.no_grad():
        head.kernel[-1].bias.fill_(1.0)
    assert (head(source, ENCODED).logits > 0).all()


def test_shapes_and_the_number_of_predictions():
    """papers/magnet.md 3.4: a prediction from the initial query and after each layer."""
    output = make(layers=9)(features(), ENCODED)
    assert output.logits.shape == (2, 1, 13, 9)
    assert len(output.aux_logits) == 9
    assert all(logits.shape == (2, 1, 13, 9) for logits in output.aux_logits)
    assert output.centre.shape == (2, 8)
    assert output.query_logits is None
    assert output.class_logits is None
    assert output.explanation == {}
    assert MaskedQuery.fills == {"centre", "aux_logits"}
    assert MaskedQuery.reads == {"memory"}


def test_the_centre_times_the_pixels_is_the_mask():
    source = features()
    output = make()(source, ENCODED)
    product = (output.centre[:, :, None, None] * source.finest).sum(dim=1, keepdim=True)
    torch.testing.assert_close(output.logits, product)


def test_the_initial_query_has_seen_nothing():
    source = features()
    source.finest[1] = source.finest[0]
    first = make()(source, ENCODED).aux_logits[0]
    torch.testing.assert_close(first[1], first[0])


def test_pixels_outside_the_last_mask_do_not_matter_and_those_inside_do():
    head, source = make(layers=1), features()
    base = head(source, ENCODED)
    inside = attended(base.aux_logits[0], source.memory[0].shape[-2:]).unflatten(1, source.memory[0].shape[-2:])
    assert inside.any()
    assert not inside.all()
    coarse = source.memory[0].clone()
    for where, same in ((~inside, True), (inside, False)):
        moved = coarse + 5 * where[:, None] * torch.randn_like(coarse)
        source.memory[0] = moved
        assert torch.allclose(head(source, ENCODED).logits, base.logits, atol=1e-5) == same


def test_layers_cycle_over_the_maps_coarse_to_fine():
    head, source = make(layers=7), features()
    lengths = []
    for layer in head.layers:
        layer.register_forward_pre_hook(lambda module, inputs: lengths.append(inputs[2].shape[1]))
    head(source, ENCODED)
    assert lengths == [6, 20, 35, 6, 20, 35, 6]


def test_one_query_attending_to_itself_is_its_value():
    """papers/magnet.md 9.6 and 3.4: query and key of the self-attention cannot reach the output."""
    layer, full = make().layers[0], nn.MultiheadAttention(16, 2, batch_first=True)
    with torch.no_grad():
        full.in_proj_weight[32:].copy_(layer.own_value.weight)
        full.in_proj_bias[32:].copy_(layer.own_value.bias)
        full.out_proj.load_state_dict(layer.own_out.state_dict())
    query = torch.randn(3, 1, 16)
    asked = query + torch.randn(1, 1, 16)
    torch.testing.assert_close(full(asked, asked, query)[0], layer.own_out(layer.own_value(query)))


def test_place_is_in_the_keys_alone():
    head = make()
    keys, values, size = head._tokens(0, torch.ones(1, 16, 4, 4))
    assert size == (4, 4)
    torch.testing.assert_close(values, values[:, :1].expand_as(values))
    assert not torch.allclose(keys, keys[:, :1].expand_as(keys))


def test_sentences_do_not_mix():
    head, source = make(), features()
    both = head(source, ENCODED).logits
    alone = PixelFeatures(source.finest[1:], 4, memory=[m[1:] for m in source.memory])
    one = Encoded([], WORDS[1:], WORDS[1:, 0], TOKEN[1:] == 0, TOKEN[1:], torch.zeros(1, dtype=torch.long))
    torch.testing.assert_close(head(alone, one).logits, both[1:])


@pytest.mark.parametrize("memory", [(16,), (24, 16), (16, 16, 16, 16)])
@pytest.mark.parametrize("channels", [8, 20])
def test_any_maps_and_any_finest(memory, channels):
    """After the detail merge the finest map has another stride and other channels than the memory."""
    source = features(channels=channels, finest=(26, 18), stride=2)
    source.memory = [torch.randn(2, c, 2 + k, 3 + k) for k, c in enumerate(memory)]
    assert make(channels=channels, memory=memory)(source, ENCODED).logits.shape == (2, 1, 26, 18)


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_every_parameter_learns_after_one_step(layers):
    """Also with fewer layers than maps: what is never read is not built."""
    head, source = make(layers=layers), features()
    asked = torch.randn(2, 1, 13, 9)

    def loss():
        output = head(source, ENCODED)
        return sum((logits * asked).sum() for logits in [output.logits, *output.aux_logits])

    step(head, loss)
    step(head, loss)
    for name, parameter in head.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_gradient_reaches_pixels_and_memory():
    head, source = make(), features()
    for values in [source.finest, *source.memory]:
        values.requires_grad_()
    head(source, ENCODED).logits.square().sum().backward()
    assert all(v.grad.abs().sum() > 0 for v in [source.finest, *source.memory])


def test_explain_shows_the_steps_and_changes_nothing():
    head, source = make(), features()
    plain, open_ = head(source, ENCODED), head(source, ENCODED, explain=True)
    assert torch.equal(open_.logits, plain.logits)
    states, masks = open_.explanation["centre_states"], open_.explanation["query_masks"]
    assert states.shape == (2, 5, 8)
    assert masks.shape == (2, 5, 13, 9)
    assert torch.equal(states[:, -1], plain.centre)
    # all at once: the last bit of a sigmoid depends on where a number stands
    assert torch.equal(masks, torch.cat([*plain.aux_logits, plain.logits], dim=1).sigmoid())


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_bfloat16_autocast(scale):
    head, source = make(), features(scale=scale)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = head(source, ENCODED, explain=True)
    assert torch.isfinite(output.logits).all()
    output.logits.float().square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


def test_the_words_are_not_read():
    head, source = make(), features()
    deaf = Encoded([], WORDS * torch.nan, WORDS[:, 0], TOKEN == 1, TOKEN, torch.arange(2))
    assert torch.equal(head(source, deaf).logits, head(source, ENCODED).logits)


def test_initial_logits_are_not_saturated():
    torch.manual_seed(0)
    head = MaskedQuery(256, 6, 6, (256,) * 3, None)
    pixels = nn.functional.layer_norm(torch.randn(2, 12, 12, 256), (256,)).permute(0, 3, 1, 2)
    memory = [torch.randn(2, 256, n, n) for n in (2, 3, 6)]
    output = head(PixelFeatures(pixels, 4, memory=memory), ENCODED)
    assert all(logits.abs().max() < 8 for logits in [output.logits, *output.aux_logits])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": ()}, "memory_channels is empty"),
        ({"layers": 0}, "layers=0"),
        ({"width": 18}, "width=18"),
        ({"heads": 3}, "heads=3"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (features(channels=4), "finest .2, 4, 13, 9.; expected 8"),
        (features(memory=(16, 16, 16)), "memory has .16, 16, 16. channels; expected .16, 12, 16."),
        (features(memory=(16, 12)), "memory has .16, 12. channels"),
    ],
)
def test_bad_input_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        make()(source, ENCODED)


def test_as_large_as_the_release_less_what_cannot_reach_the_output():
    """papers/magnet.md 7: 14.41 M, of which class head and nine times query and key are not built."""
    count = sum(p.numel() for p in MaskedQuery(256, 768, 768, (256,) * 3, None).parameters())
    dropped = 256 * 2 + 2 + 9 * 2 * (256 * 256 + 256)
    assert round((count + dropped) / 1e6, 2) == 14.41


@pytest.mark.parametrize("name", ["magnet_query_decoder", "magnet_query_decoder_allmasked"])
def test_equals_magnet(golden_folder, name):
    case = read_case(golden_folder / f"{name}.npz")
    with torch.no_grad():
        mine = golden_adapter(case)
    for output, expected in case.expected.items():
        torch.testing.assert_close(mine[output], torch.from_numpy(expected), atol=3e-5, rtol=0)


def test_flops_can_be_counted_without_gradients():
    head, source = make(), features()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        head(source, ENCODED)
    assert counter.get_total_flops() > 0


def test_a_bias_starts_at_the_share_of_the_foreground():
    head, source = make(foreground=0.05), features(scale=0.0)
    with torch.no_grad():
        head.kernel[-1].weight.zero_()
    output = head(source, ENCODED)
    for logits in [output.logits, *output.aux_logits]:
        assert torch.allclose(logits.sigmoid(), torch.tensor(0.05))
    assert output.centre.shape == (2, 8)


def test_logits_are_the_kernels_product_plus_its_bias():
    head, source = make(foreground=0.5), features()
    output = head(source, ENCODED, explain=True)
    product = torch.einsum("sc,schw->shw", output.centre, source.finest)
    left = output.logits[:, 0] - product
    assert torch.allclose(left, left[:, :1, :1].expand_as(left), atol=1e-5)
    assert left.std() > 0  # each query its own
    assert output.explanation["centre_states"].shape == (2, 5, 8)


@pytest.mark.parametrize("foreground", [0.0, 1.0, -0.1])
def test_an_impossible_share_is_refused(foreground):
    with pytest.raises(ValueError, match=r"expected a probability in \(0, 1\), or None"):
        make(foreground=foreground)
