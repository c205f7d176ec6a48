"""What parts hand to one another."""

import pytest
import torch

from ris_lib.contract import FeatureMap, check_word_mask


def test_a_map_without_words_is_repeated_for_each_sentence():
    index = torch.tensor([0, 0, 1])
    per_image = FeatureMap(torch.arange(2.0).view(2, 1, 1, 1), stride=4)
    assert per_image.for_sentences(index).flatten().tolist() == [0.0, 0.0, 1.0]


def test_a_map_with_words_stays_as_it_is():
    values = torch.randn(3, 1, 2, 2)
    assert FeatureMap(values, 4, per_sentence=True).for_sentences(torch.tensor([0, 0, 1])) is values


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(2, 3), "head: word_mask must be bool.*float32"),
        (torch.ones(2, 4, dtype=torch.bool), r"shape \(2, 4\), expected \(2, 3\)"),
        (torch.tensor([[True] * 3, [False] * 3]), "all False"),
    ],
)
def test_bad_word_masks_are_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        check_word_mask(mask, (2, 3), "head")


def test_a_good_word_mask_passes():
    assert check_word_mask(torch.ones(2, 3, dtype=torch.bool), (2, 3), "head") is None
