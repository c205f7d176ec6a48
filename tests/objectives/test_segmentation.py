"""Cross-entropy and dice, by hand and against torch."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ris_lib.contract import MaskOutput, ModelState
from ris_lib.objectives import Segmentation, bce_term, dice_term
from tests.tiny_batches import make_batch


def state(logits, aux=()):
    return ModelState(None, None, MaskOutput(logits=logits, aux_logits=list(aux)), None)


def test_bce_by_hand():
    logits, target = torch.tensor([[[0.0, math.log(3)]]]), torch.tensor([[[1.0, 0.0]]])
    term = bce_term(logits, target)
    torch.testing.assert_close(term.sum, torch.tensor(math.log(2) + math.log(4)))
    assert term.count == 2
    weighted = bce_term(logits, target, positive_weight=1.1)
    torch.testing.assert_close(weighted.sum, torch.tensor(1.1 * math.log(2) + math.log(4)))
    assert weighted.count == 2


def test_dice_by_hand():
    logits = torch.tensor([[[0.0, 0.0]], [[math.log(3), -math.log(3)]]])
    target = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    first = 1 - (2 * 0.5 + 1) / (1 + 1 + 1)
    second = 1 - (2 * 0.75 + 1) / (1 + 1 + 1)
    term = dice_term(logits, target)
    torch.testing.assert_close(term.sum, torch.tensor(first + second))
    assert term.count == 2


@pytest.mark.parametrize("fill", [0.0, 1.0])
@pytest.mark.parametrize("logit", [-200.0, 0.0, 200.0])
def test_empty_and_full_masks_are_finite(fill, logit):
    logits = torch.full((2, 3, 3), logit, requires_grad=True)
    for term in (bce_term(logits, torch.full((2, 3, 3), fill)), dice_term(logits, torch.full((2, 3, 3), fill))):
        assert torch.isfinite(term.sum)
        (gradient,) = torch.autograd.grad(term.sum, logits)
        assert torch.isfinite(gradient).all()


def test_a_perfect_mask_costs_nothing():
    batch = make_batch()
    logits = (batch.masks.float() * 200 - 100)[:, None]
    losses = Segmentation(None)(state(logits), batch)
    torch.testing.assert_close(losses["bce"].sum, torch.tensor(0.0))
    torch.testing.assert_close(losses["dice"].sum, torch.tensor(0.0), atol=1e-5, rtol=0)


def test_input_grid_raises_the_logits():
    batch, logits = make_batch(), torch.randn(3, 1, 16, 16)
    raised = F.interpolate(logits, size=(64, 64), mode="bilinear", align_corners=True)[:, 0]
    losses = Segmentation(None, align_corners=True)(state(logits), batch)
    expected = F.binary_cross_entropy_with_logits(raised, batch.masks.float())
    torch.testing.assert_close(losses["bce"].sum / losses["bce"].count, expected)


def test_logits_grid_brings_the_masks_down():
    batch, logits = make_batch(), torch.randn(3, 1, 16, 16)
    target = batch.masks.float().unflatten(1, (16, 4)).unflatten(3, (16, 4)).mean(dim=(2, 4))
    losses = Segmentation(None, grid="logits")(state(logits), batch)
    assert losses["bce"].count == 3 * 16 * 16
    torch.testing.assert_close(losses["dice"].sum, dice_term(logits[:, 0], target).sum)


def test_masks_come_down_as_in_cris():
    batch, logits = make_batch(), torch.randn(3, 1, 16, 16)
    losses = Segmentation(None, grid="logits", shrink="nearest")(state(logits), batch)
    target = batch.masks[:, ::4, ::4].float()
    torch.testing.assert_close(losses["dice"].sum, dice_term(logits[:, 0], target).sum)
    with pytest.raises(ValueError, match="shrink='cubic'; expected 'area' or 'nearest'"):
        Segmentation(None, shrink="cubic")


@pytest.mark.parametrize("grid", ["input", "logits"])
def test_deep_supervision_sums_the_means(grid):
    batch, final, aux = make_batch(), torch.randn(3, 1, 32, 32), torch.randn(3, 1, 16, 16)
    deep = Segmentation(None, grid=grid, deep=True)(state(final, [aux]), batch)
    alone = [Segmentation(None, grid=grid)(state(logits), batch) for logits in (final, aux)]
    for name, term in deep.items():
        expected = sum(losses[name].sum / losses[name].count for losses in alone)
        torch.testing.assert_close(term.sum / term.count, expected)
    shallow = Segmentation(None, grid=grid)(state(final, [aux]), batch)
    torch.testing.assert_close(shallow["bce"].sum, alone[0]["bce"].sum)


def test_equals_lgformer(golden_folder):
    case = np.load(golden_folder / "lgformer_loss.npz")
    first, *rest = torch.from_numpy(case["in/logits"])
    batch = make_batch()
    batch.masks = torch.from_numpy(case["in/target"]).bool()
    objective = Segmentation(None, deep=True, positive_weight=1.1)
    term = objective(state(first, rest), batch)["bce"]
    torch.testing.assert_close(term.sum / term.count, torch.from_numpy(case["out/loss"])[0], atol=2e-5, rtol=1e-5)


def test_half_precision_is_left_at_the_door():
    batch, logits = make_batch(), torch.randn(3, 1, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = Segmentation(None)(state(logits.half()), batch)
    assert all(term.sum.dtype == term.count.dtype == torch.float32 for term in losses.values())
    expected = Segmentation(None)(state(logits.half().float()), batch)
    torch.testing.assert_close(losses["dice"].sum, expected["dice"].sum)


def test_gradients_agree_with_finite_differences():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    target = torch.rand(2, 3, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: bce_term(x, target).sum, logits)
    assert torch.autograd.gradcheck(lambda x: dice_term(x, target).sum, logits)


def test_no_masks_no_loss():
    batch = make_batch()
    batch.masks = None
    with pytest.raises(ValueError, match="no masks"):
        Segmentation(None)(state(torch.zeros(3, 1, 16, 16)), batch)


def test_an_unknown_grid_is_refused():
    with pytest.raises(ValueError, match="grid='stride4'"):
        Segmentation(None, grid="stride4")
