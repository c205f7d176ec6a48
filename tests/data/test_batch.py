"""Taking some of a batch's sentences."""

from dataclasses import fields

import pytest
import torch

from ris_lib.data.batch import OF_IMAGES
from tests.tiny_batches import make_batch


def test_the_sentences_and_their_images_stay_together():
    batch = make_batch(index=(0, 0, 1, 2, 2))
    batch.kinds, batch.image_id = list("abcde"), torch.tensor([70, 80, 90])
    part = batch.take(torch.tensor([False, True, False, True, True]))
    assert part.sentences == ["sentence 1", "sentence 3", "sentence 4"]
    assert part.kinds == ["b", "d", "e"]
    assert part.image_index.tolist() == [0, 1, 1]
    assert part.image_id.tolist() == [70, 90]
    assert torch.equal(part.images, batch.images[[0, 2]])
    assert torch.equal(part.masks, batch.masks[[1, 3, 4]])
    assert part.targets is None


def test_all_of_it_is_the_same():
    batch = make_batch()
    whole = batch.take(torch.ones(3, dtype=torch.bool))
    for f in fields(batch):
        before, after = getattr(batch, f.name), getattr(whole, f.name)
        assert torch.equal(before, after) if isinstance(before, torch.Tensor) else before == after, f.name


def test_every_field_has_rows_of_images_or_of_sentences():
    batch = make_batch(index=(0, 0, 0, 0, 1))
    for f in fields(batch):
        value = getattr(batch, f.name)
        assert value is None or len(value) == (2 if f.name in OF_IMAGES else 5), f.name


@pytest.mark.parametrize("chosen", [[0, 1, 2], [True, False], [False, False, False]])
def test_what_chooses_nothing_or_other_sentences_is_refused(chosen):
    with pytest.raises(ValueError, match=r"expected \(3,\) bool with at least one True"):
        make_batch().take(torch.tensor(chosen))
