"""Attention against torch's own, masks, explanation."""

import pytest
import torch
from torch import nn

from ris_lib.attention import BLOCKED, MultiHeadAttention, SelfAttentionLayer, additive_mask, attend

MASK = torch.tensor([[True] * 4, [True, True, False, False]])


def test_additive_mask_by_hand():
    assert additive_mask(torch.tensor([[True, False]]), torch.float32).tolist() == [[0.0, BLOCKED]]
    assert torch.isfinite(additive_mask(torch.tensor([False]), torch.float16)).all()


def test_attend_by_hand():
    query = torch.tensor([[[[1.0, 0.0]]]])
    key = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    value = torch.tensor([[[[1.0], [0.0]]]])
    mixed, weights = attend(query, key, value, scale=1.0, explain=True)
    expected = torch.tensor([1.0, 0.0]).softmax(0)
    torch.testing.assert_close(weights.flatten(), expected)
    torch.testing.assert_close(mixed.flatten(), expected[:1])


@pytest.mark.parametrize("mask", [None, MASK, MASK[:, None].expand(2, 5, 4)])
def test_explaining_changes_nothing(mask):
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 4, 8), torch.randn(2, 3, 4, 6)
    fused, nothing = attend(query, key, value, mask)
    open_, weights = attend(query, key, value, mask, explain=True)
    assert nothing is None
    assert weights.shape == (2, 3, 5, 4)
    torch.testing.assert_close(open_, fused)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 5))


def test_matches_torch_multihead_attention():
    torch.manual_seed(0)
    ours, reference = MultiHeadAttention(8, heads=2), nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        reference.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
        reference.out_proj.load_state_dict(ours.out.state_dict())
    queries, keys, values = torch.randn(2, 5, 8), torch.randn(2, 4, 8), torch.randn(2, 4, 8)
    expected, expected_weights = reference(queries, keys, values, key_padding_mask=~MASK)
    mixed, weights = ours(queries, keys, values, mask=MASK, explain=True)
    torch.testing.assert_close(mixed, expected)
    torch.testing.assert_close(weights, expected_weights)


def test_padding_never_matters_and_words_always_do():
    torch.manual_seed(0)
    layer = SelfAttentionLayer(8, heads=2)
    words = torch.randn(2, 4, 8)
    padded, changed = words.clone(), words.clone()
    padded[1, 2:] = 99.0
    changed[1, 1] += torch.arange(8.0)
    base = layer(words, mask=MASK)
    torch.testing.assert_close(layer(padded, mask=MASK)[1, :2], base[1, :2])
    assert not torch.allclose(layer(changed, mask=MASK)[1, 0], base[1, 0])


def test_a_row_masked_whole_stays_finite_with_its_gradient():
    x = torch.randn(1, 3, 8, requires_grad=True)
    mixed, _ = MultiHeadAttention(8, heads=2)(x, x, mask=torch.zeros(1, 3, dtype=torch.bool))
    mixed.sum().backward()
    assert torch.isfinite(mixed).all()
    assert torch.isfinite(x.grad).all()


def test_positions_move_the_attention_but_not_the_values():
    torch.manual_seed(0)
    layer = SelfAttentionLayer(8, heads=2)
    same = torch.randn(1, 1, 8).expand(1, 3, 8)
    torch.testing.assert_close(layer(same, positions=torch.randn(1, 3, 8)), layer(same))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (MASK.float(), "must be bool"),
        (MASK[:, :3], r"shape \(2, 3\)"),
        (MASK[None], "shape"),
    ],
)
def test_bad_masks_are_refused(mask, message):
    x = torch.randn(2, 4, 8)
    with pytest.raises(ValueError, match=message):
        MultiHeadAttention(8, heads=2)(x, x, mask=mask)


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match="query_dim=8 is not a multiple of heads=3"):
        MultiHeadAttention(8, heads=3)
