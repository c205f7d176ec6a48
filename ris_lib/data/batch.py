"""What the model gets: several pictures, each standing once, with all sentences asked of them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from ris_lib.data.sample import RLE

#: The fields with one row for each image; all others have one for each sentence.
OF_IMAGES = ("images", "original_size", "to_network", "image_id")


@dataclass
class Batch:
    """A batch, image-major: sentences of one image stand together, no image is without a sentence.

    Args:
        images: ``(I, 3, H, W)`` float, normalised, at network size.
        token_ids: ``(S, L)`` long.
        word_mask: ``(S, L)`` bool, True = real token (words and special tokens), False = padding.
        word_index: ``(S, L)`` long, which word of the sentence a token belongs to; -1 for special and padding tokens.
        spans: ``(S, L, 2)`` long, first and past-the-last character of each token in its sentence; (0, 0) for special
            and padding tokens.
        image_index: ``(S,)`` long, ascending.
        original_size: ``(I, 2)`` long, (height, width) of the original pictures.
        to_network: ``(I, 2, 2)`` float64, rows for (y, x), columns (scale, offset): a point at original pixel-centre
            coordinate ``p`` lies at ``scale * p + offset`` on the network's picture. Its inverse brings masks back.
        sentences: The S sentences as text.
        referent_id: ``(S,)`` long, the annotated instance, or None for prediction.
        masks: ``(S, H, W)`` bool at network size (nearest), or None.
        targets: S masks at original size as RLE, for evaluation, or None.
        kinds: Kind of each expression, or None.
        sentence_id: ``(S,)`` long, or None.
        image_id: ``(I,)`` long, or None.
    """

    images: Tensor
    token_ids: Tensor
    word_mask: Tensor
    word_index: Tensor
    spans: Tensor
    image_index: Tensor
    original_size: Tensor
    to_network: Tensor
    sentences: list[str]
    referent_id: Tensor | None = None
    masks: Tensor | None = None
    targets: list[RLE] | None = None
    kinds: list[str] | None = None
    sentence_id: Tensor | None = None
    image_id: Tensor | None = None

    def __len__(self) -> int:
        """Number of sentences, S."""
        return len(self.token_ids)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on ``device``.

        The geometry (``original_size``, ``to_network``) stays where it is: masks are brought back picture by picture,
        and Apple's GPUs hold no float64.
        """
        moved = {
            f.name: value.to(device, non_blocking=non_blocking)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor) and f.name not in ("original_size", "to_network")
        }
        return replace(self, **moved)

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory (called by torch's DataLoader)."""
        pinned = {
            f.name: value.pin_memory() for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **pinned)

    def take(self, chosen: Tensor) -> Batch:
        """Some of the sentences, and the images that they are asked of.

        Args:
            chosen: ``(S,)`` bool, True = keep this sentence; at least one.

        Raises:
            ValueError: No sentence is kept, or ``chosen`` is not boolean or has another shape.
        """
        if chosen.dtype != torch.bool or chosen.shape != self.image_index.shape or not bool(chosen.any()):
            raise ValueError(
                f"chosen is {chosen.dtype} of shape {tuple(chosen.shape)}; expected {tuple(self.image_index.shape)} "
                "bool with at least one True."
            )
        images, image_index = self.image_index[chosen].unique(return_inverse=True)
        kept = {"image_index": image_index}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name in kept or value is None:
                continue
            rows = images if f.name in OF_IMAGES else chosen
            if isinstance(value, Tensor):
                kept[f.name] = value[rows.to(value.device)]
            else:
                kept[f.name] = [entry for entry, keep in zip(value, chosen.tolist()) if keep]
        return replace(self, **kept)
