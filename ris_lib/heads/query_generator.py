"""The multi-query generator: several readings of one sentence, each asked by another place of the picture.

::

    context ─ [; y, x] ─ 3x3 convs ─ 1x1 ─► Phi (Nq maps) ─ softmax over space ─► where query n looks
    what stands out there ─ Linear, ReLU ─► seed V ─ asks the words ─► A (Nq x L) ─ V + mixture ─ LayerNorm ─► queries

Source: that there are several queries, made by attention from picture and sentence, each with its own emphasis on the
words, is published (EAVL, Yan et al. 2023, abstract and figures 2 and 3); EAVL's wiring could not be read. The wiring
follows the query generation module of the Vision-Language Transformer (Ding et al. 2021). One attention head, the
LayerNorm, no positions on the queries and seeds that do not depend on the grid's size are our decisions.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ris_lib.attention import attend
from ris_lib.contract import check_word_mask
from ris_lib.layers import ConvNormAct, at_least_float32, coordinates

#: Initial spread of Phi over space (standard deviation, up to a factor that the picture decides). Around 2 a softmax
#: over a few hundred pixels looks at about ten of them; near 0 it would look at all, and all queries would be one.
SPREAD = 2.0


class QueryAttention(nn.Module):
    """Queries gather from words or pixels what they ask for.

    Unlike ``ris_lib.attention.MultiHeadAttention`` the keys have no bias: it would add the same number to all scores of
    a query, which the softmax takes away again. Nor have the values: the weights sum to one, so that the bias of the
    last projection says the same.

    Args:
        width: Channels of the queries, and of the result.
        source_dim: Channels of what they read.
        heads: Number of heads; must divide ``width``.

    Shape:
        queries ``(S, Nq, width)``, source ``(S, K, source_dim)``, mask ``(S, K)`` bool (True = real) or None ->
        ``(S, Nq, width)`` and, with ``explain``, the weights ``(S, Nq, K)`` averaged over the heads, else None.

    Raises:
        ValueError: ``width`` is not a multiple of ``heads``.

    Example:
        >>> QueryAttention(8, 6, heads=2)(torch.zeros(1, 4, 8), torch.zeros(1, 3, 6))[0].shape
        torch.Size([1, 4, 8])
    """

    def __init__(self, width: int, source_dim: int, heads: int = 1):
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"QueryAttention: width={width} is not a multiple of heads={heads}.")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(source_dim, width, bias=False)
        self.value = nn.Linear(source_dim, width, bias=False)
        self.out = nn.Linear(width, width)
        # With torch's own start the words would be a third as loud as the seeds that they are added to.
        for layer in (self.value, self.out):
            nn.init.orthogonal_(layer.weight, gain=math.sqrt(2))

    def forward(
        self, queries: Tensor, source: Tensor, mask: Tensor | None = None, explain: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """See the class."""
        parts = (self.query(queries), self.key(source), self.value(source))
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed, weights = attend(query, key, value, mask=mask, explain=explain)
        return self.out(mixed.transpose(1, 2).flatten(2)), None if weights is None else weights.mean(dim=1)


class QueryGenerator(nn.Module):
    """Make ``queries`` vectors out of a context map and the words.

    One channel of Phi says where one query looks. Its seed is the mean there of the map whose channels, coordinates
    included, are first brought to mean 0 and variance 1 over the picture: a plain mean is mostly what all places have
    in common, and queries that start alike stay alike. (Nothing in the loss of the final mask keeps them apart later:
    watch the cosine between them.) The seeds ask the words; the special tokens are not asked,
    because the start token of a causal text encoder (CLIP) has seen no word: a query that listens to it is deaf.

    Args:
        context_channels: Channels of the context map.
        word_dim: Channels of the words, D.
        queries: Nq. EAVL's number is not known to us; 16 as in the example configurations of the Vision-Language
            Transformer's released code.
        width: Channels of convolutions and queries.
        norm: ``"group"`` (our decision: a batch of one works) or ``"batch"``.

    Shape:
        - context: ``(S, context_channels, h, w)``, any h and w
        - words: ``(S, L, D)``
        - word_mask: ``(S, L)`` bool, **True = content word**; at least one in each row
        - returns: queries ``(S, Nq, width)``, each of mean 0 and variance 1 before the norm's weights, and with
          ``explain`` the attention over the words ``(S, Nq, L)``, which sums to 1 over L, else None

    Raises:
        ValueError: ``queries`` is below 1, the norm is unknown, channels do not fit, or see ``check_word_mask``.

    Example:
        >>> generator = QueryGenerator(context_channels=8, word_dim=6, queries=4, width=16)
        >>> words, content = torch.randn(1, 3, 6), torch.tensor([[False, True, False]])
        >>> queries, attention = generator(torch.randn(1, 8, 5, 7), words, content, explain=True)
        >>> queries.shape, attention[0, 0].tolist()
        (torch.Size([1, 4, 16]), [0.0, 1.0, 0.0])
    """

    def __init__(self, context_channels: int, word_dim: int, queries: int = 16, width: int = 512, norm: str = "group"):
        super().__init__()
        if queries < 1:
            raise ValueError(f"QueryGenerator: queries={queries}; expected at least 1.")
        self.context_channels, self.word_dim = context_channels, word_dim
        self.body = nn.Sequential(
            ConvNormAct(context_channels + 2, width, norm=norm),
            ConvNormAct(width, width, norm=norm),
            ConvNormAct(width, width, norm=norm),
        )
        # No bias: a softmax over space does not change with it.
        self.look = nn.Conv2d(width, queries, 1, bias=False)
        # The ReLU of a standard normal variable has variance 0.34.
        nn.init.normal_(self.look.weight, std=SPREAD / (0.34 * width) ** 0.5)
        self.seed = nn.Linear(context_channels + 2, width)
        self.attention = QueryAttention(width, word_dim)
        self.norm = nn.LayerNorm(width)

    def forward(
        self, context: Tensor, words: Tensor, word_mask: Tensor, explain: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """See the class."""
        check_word_mask(word_mask, words.shape[:2], "QueryGenerator")
        if context.dim() != 4 or context.shape[1] != self.context_channels or len(context) != len(words):
            raise ValueError(
                f"QueryGenerator: context has shape {tuple(context.shape)}; expected (S, {self.context_channels}, h, "
                f"w) with S={len(words)} like the words."
            )
        if words.shape[-1] != self.word_dim:
            raise ValueError(f"QueryGenerator: words have {words.shape[-1]} channels; expected {self.word_dim}.")
        seen = self._look(context)
        seeds = F.relu(self.seed(F.layer_norm(seen, seen.shape[-1:])))
        heard, attention = self.attention(seeds, words, mask=word_mask, explain=explain)
        return self.norm(seeds + heard), attention

    def _look(self, context: Tensor) -> Tensor:
        """What stands out where each query looks, ``(S, Nq, context_channels + 2)``."""
        places = coordinates(context.shape[-2:], like=context).T.unflatten(1, context.shape[-2:])
        located = torch.cat([context, places.expand(len(context), -1, -1, -1)], dim=1)
        where = at_least_float32(self.look(self.body(located))).flatten(2).softmax(dim=-1)
        standing_out = F.layer_norm(at_least_float32(located.flatten(2)), [located[0, 0].numel()])
        seen = where @ standing_out.transpose(1, 2)
        return seen.to(context.dtype)
