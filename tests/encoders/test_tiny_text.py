"""The text tower from scratch."""

import pytest
import torch

from ris_lib.encoders import TinyText

IDS = torch.tensor([[4, 5, 6, 0], [7, 8, 9, 3]])
MASK = IDS > 0


@pytest.fixture
def tower():
    torch.manual_seed(0)
    return TinyText(12, mask_id=2, length=6, width=8, layers=(1, 0, 1, 0), heads=2)


def encode(tower, ids=IDS, mask=MASK, hidden=None):
    words = tower.embed(ids, mask, hidden)
    for k in range(4):
        words = tower.group(k, words, mask)
    return tower.finish(words)


def test_shapes_and_groups(tower):
    assert encode(tower).shape == (2, 4, 8)
    assert tower.last_group == 2
    words = tower.embed(IDS, MASK)
    assert tower.group(1, words, MASK) is words


def test_padding_never_matters_and_words_always_do(tower):
    base = encode(tower)
    padded, changed = IDS.clone(), IDS.clone()
    padded[0, 3] = 11
    changed[0, 0] = 11
    torch.testing.assert_close(encode(tower, padded)[0, :3], base[0, :3])
    assert not torch.allclose(encode(tower, changed)[0, 1], base[0, 1])


def test_more_padding_changes_nothing(tower):
    longer = torch.cat([IDS, torch.zeros(2, 2, dtype=torch.long)], dim=1)
    mask = torch.cat([MASK, torch.zeros(2, 2, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(encode(tower, longer, mask)[:, :4][MASK], encode(tower)[MASK])


def test_word_order_matters(tower):
    swapped = IDS[:, [1, 0, 2, 3]]
    assert not torch.allclose(encode(tower, swapped)[0, 2], encode(tower)[0, 2])


def test_hidden_tokens_become_the_mask_token(tower):
    hidden = torch.zeros_like(MASK)
    hidden[0, 1] = True
    ids = IDS.clone()
    ids[0, 1] = 2
    torch.testing.assert_close(encode(tower, hidden=hidden), encode(tower, ids))


def test_sentence_is_the_mean_of_the_content_words(tower):
    words = torch.tensor([[[1.0], [2.0], [6.0], [99.0]]])
    index = torch.tensor([[-1, 0, 1, -1]])
    assert tower.sentence(words, index > -2, index).tolist() == [[4.0]]


def test_every_parameter_learns(tower):
    words = encode(tower)
    (words * torch.randn_like(words)).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in tower.parameters())


def test_hiding_needs_a_mask_token():
    with pytest.raises(ValueError, match=r"\[MASK\]"):
        TinyText(12, mask_id=None, width=8, heads=2).embed(IDS, MASK, hidden=MASK)


def test_too_many_tokens_are_refused(tower):
    with pytest.raises(ValueError, match=r"7 tokens.*length=6"):
        tower.embed(torch.zeros(1, 7, dtype=torch.long), torch.ones(1, 7, dtype=torch.bool))


@pytest.mark.parametrize("layers", [(2,), (0, 0, 0, 0)])
def test_layers_must_be_four_numbers(layers):
    with pytest.raises(ValueError, match="layers"):
        TinyText(12, 2, layers=layers)
