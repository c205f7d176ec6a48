"""Small made-up batches for the tests of models and their parts."""

import torch

from ris_lib.data.batch import Batch


def make_batch(size=(64, 64), index=(0, 0, 1), length=5, vocabulary=12, seed=0) -> Batch:
    """Random pictures and sentences; sentence k has min(2 + k, length) words, its mask is a block."""
    random = torch.Generator().manual_seed(seed)
    count, images = len(index), max(index) + 1
    word_mask = torch.arange(length) < torch.tensor([min(2 + k, length) for k in range(count)])[:, None]
    ids = torch.randint(3, vocabulary, (count, length), generator=random).masked_fill(~word_mask, 0)
    masks = torch.zeros(count, *size, dtype=torch.bool)
    for k in range(count):
        masks[k, 4 + 6 * k : 20 + 6 * k, 8 : 8 + 8 * (k + 1)] = True
    return Batch(
        images=torch.randn(images, 3, *size, generator=random),
        token_ids=ids,
        word_mask=word_mask,
        word_index=torch.where(word_mask, torch.arange(length), -1),
        spans=torch.zeros(count, length, 2, dtype=torch.long),
        image_index=torch.tensor(index),
        original_size=torch.tensor([size] * images),
        to_network=torch.tensor([[[1.0, 0.0], [1.0, 0.0]]] * images, dtype=torch.float64),
        sentences=[f"sentence {k}" for k in range(count)],
        referent_id=torch.arange(count),
        masks=masks,
    )
