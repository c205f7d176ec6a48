"""What every fusion block refuses, with the shapes that came and those that it was built for."""

from __future__ import annotations

from torch import Tensor

from ris_lib.contract import check_word_mask


def check_fusion_input(
    part: str, pixels: Tensor, size: tuple[int, int], words: Tensor, word_mask: Tensor, dims: tuple[int, int]
) -> None:
    """Refuse what does not fit a block or itself.

    Args:
        part: Name of the block, for the message.
        pixels: ``(S, N, C)``, N = height * width.
        size: ``(height, width)`` of the map.
        words: ``(S, L, D)``.
        word_mask: ``(S, L)`` bool, True = real word; at least one True in each row.
        dims: C and D.

    Raises:
        ValueError: Shapes that do not fit, or a bad word mask.

    Example:
        >>> import torch
        >>> real = torch.ones(1, 3, dtype=torch.bool)
        >>> check_fusion_input("PWAM", torch.zeros(1, 4, 8), (2, 2), torch.zeros(1, 3, 6), real, dims=(8, 6))
    """
    pixel_dim, word_dim = dims
    came = f"{part}: pixels {tuple(pixels.shape)} and words {tuple(words.shape)}"
    if pixels.shape[2:] != (pixel_dim,) or words.shape[2:] != (word_dim,):
        raise ValueError(
            f"{came}; expected (S, N, {pixel_dim}) and (S, L, {word_dim}). Build the block with these channels."
        )
    if len(pixels) != len(words):
        raise ValueError(f"{came}; expected the same S sentences. Repeat an image for each of its sentences.")
    if pixels.shape[1] != size[0] * size[1]:
        raise ValueError(f"{came}; expected {size[0]} x {size[1]} = {size[0] * size[1]} pixels for size={tuple(size)}.")
    check_word_mask(word_mask, words.shape[:2], part)
