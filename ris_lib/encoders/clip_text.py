"""CLIP's text tower, cut into groups of layers: the text tower of CRIS and of our EAVL.

A token sees itself and what stands before it, never what comes after (causal attention). So the end token is the only
one that has read the whole sentence, the start token has read nothing, and padding, which comes last, is never seen.

Source: Radford et al. 2021 (CLIP), its transformer blocks through open_clip; the words that are not projected are those
of CRIS (Wang et al. 2022), of its released code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ris_lib.attention import additive_mask
from ris_lib.contract import check_word_mask
from ris_lib.encoders.clip_start import clip_sizes, clip_weights, load_clip
from ris_lib.encoders.recompute import run_block


class ClipText(nn.Module):
    """Embedding, learned positions and causal transformer blocks with quick GELU, x * sigmoid(1.702 x).

    Args:
        vocabulary_size: Number of token ids: 49408 for CLIP's tokeniser.
        mask_id: Id of [MASK], None for CLIP's tokeniser; then hidden tokens need a ``stand_in``.
        length: Longest sentence in tokens that the tokeniser makes; at most ``context_length``. CRIS uses 17, and 22
            for RefCOCOg.
        model: ``"RN50"`` or ``"RN101"``: the ``embed_dim`` where that is None, and the weights that ``load_start``
            fetches.
        layers: Layers in each of the four groups: (12, 0, 0, 0) reads the sentence before any image stage meets it,
            (3, 3, 3, 3) lets a fusion block in after every third layer.
        width: Channels of a word, D.
        heads: Heads of each layer; must divide ``width``.
        embed_dim: Channels of ``sentence``; None = the model's.
        context_length: Rows of the table of positions.
        start: None, ``"openai"``, or a path; see ``ris_lib.encoders.clip_start``. The constructor reads nothing.

    Attributes:
        width: Channels of the words, D.
        sentence_width: ``embed_dim``.
        last_group: Index of the last group that has layers; ``finish`` belongs after it.
        recompute: Compute blocks again in the backward pass; see ``StagedEncoder.set_recompute``.

    Raises:
        ValueError: Another model, not four groups, no layer, or sizes that do not fit one another.

    Example:
        >>> tower = ClipText(20, mask_id=None, length=4, layers=(1, 0, 0, 0), width=8, heads=2, embed_dim=6)
        >>> word_mask = torch.tensor([[True, True, True, False]])
        >>> words = tower.embed(torch.tensor([[18, 5, 19, 0]]), word_mask)
        >>> words = tower.finish(tower.group(0, words, word_mask))
        >>> words.shape, tower.sentence(words, word_mask, torch.tensor([[-1, 0, -1, -1]])).shape
        (torch.Size([1, 4, 8]), torch.Size([1, 6]))
    """

    groups = 4
    recompute = False

    def __init__(
        self,
        vocabulary_size: int,
        mask_id: int | None,
        length: int = 17,
        model: str = "RN50",
        layers: Sequence[int] = (12, 0, 0, 0),
        width: int = 512,
        heads: int = 8,
        embed_dim: int | None = None,
        context_length: int = 77,
        start: str | None = None,
    ):
        from open_clip.transformer import QuickGELU, ResidualAttentionBlock

        super().__init__()
        sizes = clip_sizes(model)
        embed_dim = sizes.embed_dim if embed_dim is None else embed_dim
        if len(layers) != self.groups or min(layers) < 0 or not sum(layers):
            raise ValueError(f"ClipText: layers={tuple(layers)}; expected four numbers, at least one above 0.")
        if width % heads:
            raise ValueError(f"ClipText: width={width} is not a multiple of heads={heads}.")
        if length > context_length:
            raise ValueError(
                f"ClipText: sentences of length={length} tokens, but the table of positions has context_length="
                f"{context_length} rows. Shorten the tokeniser's sentences."
            )
        self.model, self.start = model, start
        self.vocabulary_size, self.mask_id = vocabulary_size, mask_id
        self.width, self.sentence_width = width, embed_dim
        self.last_group = max(k for k, count in enumerate(layers) if count)
        self._ends = [sum(layers[: k + 1]) for k in range(self.groups)]
        self.token_embedding = nn.Embedding(vocabulary_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, width))
        self.blocks = nn.ModuleList(
            ResidualAttentionBlock(width, heads, act_layer=QuickGELU) for _ in range(sum(layers))
        )
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, embed_dim))
        self._initialise(self.text_projection)

    def _initialise(self, projection: Tensor) -> None:
        """The spreads of CLIP's own training (Radford et al. 2021, section 2.5, and released code)."""
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(projection, std=self.width**-0.5)
        depth = (2 * len(self.blocks)) ** -0.5
        for block in self.blocks:
            nn.init.normal_(block.get_parameter("attn.in_proj_weight"), std=self.width**-0.5)
            nn.init.normal_(block.get_parameter("attn.out_proj.weight"), std=self.width**-0.5 * depth)
            nn.init.normal_(block.get_parameter("mlp.c_fc.weight"), std=(2 * self.width) ** -0.5)
            nn.init.normal_(block.get_parameter("mlp.c_proj.weight"), std=self.width**-0.5 * depth)

    def load_start(self) -> None:
        """Load the weights that ``start`` names; None leaves the fresh ones.

        Raises:
            FileNotFoundError: They are not here and cannot be fetched; see ``clip_weights``.
            ValueError: They belong to another model.
        """
        if self.start is None:
            return
        weights = {}
        for name, value in clip_weights(self.model, self.start).items():
            own = name.replace("transformer.resblocks.", "blocks.")
            # the temperature of CLIP's contrastive loss has no place in a segmenter, nor has a projection nobody reads
            dropped = name == "logit_scale" or (name == "text_projection" and self.text_projection is None)
            if not name.startswith("visual.") and not dropped:
                weights[own] = value
        load_clip(self, weights, fresh=(), part="ClipText")

    def embed(
        self, token_ids: Tensor, word_mask: Tensor, hidden: Tensor | None = None, stand_in: Tensor | None = None
    ) -> Tensor:
        """Token ids to vectors.

        Args:
            token_ids: ``(S, L)`` long.
            word_mask: ``(S, L)`` bool, True = real token. Not used here: padding comes last and is never seen.
            hidden: ``(S, L)`` bool, True = replace the token; None hides nothing.
            stand_in: ``(D,)`` in place of a hidden token's vector; None = [MASK], which CLIP's tokeniser lacks.

        Returns:
            ``(S, L, D)``.

        Raises:
            ValueError: More tokens than ``context_length``, or ``hidden`` with neither [MASK] nor ``stand_in``.
        """
        if token_ids.shape[1] > len(self.positional_embedding):
            raise ValueError(
                f"ClipText: sentences of {token_ids.shape[1]} tokens, but the table of positions has context_length="
                f"{len(self.positional_embedding)} rows. Use a tokeniser of at most that length."
            )
        if hidden is not None and stand_in is None:
            if self.mask_id is None:
                raise ValueError(
                    "ClipText: CLIP's tokeniser has no [MASK] token (mask_id is None), so hidden tokens need a "
                    f"stand_in, a vector of {self.width} channels."
                )
            token_ids = token_ids.masked_fill(hidden, self.mask_id)
        vectors = self.token_embedding(token_ids)
        if hidden is not None and stand_in is not None:
            vectors = torch.where(hidden[..., None], stand_in.to(vectors.dtype), vectors)
        return vectors + self.positional_embedding[: token_ids.shape[1]]

    def group(self, k: int, words: Tensor, word_mask: Tensor) -> Tensor:
        """Layers of group ``k`` (0 to 3): ``(S, L, D)`` -> ``(S, L, D)``. No token sees what comes after it.

        Raises:
            ValueError: The mask is not boolean, has another shape, or hides every token of a sentence.
        """
        check_word_mask(word_mask, words.shape[:2], "ClipText")
        blocks = self.blocks[self._ends[k - 1] if k else 0 : self._ends[k]]
        if not len(blocks):
            return words
        seen = torch.ones(words.shape[1], words.shape[1], dtype=torch.bool, device=words.device).tril()
        causal = additive_mask(seen, words.dtype)
        for block in blocks:
            words = run_block(block, words, attn_mask=causal, recompute=self.recompute)
        return words

    def finish(self, words: Tensor) -> Tensor:
        """The norm after the last layer, ``(S, L, D)`` -> ``(S, L, D)``. The words stay in the tower's own space."""
        return self.ln_final(words)

    def drop_sentence(self) -> None:
        """Leave out the projection, which only ``sentence`` needs."""
        self.text_projection = None

    def sentence(self, words: Tensor, word_mask: Tensor, word_index: Tensor) -> Tensor:
        """The state of the end token, projected into the space that images and sentences share.

        The end token is the last real token of its row: CLIP's tokeniser closes every sentence with it, also one that
        was cut off. (CLIP itself looks for the largest id, which is the same token; but a tower is given words, and
        they may have passed through fusion blocks.)

        Args:
            words: ``(S, L, D)`` final words.
            word_mask: ``(S, L)`` bool, at least one True in each row.
            word_index: ``(S, L)`` long. Not used: the end token belongs to no word.

        Returns:
            ``(S, sentence_width)``; after ``drop_sentence`` the state itself, ``(S, D)``, which nobody reads.
        """
        places = torch.arange(1, words.shape[1] + 1, device=words.device)
        last = (word_mask * places).argmax(dim=1)
        state = words[torch.arange(len(words), device=words.device), last]
        return state if self.text_projection is None else state @ self.text_projection
