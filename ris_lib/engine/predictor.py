"""A model, ready for pictures and sentences of any kind."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ris_lib._shown import listing, short
from ris_lib.contract import Batch
from ris_lib.data import read_picture, restore
from ris_lib.engine.device import inference, pick_device
from ris_lib.engine.explain import explanation_views
from ris_lib.engine.run import load_run
from ris_lib.models import ReferringSegmenter
from ris_lib.show.views import View


@dataclass(frozen=True)
class Prediction:
    """What a model answers. n = number of sentences, (H, W) = the picture's own size, turned as EXIF says.

    Args:
        masks: ``(n, H, W)`` bool.
        probabilities: ``(n, H, W)`` float32 in [0, 1].
        scores: ``(n,)`` float32 in [0, 1]: mean probability inside the mask, 0 where the mask is empty. It tells how
            sure the model is of its own mask, not how right it is. Our decision.
        sentences: The n sentences.
        unknown: For each sentence the words that the model does not know.
    """

    masks: np.ndarray
    probabilities: np.ndarray
    scores: np.ndarray
    sentences: tuple[str, ...]
    unknown: tuple[tuple[str, ...], ...]


class Predictor:
    """Masks for sentences, at the picture's own size.

    Args:
        model: It is moved to the device; its mode stays what it was.
        device: As for ``ris_lib.engine.pick_device``: auto, cpu, cuda, mps.

    Raises:
        ValueError: This machine has no such device.

    Example:
        >>> from ris_lib import create_model
        >>> _ = torch.manual_seed(0)
        >>> predict = Predictor(create_model("baseline_tiny"), device="cpu")
        >>> prediction = predict(np.zeros((30, 40, 3), dtype=np.uint8), ["the red ball", "left person"])
        >>> prediction.masks.shape, prediction.masks.dtype
        ((2, 30, 40), dtype('bool'))
    """

    def __init__(self, model: ReferringSegmenter, device: str | torch.device = "auto"):
        self.model, self.device = model, pick_device(device)
        self.collator = model.collator(with_targets=False)

    @classmethod
    def from_run(cls, folder: str | Path, device: str | torch.device = "auto") -> Predictor:
        """A predictor with the model of a run.

        Args:
            folder: As for ``load_run``.
            device: As above.

        Raises:
            FileNotFoundError: As for ``load_run``.
            ValueError: As for ``load_run``.
        """
        return cls(load_run(folder), device)

    def __call__(
        self, image: str | os.PathLike | Image.Image | np.ndarray, sentences: str | Sequence[str]
    ) -> Prediction:
        """Segment; the picture is encoded once for all sentences.

        Args:
            image: A path, PIL picture or array, as ``ris_lib.data.read_picture`` takes it.
            sentences: One sentence or several.

        Raises:
            FileNotFoundError: There is no such picture.
            ValueError: The picture cannot be read, or a sentence is empty or without a word that the model knows.

        Warns:
            UserWarning: The model does not know some words, or a sentence is too long and was cut.
        """
        picture, batch, unknown = self._read(image, sentences)
        with inference(self.model, self.device):
            logits = self.model(batch.to(self.device)).logits
            maps = self.model.upsample(logits, tuple(batch.images.shape[2:]))
            maps = restore(maps, batch.to_network[0], picture.shape[:2]).clamp(0, 1).cpu()
        if not maps.isfinite().all():
            raise ValueError("the model's answer is not a number; its weights are damaged, train or fetch them again.")
        masks = maps > self.model.config.threshold
        scores = (maps * masks).sum((1, 2)) / masks.sum((1, 2)).clamp(min=1)
        return Prediction(masks.numpy(), maps.numpy(), scores.numpy(), tuple(batch.sentences), unknown)

    def explain(
        self, image: str | os.PathLike | Image.Image | np.ndarray, sentences: str | Sequence[str]
    ) -> list[View]:
        """Segment, and keep what led to the masks: for ``ris_lib.show.explorer``.

        Args:
            image: As above.
            sentences: As above.

        Returns:
            A view for each sentence. Models that explain nothing give views without rows.

        Raises:
            FileNotFoundError: As above.
            ValueError: As above.

        Warns:
            UserWarning: As above.

        Example:
            >>> from ris_lib import create_model
            >>> predict = Predictor(create_model("lavt_tiny"), device="cpu")
            >>> [view] = predict.explain(np.zeros((30, 40, 3), dtype=np.uint8), "the red ball")
            >>> view.rows[0].title, view.rows[0].items, list(view.rows[0].layers)
            ('Words in each pixel', ['the', 'red', 'ball'], ['fusion 1', 'fusion 2', 'fusion 3', 'fusion 4'])
        """
        _, batch, _ = self._read(image, sentences)
        with inference(self.model, self.device):
            output = self.model(batch.to(self.device), explain=True)
            masks = self.model.upsample(output.logits, tuple(batch.images.shape[2:])).cpu()
        return explanation_views(batch, output, masks)

    def _read(
        self, image: str | os.PathLike | Image.Image | np.ndarray, sentences: str | Sequence[str]
    ) -> tuple[np.ndarray, Batch, tuple[tuple[str, ...], ...]]:
        """The picture, the batch, and the unknown words of each sentence."""
        picture = read_picture(image)
        sentences = [sentences] if isinstance(sentences, str) else list(sentences)
        batch = self.collator.images_only(picture, sentences)
        return picture, batch, self._check_words(sentences)

    def _check_words(self, sentences: list[str]) -> tuple[tuple[str, ...], ...]:
        """Warn of what the tokeniser lost; returns the unknown words of each sentence."""
        tokens = self.model.tokenizer(sentences)
        for sentence, unknown, truncated in zip(sentences, tokens.unknown, tokens.truncated):
            if unknown:
                words = listing(map(repr, unknown))
                warnings.warn(f"{short(sentence)}: the model does not know {words}.", UserWarning, stacklevel=4)
            if truncated:
                length = self.model.tokenizer.length
                warnings.warn(
                    f"{short(sentence)}: only the first {length} tokens were read.", UserWarning, stacklevel=4
                )
        return tuple(tuple(words) for words in tokens.unknown)
