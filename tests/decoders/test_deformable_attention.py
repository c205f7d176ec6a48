"""Deformable attention against loops, ``grid_sample`` and released code."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from ris_lib.decoders.deformable_attention import DeformableAttention, cell_centres, deformable_sample
from tests.golden.case import read_case
from tests.golden.magnet_decoder_cases import deformable_attention as golden_adapter

SIZES = [(1, 1), (3, 2), (5, 4)]


def problem(sizes=SIZES, batch=2, queries=3, heads=2, points=2, channels=3, spread=0.7, dtype=torch.float64):
    torch.manual_seed(0)
    values = torch.randn(batch, sum(h * w for h, w in sizes), heads, channels, dtype=dtype)
    locations = 0.5 + spread * torch.randn(batch, queries, heads, len(sizes), points, 2, dtype=dtype)
    weights = torch.rand(batch, queries, heads, len(sizes), points, dtype=dtype)
    return values, locations, weights


def by_loops(values, sizes, locations, weights):
    """The definition, one number at a time."""
    batch, queries, heads, _, points = weights.shape
    out = torch.zeros(batch, queries, heads, values.shape[-1], dtype=values.dtype)
    starts = [sum(h * w for h, w in sizes[:k]) for k in range(len(sizes))]
    for b in range(batch):
        for q in range(queries):
            for head in range(heads):
                for (h, w), start, k in zip(sizes, starts, range(len(sizes))):
                    for p in range(points):
                        x = locations[b, q, head, k, p, 0] * w - 0.5
                        y = locations[b, q, head, k, p, 1] * h - 0.5
                        for row in range(h):
                            for column in range(w):
                                share = (1 - (y - row).abs()).clamp(min=0) * (1 - (x - column).abs()).clamp(min=0)
                                cell = values[b, start + row * w + column, head]
                                out[b, q, head] = out[b, q, head] + weights[b, q, head, k, p] * share * cell
    return out.flatten(2)


def by_grid_sample(values, sizes, locations, weights):
    batch, queries, heads, _, _ = weights.shape
    total = 0
    for k, level in enumerate(values.split([h * w for h, w in sizes], dim=1)):
        maps = level.permute(0, 2, 3, 1).flatten(0, 1).unflatten(-1, sizes[k])
        grid = 2 * locations[:, :, :, k].transpose(1, 2).flatten(0, 1) - 1
        read = F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        total = total + (read * weights[:, :, :, k].transpose(1, 2).flatten(0, 1)[:, None]).sum(-1)
    return total.view(batch, heads, -1, queries).permute(0, 3, 1, 2).flatten(2)


@pytest.mark.parametrize("spread", [0.2, 0.7, 3.0])
def test_equals_loops_in_value_and_gradient(spread):
    """papers/magnet.md 11: a version without compiled kernel; inside, at the edge and far outside of the maps."""
    values, locations, weights = (x.requires_grad_() for x in problem(spread=spread))
    mine, loops = (f(values, SIZES, locations, weights) for f in (deformable_sample, by_loops))
    torch.testing.assert_close(mine, loops, atol=1e-12, rtol=0)
    asked = torch.randn_like(mine)
    for a, b in zip(
        torch.autograd.grad((mine * asked).sum(), (values, locations, weights)),
        torch.autograd.grad((loops * asked).sum(), (values, locations, weights)),
    ):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=0)


def test_gradient_against_differences():
    sizes = [(1, 1), (2, 3)]
    inputs = [x.requires_grad_() for x in problem(sizes, batch=1, heads=1, points=1, queries=2, channels=2)]
    assert torch.autograd.gradcheck(lambda v, p, w: deformable_sample(v, sizes, p, w), inputs)


@pytest.mark.parametrize("sizes", [[(1, 1)], [(7, 1), (1, 9)], [(4, 6), (8, 12), (15, 23)]])
def test_equals_grid_sample_in_float32(sizes):
    values, locations, weights = problem(sizes, queries=11, heads=4, points=3, channels=8, dtype=torch.float32)
    mine, reference = (f(values, sizes, locations, weights) for f in (deformable_sample, by_grid_sample))
    torch.testing.assert_close(mine, reference, atol=5e-6, rtol=0)


def test_cell_centres_read_the_cells_themselves():
    values = problem()[0]
    places = cell_centres(SIZES, values)
    for k, ((h, w), start) in enumerate(zip(SIZES, (0, 1, 7))):
        cells = slice(start, start + h * w)
        locations = places[cells][None, :, None, None, None].expand(2, -1, 2, 3, 1, 2)
        weights = torch.zeros(2, h * w, 2, 3, 1, dtype=values.dtype)
        weights[:, :, :, k] = 1
        torch.testing.assert_close(deformable_sample(values, SIZES, locations, weights), values[:, cells].flatten(2))


def test_far_outside_is_zero_and_nan_stays_nan():
    values, locations, weights = problem()
    assert deformable_sample(values, SIZES, locations * 0 + 9, weights).abs().max() == 0
    assert deformable_sample(values, SIZES, locations * 0 - math.inf, weights).abs().max() == 0
    broken = deformable_sample(values, SIZES, locations * math.nan, weights)
    assert broken.isnan().all()


def test_samples_of_a_batch_do_not_mix():
    values, locations, weights = problem()
    both = deformable_sample(values, SIZES, locations, weights)
    torch.testing.assert_close(deformable_sample(values[1:], SIZES, locations[1:], weights[1:]), both[1:])


def make(dim=8, levels=3, heads=2, points=2):
    torch.manual_seed(1)
    layer = DeformableAttention(dim, levels, heads, points)
    for linear in (layer.offsets, layer.weights):
        torch.nn.init.normal_(linear.weight, std=0.3)
    return layer


def layer_inputs(sizes=SIZES, batch=2, dim=8):
    torch.manual_seed(2)
    maps = torch.randn(batch, sum(h * w for h, w in sizes), dim)
    return maps, cell_centres(sizes, maps)[None, :, None]


def test_at_the_start_the_heads_look_around():
    layer = DeformableAttention(16, levels=2, heads=8, points=3)
    assert layer.offsets.weight.abs().max() == 0
    assert layer.weights.weight.abs().max() == 0
    offsets = layer.offsets.bias.view(8, 2, 3, 2)
    for point in range(3):
        distance = offsets[:, :, point].abs().amax(dim=-1)
        torch.testing.assert_close(distance, torch.full((8, 2), point + 1.0))
    around = {tuple(pair) for pair in offsets[:, 0, 0].round().int().tolist()}
    assert around == {(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)} - {(0, 0)}


def test_weights_sum_to_one_over_levels_and_points():
    """A constant pyramid is read as that constant wherever the places are inside."""
    layer = make()
    torch.nn.init.zeros_(layer.offsets.weight)
    torch.nn.init.zeros_(layer.offsets.bias)
    maps, references = layer_inputs()
    constant = torch.randn(8).expand_as(maps)
    torch.testing.assert_close(
        layer(maps, references * 0 + 0.5, constant, SIZES), layer.out(layer.value(constant)), atol=1e-5, rtol=0
    )


def test_offsets_count_in_cells_of_their_own_level():
    """An offset of one cell to the right reads the right neighbour in every level, whatever its width."""
    layer = make(levels=2, points=1)
    sizes = [(1, 3), (1, 7)]
    with torch.no_grad():
        for linear in (layer.offsets, layer.weights):
            linear.weight.zero_()
            linear.bias.zero_()
        layer.offsets.bias.view(2, 2, 1, 2)[..., 0] = 1
        maps, references = layer_inputs(sizes, batch=1)
        left_ends = references[:, [0, 3]]  # the first cell of each level
        for k, neighbour in ((0, 1), (1, 4)):
            layer.weights.bias.zero_()
            layer.weights.bias.view(2, 2)[:, k] = 50  # this level alone
            own = layer(maps[:, :1], left_ends[:, k : k + 1], maps, sizes)
            torch.testing.assert_close(own, layer.out(layer.value(maps[:, neighbour : neighbour + 1])))


def test_padding_never_matters_and_cells_always_do():
    layer = make()
    maps, references = layer_inputs()
    real = torch.ones(maps.shape[:2], dtype=torch.bool)
    real[:, 20:] = False
    base = layer(maps[:, :5], references[:, :5], maps, SIZES, real)
    padded, changed = maps.clone(), maps.clone()
    padded[:, 20:] = 99.0
    changed[:, :20] += 1.0
    torch.testing.assert_close(layer(maps[:, :5], references[:, :5], padded, SIZES, real), base)
    assert not torch.allclose(layer(maps[:, :5], references[:, :5], changed, SIZES, real), base)
    unmasked = layer(maps, references, maps, SIZES)
    torch.testing.assert_close(layer(maps, references, maps, SIZES, torch.ones_like(real)), unmasked)


def test_references_per_level_and_per_sample():
    layer = make()
    maps, references = layer_inputs()
    spread = references.expand(2, -1, 3, -1)
    torch.testing.assert_close(layer(maps, spread, maps, SIZES), layer(maps, references, maps, SIZES))


@pytest.mark.parametrize("fresh", [True, False])
def test_every_parameter_learns_after_one_step(fresh):
    layer = DeformableAttention(8, 3, heads=2, points=2) if fresh else make()
    maps, references = layer_inputs()
    target = torch.randn_like(maps)
    for _ in range(2):
        with torch.no_grad():
            for parameter in layer.parameters():  # a step of gradient descent, of nothing before the first
                parameter -= 0 if parameter.grad is None else 0.1 * parameter.grad
                parameter.grad = None
        (layer(maps, references, maps, SIZES) * target).sum().backward()
    for name, parameter in layer.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_half_precision_keeps_places_exact():
    """papers/magnet.md 11: plain torch, every device and precision. Reading stays in float32 under autocast."""
    layer = make(dim=32, heads=4, levels=1)
    sizes = [(2, 300)]
    maps, references = layer_inputs(sizes, dim=32)
    maps.requires_grad_()
    exact = layer(maps, references, maps, sizes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = layer(maps, references, maps, sizes)
    assert low.dtype == torch.bfloat16
    assert (low.float() - exact).abs().mean() < 0.02 * exact.abs().mean()
    low.float().square().sum().backward()
    assert torch.isfinite(maps.grad).all()
    whole = layer.bfloat16()(maps.bfloat16(), references, maps.bfloat16(), sizes)
    assert (whole.float() - exact).abs().mean() < 0.02 * exact.abs().mean()


def test_flops_are_those_of_the_projections():
    """The reading itself counts as 0; nothing else may be missing or counted twice."""
    layer = make(dim=16, heads=4)
    maps, references = layer_inputs(dim=16)
    with FlopCounterMode(display=False) as counter:
        layer(maps, references, maps, SIZES)
    cells = maps.shape[0] * maps.shape[1]
    assert counter.get_total_flops() == 2 * cells * 16 * (16 + 16 + 4 * 3 * 2 * 2 + 4 * 3 * 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a | {"sizes": SIZES[:2]}, "levels"),
        (lambda a: a | {"sizes": [(1, 1), (3, 2), (5, 5)]}, "32 cells"),
        (lambda a: a | {"queries": a["queries"][..., :4]}, "8 channels"),
        (lambda a: a | {"maps": a["maps"][..., :4]}, "8 channels"),
        (lambda a: a | {"references": a["references"][:, :3]}, "references"),
        (lambda a: a | {"references": a["references"][0]}, "references"),
        (lambda a: a | {"mask": torch.ones(2, 27)}, "mask is torch.float32"),
        (lambda a: a | {"mask": torch.ones(2, 5, dtype=torch.bool)}, "mask"),
    ],
)
def test_bad_input_is_refused(change, message):
    layer, (maps, references) = make(), layer_inputs()
    with pytest.raises(ValueError, match=f"DeformableAttention.*{message}"):
        layer(**change({"queries": maps, "references": references, "maps": maps, "sizes": SIZES}))


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="heads=3"):
        DeformableAttention(8, levels=1, heads=3)


def test_equals_magnet(golden_folder):
    case = read_case(golden_folder / "magnet_msdeformattn.npz")
    mine = golden_adapter(case)["y"].detach()
    torch.testing.assert_close(mine, torch.from_numpy(case.expected["y"]), atol=2e-6, rtol=0)
