"""From samples to a batch: pictures to network size, sentences to tokens, masks in both sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from ris_lib._names import unknown
from ris_lib._shown import short
from ris_lib.data.batch import Batch
from ris_lib.data.sample import RLE, Expression, Sample
from ris_lib.data.transforms import RESIZES, normalise, resize_mask

if TYPE_CHECKING:
    from ris_lib.data.tokenizers import Tokens


#: Of the network's picture: no system that is trained reads a larger one, and a typing error would fill the memory.
LARGEST_SIDE = 4096


@dataclass(frozen=True)
class Preprocess:
    """What is done to a picture before the network sees it; part of a model's configuration.

    Args:
        size: (height, width) of the network's picture.
        resize: ``stretch``, ``letterbox`` or ``letterbox_cris`` (see ``ris_lib.data.transforms``).
        mean: Per channel, subtracted; also the colour that a letterbox is filled with. ImageNet's by default.
        std: Per channel, divided by.

    Raises:
        ValueError: A value is out of range or of the wrong length, or the resize is not known.

    Example:
        >>> preprocess = Preprocess(size=(96, 96))
        >>> Preprocess.from_dict(preprocess.to_dict()) == preprocess
        True
        >>> picture, to_network = preprocess(np.zeros((48, 64, 3), dtype=np.uint8))
        >>> picture.shape
        torch.Size([3, 96, 96])
    """

    size: tuple[int, int] = (480, 480)
    resize: str = "stretch"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self):
        for name in ("size", "mean", "std"):  # JSON knows no tuples
            if not isinstance(getattr(self, name), list | tuple):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected a list of numbers.")
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.size) != 2 or not all(isinstance(side, int) and 0 < side <= LARGEST_SIDE for side in self.size):
            raise ValueError(
                f"size is {self.size}; expected (height, width), two positive whole numbers of at most {LARGEST_SIDE}."
            )
        if self.resize not in RESIZES:
            raise unknown("resize", self.resize, RESIZES)
        if len(self.mean) != 3 or len(self.std) != 3 or not all(map(_is_finite, self.mean + self.std)):
            raise ValueError(f"mean is {self.mean}, std is {self.std}; expected three finite numbers each.")
        if min(self.std) <= 0:
            raise ValueError(f"std is {self.std}; expected positive numbers.")

    def __call__(self, image: np.ndarray) -> tuple[Tensor, Tensor]:
        """Resize and normalise one picture.

        Args:
            image: (H, W, 3) uint8, RGB.

        Returns:
            The network's picture, (3, height, width) float32, and ``to_network`` (2, 2) float64.
        """
        picture, to_network = RESIZES[self.resize](image, self.size, self.mean)
        return normalise(picture, self.mean, self.std), to_network

    def to_dict(self) -> dict[str, Any]:
        """As a dictionary that JSON can hold."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocess:
        """The inverse of ``to_dict``.

        Raises:
            ValueError: A name is not known, or a value is out of range.
        """
        for name in values:
            if name not in cls.__dataclass_fields__:
                raise unknown("preprocess setting", name, cls.__dataclass_fields__)
        return cls(**values)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e30  # what float32 holds


class Collator:
    """Make a batch of samples; a ``collate_fn`` for torch's DataLoader, and picklable as its workers need it.

    Args:
        tokenizer: Called with the list of all S sentences, returns ``Tokens`` (see ``ris_lib.data.tokenizers``).
        preprocess: What is done to a picture.
        with_targets: Fill ``masks`` and ``targets``. False for data without masks.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> loader = DataLoader(dataset, batch_size=8, collate_fn=Collator(tokenizer, preprocess))  # doctest: +SKIP
    """

    def __init__(self, tokenizer: Any, preprocess: Preprocess, with_targets: bool = True):
        self.tokenizer = tokenizer
        self.preprocess = preprocess
        self.with_targets = with_targets

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Collate samples, each with all its sentences.

        Args:
            samples: At least one, each with at least one expression; sizes may differ.

        Returns:
            The batch, image-major. A mask that vanishes at network size stays, all False.

        Raises:
            ValueError: There is no sample or no sentence, the tokenizer refuses a sentence, or a mask is missing or of
                another size than its picture.
        """
        if not samples:
            raise ValueError("a batch of no samples; expected at least one.")
        for sample in samples:
            if not sample.expressions:
                raise ValueError(f"image {sample.image_id} has no sentence; every image of a batch needs at least one.")
        expressions = [expression for sample in samples for expression in sample.expressions]
        batch = self._inputs(
            [sample.image for sample in samples],
            [[expression.sentence for expression in sample.expressions] for sample in samples],
        )
        batch.referent_id = torch.tensor([expression.referent_id for expression in expressions])
        batch.sentence_id = torch.tensor([expression.sentence_id for expression in expressions])
        batch.image_id = torch.tensor([sample.image_id for sample in samples])
        batch.kinds = [expression.kind for expression in expressions]
        if self.with_targets:
            batch.masks = torch.stack(
                [mask for k, sample in enumerate(samples) for mask in self._masks(sample, batch.to_network[k])]
            )
            batch.targets = cast(list[RLE], [e.rle for e in expressions])  # the masks were made of them
        return batch

    def images_only(self, image: np.ndarray, sentences: Sequence[str]) -> Batch:
        """Make the batch of one picture and some sentences, without masks and ids: for prediction.

        Args:
            image: (H, W, 3) uint8, RGB, as ``read_picture`` returns it.
            sentences: At least one.

        Raises:
            ValueError: ``sentences`` is a string, empty, or holds something that the tokenizer refuses.
        """
        if isinstance(sentences, str) or not sentences or not all(isinstance(text, str) for text in sentences):
            raise ValueError(
                f'sentences is {short(sentences)}; expected a list of at least one, such as ["the left cup"].'
            )
        return self._inputs([image], [list(sentences)])

    def _inputs(self, images: list[np.ndarray], sentences: list[list[str]]) -> Batch:
        """What a model reads: pictures and tokens."""
        pictures, to_network = zip(*(self.preprocess(image) for image in images), strict=True)
        texts = [text for group in sentences for text in group]
        tokens: Tokens = self.tokenizer(texts)
        if len(tokens.token_ids) != len(texts):
            raise ValueError(f"the tokenizer made {len(tokens.token_ids)} rows of {len(texts)} sentences.")
        counts = torch.tensor([len(group) for group in sentences])
        return Batch(
            images=torch.stack(pictures),
            token_ids=tokens.token_ids,
            word_mask=tokens.word_mask,
            word_index=tokens.word_index,
            spans=tokens.spans,
            image_index=torch.arange(len(images)).repeat_interleave(counts),
            original_size=torch.tensor([image.shape[:2] for image in images]),
            to_network=torch.stack(to_network),
            sentences=texts,
        )

    def _masks(self, sample: Sample, to_network: Tensor) -> list[Tensor]:
        """One mask per expression at network size; decoded once per ref."""
        masks: dict[int, Tensor] = {}
        for expression in sample.expressions:
            if expression.ref_id not in masks:
                masks[expression.ref_id] = resize_mask(_full_mask(sample, expression), to_network, self.preprocess.size)
        return [masks[expression.ref_id] for expression in sample.expressions]


def _full_mask(sample: Sample, expression: Expression) -> np.ndarray:
    mask = expression.mask()
    if mask.shape != sample.size:
        raise ValueError(
            f"ref {expression.ref_id}: the mask has (height, width) {mask.shape}, its picture {sample.size}; "
            "masks belong to the original picture."
        )
    return mask
