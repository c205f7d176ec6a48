"""What a model explains, as the explorer shows it.

Maps lie on the network's picture, tokens are pieces of words; a reader thinks of the photograph and of words. This page
translates: maps are brought to the picture (without what a letterbox added), pieces of a word are joined. Source: our
decision.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ris_lib.contract import Batch, MaskOutput
from ris_lib.data import restore
from ris_lib.data.tokenizers import split_words
from ris_lib.show.views import Layer, Row, View

_OTHERS = "(other tokens)"


def explanation_views(batch: Batch, output: MaskOutput, masks: Tensor) -> list[View]:
    """The views of one picture.

    Args:
        batch: One picture with S sentences.
        output: What the model made of it, with ``explain=True``.
        masks: ``(S, H, W)`` probabilities at the network's size.

    Returns:
        A view for each sentence, with a row for every kind of map that the model explains: words in each pixel, pixels
        of each word, queries, and the steps in which the mask came about.
    """
    return [
        View(sentence, _on_picture(masks[index : index + 1], batch)[0], tuple(_rows(index, batch, output)))
        for index, sentence in enumerate(batch.sentences)
    ]


def _rows(index: int, batch: Batch, output: MaskOutput) -> Iterator[Row]:
    """The rows of one sentence."""
    explained, words = output.explanation, _Words(index, batch)
    if "word_pixel_attention" in explained:
        layers = _named(
            [_on_picture(words.joined(maps[index], "sum"), batch) for maps in explained["word_pixel_attention"]]
        )
        note = "Each pixel divides its attention among the words: bright where a pixel listens to this word."
        yield Row("Words in each pixel", words.labels, layers, "share", note)
    if "pixel_word_attention" in explained:
        maps = [_on_picture(words.joined(maps[index], "mean"), batch) for maps in explained["pixel_word_attention"]]
        layers = _named([each / np.maximum(each.sum(axis=(1, 2), keepdims=True), 1e-9) for each in maps])
        note = "Each word divides its attention among the pixels: bright where this word looks."
        yield Row("Pixels of each word", words.labels, layers, "spread", note)
    if "query_scores" in explained:
        yield _queries(index, batch, output, words)
    steps = _steps(index, output)
    if len(steps):
        names = [f"step {step + 1}" for step in range(len(steps))]
        note = "The mask after each step of the head: bright where pixels fit the vector that the step made."
        yield Row("Steps", names, {"steps": Layer(_on_picture(steps, batch))}, "mask", note)


def _steps(index: int, output: MaskOutput) -> Tensor:
    """The masks of one sentence after each step of a head that works in steps, ``(steps, h, w)``; else none."""
    if not output.aux_logits or any(logits.shape != output.logits.shape for logits in output.aux_logits):
        return output.logits[:0, 0]
    return torch.stack([*(each[index, 0] for each in output.aux_logits), output.logits[index, 0]]).sigmoid()


def _queries(index: int, batch: Batch, output: MaskOutput, words: _Words) -> Row:
    """The queries' masks, with their weights and the words that they read where the model says so."""
    explained = output.explanation
    masks = _on_picture(explained["query_masks"][index], batch)
    read = explained.get("query_word_attention")
    bars = None
    if read is not None:
        shares = words.joined(read[index].transpose(0, 1)[..., None], "sum")[..., 0].transpose(0, 1)
        bars = [list(zip(words.labels, row.tolist())) for row in shares]
    names = [f"query {query + 1}" for query in range(len(masks))]
    layer = Layer(masks, explained["query_scores"][index].float().cpu().numpy(), bars)
    note = "Each query proposes a mask; the number below it is its weight in the answer."
    return Row("Queries", names, {"queries": layer}, "mask", note, "weight")


class _Words:
    """The words of one sentence, and which tokens are theirs."""

    def __init__(self, index: int, batch: Batch):
        texts = [word.text for word in split_words(batch.sentences[index])]
        belongs, real = batch.word_index[index], batch.word_mask[index]
        self.tokens = {word: (belongs == word).nonzero()[:, 0] for word in range(len(texts))}
        self.tokens = {word: tokens for word, tokens in self.tokens.items() if len(tokens)}
        self.labels = [texts[word] for word in self.tokens]
        others = ((belongs < 0) & real).nonzero()[:, 0]
        if len(others):
            self.tokens[-1] = others
            self.labels.append(_OTHERS)

    def joined(self, maps: Tensor, how: str) -> Tensor:
        """Maps of tokens ``(L, ...)`` as maps of words: their sum, or their mean."""
        return torch.stack([getattr(maps[tokens], how)(dim=0) for tokens in self.tokens.values()])


def _named(maps: list[np.ndarray]) -> dict[str, Layer]:
    """Layers by name: one map of a model is called attention, several are counted."""
    if len(maps) == 1:
        return {"attention": Layer(maps[0])}
    return {f"fusion {number}": Layer(each) for number, each in enumerate(maps, start=1)}


def _on_picture(maps: Tensor, batch: Batch) -> np.ndarray:
    """Maps ``(n, h, w)`` on the network's picture as maps on the original picture, at about their own resolution."""
    network, original = batch.images.shape[2:], batch.original_size[0].tolist()
    affine, size = batch.to_network[0].clone().cpu(), [0, 0]
    for axis in (0, 1):
        scale, offset = affine[axis].tolist()
        finer = maps.shape[1 + axis] / network[axis]
        size[axis] = max(1, round(original[axis] * scale * finer))
        step = original[axis] / size[axis]
        affine[axis, 0] = scale * step * finer
        affine[axis, 1] = (scale * (0.5 * step - 0.5) + offset + 0.5) * finer - 0.5
    return restore(maps.float().cpu(), affine, tuple(size)).clamp(0, 1).numpy()
