"""A small transformer: the text tower of every ``_tiny`` recipe.

Source: pre-norm transformer (Xiong et al. 2020) with learned positions; sizes are our decision.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ris_lib.attention import SelfAttentionLayer
from ris_lib.encoders.recompute import run_block
from ris_lib.encoders.tiny_start import TEXT, load_tiny
from ris_lib.layers import masked_mean


class TinyText(nn.Module):
    """Embedding, learned positions and transformer layers in four groups.

    Args:
        vocabulary_size: Number of token ids.
        mask_id: Id of [MASK], which stands for a hidden token; None if the tokeniser has none.
        length: Longest sentence in tokens.
        width: Channels of a word, D.
        layers: Layers in each of the four groups: (2, 0, 0, 0) reads the sentence before any image stage meets it,
            (1, 1, 1, 1) lets a fusion block in after each layer.
        heads: Heads of each layer.
        start: Weights for ``load_start``: ``"tiny_encoders"``, which ship with this package, or a folder. They know the
            words of the drawn scenes, in the order of ``ris_lib.data.scenes.VOCABULARY``.

    Attributes:
        width: Channels of the words, D.
        sentence_width: Channels of ``sentence``, here D.
        last_group: Index of the last group that has layers; ``finish`` belongs after it.
        recompute: Compute layers again in the backward pass; see ``StagedEncoder.set_recompute``.

    Raises:
        ValueError: Not four groups, or no layer at all.

    Example:
        >>> tower = TinyText(vocabulary_size=10, mask_id=2, width=8, heads=2)
        >>> word_mask = torch.tensor([[True, True, False]])
        >>> words = tower.embed(torch.tensor([[4, 5, 0]]), word_mask)
        >>> for k in range(tower.groups):
        ...     words = tower.group(k, words, word_mask)
        >>> tower.sentence(tower.finish(words), word_mask, torch.tensor([[0, 1, -1]])).shape
        torch.Size([1, 8])
    """

    groups = 4
    recompute = False

    def __init__(
        self,
        vocabulary_size: int,
        mask_id: int | None,
        length: int = 20,
        width: int = 96,
        layers: Sequence[int] = (2, 0, 0, 0),
        heads: int = 4,
        start: str | None = None,
    ):
        super().__init__()
        if len(layers) != self.groups or not sum(layers):
            raise ValueError(f"TinyText: layers={tuple(layers)}; expected four numbers, at least one above 0.")
        self.vocabulary_size = vocabulary_size
        self.mask_id = mask_id
        self.start = start
        self.width = self.sentence_width = width
        self.last_group = max(k for k, count in enumerate(layers) if count)
        self.embedding = nn.Embedding(vocabulary_size, width)
        self.positions = nn.Parameter(torch.empty(length, width))
        nn.init.normal_(self.embedding.weight, std=0.5)
        nn.init.normal_(self.positions, std=0.1)
        self.layers = nn.ModuleList(
            nn.ModuleList(SelfAttentionLayer(width, heads) for _ in range(count)) for count in layers
        )
        self.norm = nn.LayerNorm(width)

    def embed(
        self, token_ids: Tensor, word_mask: Tensor, hidden: Tensor | None = None, stand_in: Tensor | None = None
    ) -> Tensor:
        """Token ids to vectors.

        Args:
            token_ids: ``(S, L)`` long.
            word_mask: ``(S, L)`` bool, True = real token. Not used here; towers of other libraries need it.
            hidden: ``(S, L)`` bool, True = replace the token by [MASK]; None hides nothing.
            stand_in: ``(D,)`` in place of a hidden token's vector, for vocabularies without [MASK]; None = [MASK].

        Returns:
            ``(S, L, D)``.

        Raises:
            ValueError: More tokens than ``length``, or ``hidden`` with neither [MASK] nor ``stand_in``.
        """
        if token_ids.shape[1] > len(self.positions):
            raise ValueError(
                f"TinyText: sentences of {token_ids.shape[1]} tokens, but the tower was built for length="
                f"{len(self.positions)}. Use a tokeniser of that length, or build the model for a longer one."
            )
        if hidden is not None and stand_in is None:
            if self.mask_id is None:
                raise ValueError(
                    "TinyText: hidden tokens need a tokeniser with a [MASK] token, or a stand_in; mask_id is None."
                )
            token_ids = token_ids.masked_fill(hidden, self.mask_id)
        vectors = self.embedding(token_ids)
        if hidden is not None and stand_in is not None:
            vectors = torch.where(hidden[..., None], stand_in, vectors)
        return vectors + self.positions[: token_ids.shape[1]]

    def group(self, k: int, words: Tensor, word_mask: Tensor) -> Tensor:
        """Layers of group ``k`` (0 to 3): ``(S, L, D)`` -> ``(S, L, D)``. Padding is never looked at."""
        for layer in self.layers[k].children():
            words = run_block(layer, words, mask=word_mask, recompute=self.recompute)
        return words

    def finish(self, words: Tensor) -> Tensor:
        """The norm after the last layer, ``(S, L, D)`` -> ``(S, L, D)``."""
        return self.norm(words)

    def load_start(self) -> None:
        """Read the weights that ``start`` names; see ``ris_lib.encoders.tiny_start``."""
        load_tiny(self, self.start, TEXT)

    def drop_sentence(self) -> None:
        """Leave out what only ``sentence`` needs: nothing here."""

    def sentence(self, words: Tensor, word_mask: Tensor, word_index: Tensor) -> Tensor:
        """Mean of the content words.

        Args:
            words: ``(S, L, D)`` final words.
            word_mask: ``(S, L)`` bool. Not used here: padding has no word index.
            word_index: ``(S, L)`` long, -1 for special and padding tokens.

        Returns:
            ``(S, D)``.
        """
        return masked_mean(words, word_index >= 0)
