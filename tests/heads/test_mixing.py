"""The mixture of masks."""

import pytest
import torch
import torch.nn.functional as F

from ris_lib.heads.mixing import mix_logits, mix_probabilities


@pytest.fixture
def proposals():
    torch.manual_seed(0)
    return torch.randn(2, 5, 3, 4) * 6, torch.randn(2, 5).log_softmax(dim=1)


def naive(logits, log_weights):
    """p and 1 - p in float64."""
    logits, weights = logits.double(), log_weights.double().softmax(dim=1)[..., None, None]
    return (weights * logits.sigmoid()).sum(1, keepdim=True), (weights * (-logits).sigmoid()).sum(1, keepdim=True)


def test_log_p_and_log_one_minus_p_agree_with_the_naive_formula_and_sum_to_one(proposals):
    mixed = mix_probabilities(*proposals)
    yes, no = naive(*proposals)
    assert mixed.shape == (2, 1, 3, 4)
    assert mixed.dtype == torch.float32
    log_yes, log_no = F.logsigmoid(mixed), F.logsigmoid(-mixed)
    torch.testing.assert_close(log_yes.double(), yes.log(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(log_no.double(), no.log(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(log_yes.exp() + log_no.exp(), torch.ones_like(mixed))


def test_cross_entropy_of_the_mixed_logit_is_that_of_the_mixture(proposals):
    target = (torch.rand(2, 1, 3, 4) > 0.5).double()
    yes, no = naive(*proposals)
    expected = -(target * yes.log() + (1 - target) * no.log()).mean()
    got = F.binary_cross_entropy_with_logits(mix_probabilities(*proposals), target.float())
    torch.testing.assert_close(got.double(), expected, atol=1e-5, rtol=1e-5)


def test_the_gradient_is_that_of_the_naive_formula(proposals):
    logits, log_weights = (x.double().requires_grad_() for x in proposals)
    yes, no = naive(logits, log_weights)
    expected = torch.autograd.grad((yes.log() - no.log()).sum(), [logits, log_weights])
    got = torch.autograd.grad(mix_probabilities(logits, log_weights.log_softmax(dim=1)).sum(), [logits, log_weights])
    for ours, theirs in zip(got, expected):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("value", [-300.0, 300.0])
def test_saturated_masks_keep_their_logit_and_their_gradient(value):
    logits = torch.full((1, 3, 1, 1), value, requires_grad=True)
    mixed = mix_probabilities(logits, torch.zeros(1, 3).log_softmax(dim=1))
    torch.testing.assert_close(mixed.flatten(), torch.tensor([value]))
    mixed.sum().backward()
    torch.testing.assert_close(logits.grad.sum(), torch.tensor(1.0))


def test_a_weight_of_one_leaves_that_mask(proposals):
    logits, _ = proposals
    certain = torch.full((2, 5), -1e4)
    certain[:, 2] = 0.0
    torch.testing.assert_close(mix_probabilities(logits, certain), logits[:, 2:3], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mix_logits(logits, certain.exp()), logits[:, 2:3])


def test_with_equal_weights_half_of_the_masks_must_agree():
    logits = torch.full((1, 4, 1, 4), -60.0)
    for agreeing in range(4):
        logits[0, : agreeing + 1, 0, agreeing] = 60.0
    p = mix_probabilities(logits, torch.full((1, 4), 0.25).log()).sigmoid().flatten()
    torch.testing.assert_close(p, torch.tensor([0.25, 0.5, 0.75, 1.0]))


def test_mixing_logits_is_mixing_kernels_and_mixing_probabilities_is_not():
    torch.manual_seed(0)
    kernels, pixels, weights = torch.randn(2, 5, 8), torch.randn(2, 8, 3, 4), torch.randn(2, 5).softmax(dim=1)
    logits = torch.einsum("snc,schw->snhw", kernels, pixels)
    one_kernel = torch.einsum("sn,snc,schw->shw", weights, kernels, pixels)[:, None]
    torch.testing.assert_close(mix_logits(logits, weights), one_kernel, atol=1e-5, rtol=1e-5)
    assert (mix_probabilities(logits, weights.log()) - one_kernel).abs().max() > 0.1


def test_half_precision_comes_out_as_float32(proposals):
    logits, log_weights = (x.bfloat16() for x in proposals)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = mix_probabilities(logits, log_weights)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, mix_probabilities(logits.float(), log_weights.float()))
