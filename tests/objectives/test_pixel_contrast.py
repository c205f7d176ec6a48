"""Pixel contrast, by hand, at its lower bound, and where there is nothing to compare."""

import math

import pytest
import torch
import torch.nn.functional as F

from ris_lib.contract import Dims, ModelState, PixelFeatures
from ris_lib.models.losses import normalise
from ris_lib.objectives import pixel_contrast
from ris_lib.objectives.pixel_contrast import PairSums, PixelContrast, contrast
from tests.tiny_batches import make_batch

DIMS = Dims(pyramid=(8, 8, 8, 8), finest=6, memory=(), context=None, word=6, sentence=6, vocabulary_size=9)


def make(**options):
    torch.manual_seed(0)
    return PixelContrast(DIMS, **{"width": 4, **options})


def state(finest):
    return ModelState(None, PixelFeatures(finest, 4), None, None)


def features(seed=0, dtype=torch.float32):
    return torch.randn(3, 6, 16, 16, generator=torch.Generator().manual_seed(seed)).to(dtype)


def naive(objective, finest, masks, symmetric=False):
    """A loop over sentences in float64, masks on the grid of the features; no limit."""
    losses = []
    for maps, mask in zip(finest.double(), masks):
        z = torch.einsum("ec,chw->hwe", objective.project.weight[..., 0].double(), maps)
        z = z / z.norm(dim=-1, keepdim=True)
        sides = [(z[mask], z[~mask])] + ([(z[~mask], z[mask])] if symmetric else [])
        parts = []
        for inside, outside in sides:
            centre = inside.mean(dim=0)
            centre = centre / centre.norm()
            negatives = torch.exp(inside @ outside.T / objective.temperature).sum(dim=1)
            positive = torch.exp(inside @ centre / objective.temperature)
            parts.append(-(positive / (positive + negatives)).log().mean())
        losses.append(torch.stack(parts).mean())
    return torch.stack(losses)


@pytest.mark.parametrize("symmetric", [False, True])
def test_equals_the_formula_and_its_gradient_also_through_the_mean(symmetric):
    batch, objective = make_batch(), make(symmetric=symmetric)
    finest = features().requires_grad_()
    term = objective(state(finest), batch)["pixel_contrast"]
    got = torch.autograd.grad(term.sum, [finest, objective.project.weight])
    expected = naive(objective, finest, batch.masks[:, ::4, ::4], symmetric).sum()
    torch.testing.assert_close(term.sum.double(), expected, atol=1e-4, rtol=1e-5)
    assert term.count == 3
    for ours, theirs in zip(got, torch.autograd.grad(expected, [finest, objective.project.weight])):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_the_lower_bound_of_one_direction_against_another():
    batch, objective = make_batch(index=(0,)), make()
    with torch.no_grad():
        objective.project.weight.copy_(torch.eye(4, 6)[..., None])
    inside = batch.masks[:, None, ::4, ::4]
    finest = torch.cat([inside * 7.0, ~inside * 5.0, torch.zeros(1, 4, 16, 16)], dim=1)
    outside = int((~inside).sum())
    expected = math.log(1 + outside * math.exp(-1 / objective.temperature))
    term = objective(state(finest), batch)["pixel_contrast"]
    torch.testing.assert_close(term.sum, torch.tensor(expected), atol=1e-6, rtol=1e-5)


def test_a_picture_of_one_colour_cannot_be_told_apart():
    batch, objective = make_batch(index=(0,)), make()
    outside = int((~batch.masks[:, ::4, ::4]).sum())
    term = objective(state(torch.ones(1, 6, 16, 16)), batch)["pixel_contrast"]
    torch.testing.assert_close(term.sum, torch.tensor(math.log(1 + outside)))


