"""BERT (Devlin et al. 2019) in four groups of layers: the text tower of the ``_base`` and ``_small`` recipes.

Source: the layers are those of the library ``transformers``, without the pooler, which nobody reads. LAVT and LGFormer
run all twelve layers before the image ((12, 0, 0, 0)); MagNet's released code lets pixels in after every third one
((3, 3, 3, 3)). Without a fusion block in between the two compute the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from ris_lib.attention import additive_mask
from ris_lib.contract import check_word_mask
from ris_lib.encoders.recompute import run_block
from ris_lib.encoders.starting_weights import check_fit, check_settings, read_pretrained
from ris_lib.layers import masked_mean


class BertText(nn.Module):
    """BERT's embeddings and layers, the layers in four groups.

    Args:
        vocabulary_size: Number of token ids; 30522 in the uncased English models.
        mask_id: Id of [MASK], which stands for a hidden token; None if the tokeniser has none.
        length: Longest sentence in tokens that the tokeniser makes.
        layers: Layers in each of the four groups.
        width: Channels of a word, D.
        heads: Attention heads of each layer; must divide ``width``.
        intermediate: Width of the feed-forward networks; BERT's sizes have ``4 * width``.
        positions: Rows of the table of positions, the most tokens that can be read.
        dropout: Share of activations and of attention weights that are dropped while training.
        start: Published weights for ``load_start``, such as ``"google-bert/bert-base-uncased"`` or
            ``"google/bert_uncased_L-4_H-512_A-8"``; None = fresh weights.

    Attributes:
        width: Channels of the words, D.
        sentence_width: Channels of ``sentence``, here D.
        last_group: Index of the last group that has layers.
        recompute: Compute layers again in the backward pass; see ``StagedEncoder.set_recompute``.

    Raises:
        ValueError: Not four groups, or no layer at all; heads that do not divide the width; a length beyond the table
            of positions.

    Example:
        >>> tower = BertText(10, mask_id=2, length=5, layers=(1, 0, 1, 0), width=8, heads=2, intermediate=16)
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
        layers: Sequence[int] = (12, 0, 0, 0),
        width: int = 768,
        heads: int = 12,
        intermediate: int = 3072,
        positions: int = 512,
        dropout: float = 0.1,
        start: str | None = None,
    ):
        super().__init__()
        # Imported here, because it takes seconds, and models with other towers never need it.
        from transformers import BertConfig, BertModel

        if len(layers) != self.groups or not sum(layers):
            raise ValueError(f"BertText: layers={tuple(layers)}; expected four numbers, at least one above 0.")
        if width % heads:
            raise ValueError(f"BertText: width={width} is not a multiple of heads={heads}.")
        if length > positions:
            raise ValueError(f"BertText: length={length} is beyond positions={positions}, the table of positions.")
        self.vocabulary_size = vocabulary_size
        self.mask_id = mask_id
        self.width = self.sentence_width = width
        self.last_group = max(k for k, count in enumerate(layers) if count)
        self.start = start
        self._settings = {"num_attention_heads": heads, "hidden_act": "gelu", "layer_norm_eps": 1e-12}
        config = BertConfig(
            vocab_size=vocabulary_size,
            hidden_size=width,
            num_hidden_layers=sum(layers),
            intermediate_size=intermediate,
            max_position_embeddings=positions,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            **self._settings,
        )
        parts = _parts(BertModel(config, add_pooling_layer=False))
        # One list, whatever the groups are: weights keep their names when layers move to another group.
        self.embeddings, self.layers = parts["embeddings"], parts["layers"]
        ends = list(accumulate(layers))
        self._group_layers = [range(first, last) for first, last in zip([0, *ends], ends)]

    def embed(
        self, token_ids: Tensor, word_mask: Tensor, hidden: Tensor | None = None, stand_in: Tensor | None = None
    ) -> Tensor:
        """Token ids to vectors: word, position and type of segment (always the first), then the norm.

        Args:
            token_ids: ``(S, L)`` long.
            word_mask: ``(S, L)`` bool, True = real token.
            hidden: ``(S, L)`` bool, True = replace the token by [MASK]; None hides nothing.
            stand_in: ``(D,)`` in place of a hidden token's word vector, for vocabularies without [MASK]; None = [MASK].

        Returns:
            ``(S, L, D)``.

        Raises:
            ValueError: More tokens than ``positions``; a word mask that is not boolean, has another shape or hides a
                whole sentence; ``hidden`` with neither [MASK] nor ``stand_in``.
        """
        check_word_mask(word_mask, token_ids.shape, "BertText")
        positions = self.embeddings.position_embeddings.num_embeddings
        if token_ids.shape[1] > positions:
            raise ValueError(
                f"BertText: sentences of {token_ids.shape[1]} tokens, but the table has positions={positions}. "
                "Use a tokeniser of that length at most."
            )
        if hidden is None:
            return self.embeddings(input_ids=token_ids)
        if stand_in is None:
            if self.mask_id is None:
                raise ValueError(
                    "BertText: hidden tokens need a tokeniser with a [MASK] token, or a stand_in; mask_id is None."
                )
            return self.embeddings(input_ids=token_ids.masked_fill(hidden, self.mask_id))
        vectors = self.embeddings.word_embeddings(token_ids)
        return self.embeddings(inputs_embeds=torch.where(hidden[..., None], stand_in.to(vectors.dtype), vectors))

    def group(self, k: int, words: Tensor, word_mask: Tensor) -> Tensor:
        """Layers of group ``k`` (0 to 3): ``(S, L, D)`` -> ``(S, L, D)``. Padding is never looked at."""
        if not self._group_layers[k]:
            return words
        # The library adds the mask to the attention scores: a boolean would be silently wrong.
        blocked = additive_mask(word_mask, words.dtype)[:, None, None, :]
        for index in self._group_layers[k]:
            words = run_block(self.layers[index], words, blocked, recompute=self.recompute)
        return words

    def finish(self, words: Tensor) -> Tensor:
        """Nothing: each of BERT's layers ends with its norm."""
        return words

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

    def load_start(self) -> None:
        """Read the published weights that ``start`` names.

        Raises:
            FileNotFoundError: They are not on this machine and cannot be fetched.
            ValueError: No ``start`` was named, or weights that do not fit.
        """
        from transformers import BertModel

        if self.start is None:
            raise ValueError("BertText: no starting weights were named; build it with start=...")
        model = read_pretrained(BertModel, self.start, "BertText", add_pooling_layer=False)
        weights = _parts(model).state_dict()
        check_fit(self, weights, self.start)
        check_settings(model.config.to_dict(), self._settings, self.start, "BertText")
        self.load_state_dict(weights)


def _parts(model: Any) -> Any:
    """What we use of the library's model, in our order: an ``nn.ModuleDict``."""
    return nn.ModuleDict({"embeddings": model.embeddings, "layers": model.encoder.layer})
