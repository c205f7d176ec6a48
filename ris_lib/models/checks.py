"""What a model refuses, at its border, with a sentence that says what came and how to mend it."""

from __future__ import annotations

import torch

from ris_lib.contract import Batch, check_word_mask


def check_batch(batch: Batch, vocabulary_size: int, coarsest_stride: int) -> None:
    """Refuse a batch that would fail deep inside the model, or give silent nonsense.

    Args:
        batch: What came.
        vocabulary_size: Number of token ids that the text tower knows.
        coarsest_stride: Stride of the coarsest map: an image must cover one of its cells.

    Raises:
        ValueError: Images that are not ``(I, 3, H, W)`` float or are smaller than the coarsest stride; token ids, word
            mask, word index, image index and masks that do not fit one another or have another type; nothing at
            all; a word mask that is not boolean or
            hides a sentence; a sentence of special tokens only; an image index that is out of range, not ascending or
            leaves an image without a sentence; token ids beyond the vocabulary.
    """
    images, ids = batch.images, batch.token_ids
    if images.dim() != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(
            f"model: images have shape {tuple(images.shape)} and type {images.dtype}; expected (I, 3, H, W) float. "
            'Convert pictures with image.convert("RGB") and normalise them (see ris_lib.data.Collator).'
        )
    if min(images.shape[2:]) < coarsest_stride:
        raise ValueError(
            f"model: images of {images.shape[2]} x {images.shape[3]} pixels are smaller than the coarsest stride, "
            f"{coarsest_stride}; enlarge them."
        )
    if ids.dim() != 2 or ids.dtype != torch.long:
        raise ValueError(f"model: token_ids have shape {tuple(ids.shape)} and type {ids.dtype}; expected (S, L) long.")
    if not len(images) or not ids.numel():
        raise ValueError(
            f"model: images {tuple(images.shape)} and token_ids {tuple(ids.shape)} are empty; expected at least one "
            "sentence."
        )
    check_word_mask(batch.word_mask, ids.shape, "model")
    if batch.word_index.shape != ids.shape:
        raise ValueError(
            f"model: word_index has shape {tuple(batch.word_index.shape)}, expected {tuple(ids.shape)} like token_ids."
        )
    if batch.image_index.shape != ids.shape[:1] or batch.image_index.dtype != torch.long:
        raise ValueError(
            f"model: image_index has shape {tuple(batch.image_index.shape)} and type {batch.image_index.dtype}; "
            f"expected one entry for each of the {len(ids)} sentences, long."
        )
    if batch.masks is not None and batch.masks.dtype != torch.bool:
        raise ValueError(f"model: masks have type {batch.masks.dtype}; expected bool, True = target: masks > 0.")
    if batch.masks is not None and batch.masks.shape != (len(ids), *images.shape[2:]):
        raise ValueError(
            f"model: masks have shape {tuple(batch.masks.shape)}; expected {(len(ids), *images.shape[2:])}: one for "
            "each sentence, at the size of the images."
        )
    _check_values(batch, vocabulary_size)


def _check_values(batch: Batch, vocabulary_size: int) -> None:
    """The checks that must read numbers; gathered, because each read of a number makes a GPU wait."""
    ids, index, image_count = batch.token_ids, batch.image_index, len(batch.images)
    lowest, highest, no_word, first, last, least, most = torch.stack(
        [
            ids.min(),
            ids.max(),
            (~batch.word_mask | (batch.word_index < 0)).all(dim=1).sum(),
            index[0],
            index[-1],
            index.diff(prepend=index[:1]).min(),
            index.diff(prepend=index[:1]).max(),
        ]
    ).tolist()
    if lowest < 0 or highest >= vocabulary_size:
        raise ValueError(
            f"model: token_ids reach from {lowest} to {highest}, but the text tower knows 0 to {vocabulary_size - 1}. "
            "Use the model's own tokeniser, model.tokenizer."
        )
    if no_word:
        raise ValueError(
            f"model: {no_word} sentence(s) hold special tokens only (word_index is -1 everywhere); each needs a word."
        )
    if first != 0 or last != image_count - 1 or least < 0 or most > 1:
        raise ValueError(
            f"model: image_index {_short(index)} must ascend from 0 to {image_count - 1} (there are {image_count} "
            "images) and leave no image without a sentence."
        )


def _short(index: torch.Tensor, limit: int = 12) -> str:
    values = index.tolist()
    return str(values) if len(values) <= limit else f"[{', '.join(map(str, values[:limit]))}, ...]"
