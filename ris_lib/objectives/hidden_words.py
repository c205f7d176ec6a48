"""Which words of a sentence to hide, for objectives that ask a model to name them.

Whole words are hidden, never a single piece: the other pieces of "gira ##ffe" would give the hidden one away, and
nothing would be learned from the picture.

Source: hiding words at random is Mask Grounding (Chng et al. 2024, MagNet); how many it hides could not be found. Whole
words, and between one word and 40 % of them, are our decision: a referring expression has 3.6 words on average, and
hiding each token with BERT's probability of 15 % would leave most short sentences without anything to name.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ris_lib.contract import check_word_mask


def choose_hidden(word_index: Tensor, word_mask: Tensor, share: float = 0.4) -> Tensor:
    """Draw words to hide: at least one of each sentence, at most a share of its words.

    How many is drawn evenly between 1 and ``max(1, floor(share * words))``, then which. All tokens of a chosen word are
    hidden; special tokens and padding never are. The only word of a sentence is hidden too: the picture and the
    segment alone must then name it, which is the purest case of grounding. Drawn from torch's random numbers.

    Args:
        word_index: ``(S, L)`` long, which word of its sentence a token belongs to; -1 for special and padding tokens.
        word_mask: ``(S, L)`` bool, True = real token.
        share: Largest share of the words to hide, in (0, 1].

    Returns:
        ``(S, L)`` bool, True = hide this token. A row is all False only where a sentence has no word at all.

    Raises:
        ValueError: A share outside (0, 1], or masks and indices that do not fit.

    Example:
        >>> word_index = torch.tensor([[-1, 0, 0, -1], [-1, 0, 1, -1]])
        >>> word_mask = torch.tensor([[True, True, True, True], [True, True, True, False]])
        >>> hidden = choose_hidden(word_index, word_mask)
        >>> hidden[0].tolist()  # the pieces of the only word
        [False, True, True, False]
        >>> hidden.sum(dim=1).tolist()  # one of two words: 40 % would be less than one
        [2, 1]
    """
    if not 0 < share <= 1:
        raise ValueError(f"choose_hidden: share={share}; expected a share of the words in (0, 1].")
    check_word_mask(word_mask, word_index.shape, "choose_hidden")
    content = (word_index >= 0) & word_mask
    same_word = (word_index[:, :, None] == word_index[:, None, :]) & content[:, :, None] & content[:, None, :]
    first_of_word = content & ~same_word.tril(-1).any(dim=2)
    words = first_of_word.sum(dim=1)
    # The small addition keeps 0.3 * 10 from becoming 2.9999.
    most = (words * share + 1e-4).floor().long().clamp(min=1)
    count = 1 + (torch.rand(words.shape, device=words.device) * most).long().clamp(max=most - 1)
    scores = torch.rand(word_index.shape, device=words.device).masked_fill(~first_of_word, -1.0)
    rank = scores.argsort(dim=1, descending=True).argsort(dim=1)
    chosen = first_of_word & (rank < count[:, None])
    return (same_word & chosen[:, None, :]).any(dim=2)


def choose_sentences(image_index: Tensor, most: int) -> Tensor:
    """Draw sentences, at most so many of each image.

    Args:
        image_index: ``(S,)`` long, the image of each sentence.
        most: Of each image, at least 1.

    Returns:
        ``(S,)`` bool, True = this sentence; every image has at least one. Drawn from torch's random numbers.

    Raises:
        ValueError: ``most`` is below 1.

    Example:
        >>> choose_sentences(torch.tensor([0, 0, 0, 1]), most=2).long().sum().item()
        3
    """
    if most < 1:
        raise ValueError(f"choose_sentences: most={most}; expected at least one sentence of each image.")
    draw = torch.rand(len(image_index), device=image_index.device)
    ahead = (image_index[:, None] == image_index) & (draw[:, None] > draw)
    return ahead.sum(dim=1) < most