@pytest.mark.parametrize("fill", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
def test_an_empty_or_full_mask_costs_exactly_nothing_and_is_not_counted(fill, symmetric):
    batch, objective = make_batch(), make(symmetric=symmetric)
    whole = objective(state(features()), batch)["pixel_contrast"]
    batch.masks[0] = fill
    finest = features().requires_grad_()
    term = objective(state(finest), batch)["pixel_contrast"]
    assert term.count == 2
    assert whole.count == 3
    torch.testing.assert_close(
        term.sum.double(),
        naive(objective, finest[1:], batch.masks[1:, ::4, ::4], symmetric).sum(),
        atol=1e-4,
        rtol=1e-5,
    )
    (gradient,) = torch.autograd.grad(term.sum, finest)
    assert (gradient[0] == 0).all()
    assert gradient[1:].abs().max() > 0
    batch.masks[:] = fill
    finest = features().requires_grad_()
    term = objective(state(finest), batch)["pixel_contrast"]
    assert term.sum.item() == 0.0
    assert term.count == 0
    loss = normalise({"pixel_contrast": term})["pixel_contrast"]
    loss.backward()
    assert loss.item() == 0.0
    assert (finest.grad == 0).all()


def test_a_mask_that_vanishes_on_the_grid_is_empty():
    batch = make_batch(index=(0,))
    batch.masks[:] = False
    batch.masks[0, 1, 1] = True
    assert make()(state(features()[:1]), batch)["pixel_contrast"].count == 0


def test_a_sentence_is_compared_within_its_own_picture_only():
    batch, objective = make_batch(), make()
    alone = []
    for k in range(3):
        one = make_batch(index=(0,))
        one.masks = batch.masks[k : k + 1]
        alone.append(objective(state(features()[k : k + 1]), one)["pixel_contrast"].sum)
    torch.testing.assert_close(objective(state(features()), batch)["pixel_contrast"].sum, sum(alone))


def test_at_most_so_many_pixels_of_each_side_are_drawn(monkeypatch):
    seen = []

    def spy(inside, outside, real_in, real_out, temperature):
        seen.append((inside.shape[2], outside.shape[2], real_in.sum(dim=1).tolist(), real_out.sum(dim=1).tolist()))
        return contrast(inside, outside, real_in, real_out, temperature)

    monkeypatch.setattr(pixel_contrast, "contrast", spy)
    batch = make_batch()
    sizes = batch.masks[:, ::4, ::4].flatten(1).sum(dim=1).tolist()
    make(limit=10)(state(features()), batch)
    make(limit=1000)(state(features()), batch)
    few, all_of_them = seen
    assert few == (10, 10, [min(10, n) for n in sizes], [10] * 3)
    # columns that count for no sentence are dropped
    assert all_of_them == (max(sizes), 256 - min(sizes), sizes, [256 - n for n in sizes])


def test_draws_follow_the_seed():
    batch, objective = make_batch(), make(limit=5)
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(objective(state(features()), batch)["pixel_contrast"].sum.item())
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("pairs", [1, 2**14])
def test_the_number_of_pairs_at_once_does_not_matter(monkeypatch, pairs):
    def run():
        torch.manual_seed(0)
        finest = features().requires_grad_()
        total = make(symmetric=True)(state(finest), make_batch())["pixel_contrast"].sum
        return total, torch.autograd.grad(total, finest)[0]

    expected = run()
    monkeypatch.setattr(pixel_contrast, "PAIRS", pairs)
    for ours, theirs in zip(run(), expected):
        torch.testing.assert_close(ours, theirs)


def test_pairs_are_not_kept_for_the_backward_pass():
    inside, outside = (torch.randn(2, 4, 50, requires_grad=True) for _ in range(2))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        PairSums.apply(inside, outside, torch.ones(2, 50, dtype=torch.bool), 0.1)
    assert max(kept) == 2 * 4 * 50


def test_gradients_agree_with_finite_differences():
    torch.manual_seed(0)
    inside, outside = (F.normalize(torch.randn(2, 3, n, dtype=torch.float64), dim=1) for n in (4, 5))
    real_in = torch.tensor([[True] * 4, [True, True, False, False]])
    real_out = torch.tensor([[True] * 5, [True, False, False, False, False]])
    inside.requires_grad_()
    outside.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: PairSums.apply(x, y, real_out, 0.5), (inside, outside))
    assert torch.autograd.gradcheck(lambda x, y: contrast(x, y, real_in, real_out, 0.5), (inside, outside))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_left_at_the_door(dtype):
    batch, objective = make_batch(), make()
    finest = (features() * 1e4).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        term = objective(state(finest), batch)["pixel_contrast"]
    assert term.sum.dtype == term.count.dtype == torch.float32
    torch.testing.assert_close(term.sum, objective(state(finest.float()), batch)["pixel_contrast"].sum)


def test_features_of_nothing_have_a_bounded_gradient():
    batch, objective = make_batch(), make()
    finest = torch.zeros(3, 6, 16, 16, requires_grad=True)
    term = objective(state(finest), batch)["pixel_contrast"]
    term.sum.backward()
    assert torch.isfinite(term.sum)
    assert finest.grad.abs().max() < 1e4


def test_the_projection_learns_to_tell_target_from_rest():
    batch, objective = make_batch(), make()
    finest = features() + 2 * batch.masks[:, None, ::4, ::4]
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.05)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        term = objective(state(finest), batch)["pixel_contrast"]
        (term.sum / term.count).backward()
        optimizer.step()
        losses.append(term.sum.item())
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().max() > 0 for p in objective.parameters())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"width": 0}, {"limit": 0}])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        PixelContrast(DIMS, **options)


def test_bad_input_is_refused():
    batch, objective = make_batch(), make()
    with pytest.raises(ValueError, match="expected 3 maps, one for each mask, of 6 channels"):
        objective(state(features()[:, :5]), batch)
    with pytest.raises(ValueError, match="expected 3 maps, one for each mask, of 6 channels"):
        objective(state(features()[:2]), batch)
    batch.masks = None
    with pytest.raises(ValueError, match="no masks"):
        objective(state(features()), batch)


def test_the_choices_of_the_note_are_the_defaults():
    """CoupAlign note, 4.2."""
    objective = PixelContrast(DIMS)
    assert (objective.temperature, objective.limit, objective.symmetric) == (0.1, 1024, False)
    assert objective.project.out_channels == 64


def test_its_one_loss_has_weight_one_tenth():
    assert PixelContrast.default_weights == {"pixel_contrast": 0.1}
    assert PixelContrast.reads == frozenset()
