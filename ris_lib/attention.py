"""Scaled dot-product attention, the one place where words and pixels meet and where masks become numbers.

Everywhere else in the library a mask is ``bool`` and **True means real**. Here, and only here, it is turned into the
additive form that softmax needs.

Source: Vaswani et al. 2017, section 3.2. The finite -10000 instead of minus infinity is our decision, because a row
that is masked whole must give finite numbers (with infinity it gives NaN, also in the gradient).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Added to the score of a masked key. exp(-10000) is exactly 0 in every float format, and float16 can hold it.
BLOCKED = -1e4


def additive_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn a boolean mask into what is added to attention scores.

    Args:
        mask: Any shape, bool, True = real.
        dtype: A float type.

    Returns:
        The same shape: 0 where the mask is True, ``BLOCKED`` where it is False.

    Raises:
        ValueError: The mask is not boolean.

    Example:
        >>> additive_mask(torch.tensor([True, False]), torch.float32)
        tensor([    0., -10000.])
    """
    if mask.dtype != torch.bool:
        raise ValueError(f"attention: mask must be bool (True = real), got {mask.dtype}; use .bool().")
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, BLOCKED)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    scale: float | None = None,
    explain: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Mix values by how well their keys match each query.

    Args:
        query: ``(B, heads, Q, c)``.
        key: ``(B, heads, K, c)``.
        value: ``(B, heads, K, d)``.
        mask: ``(B, K)``, or ``(B, Q, K)`` where queries may see different keys; bool, True = real. None = all real.
        scale: Factor of the scores; None = 1 / sqrt(c).
        explain: Compute the weights in the open, and return them. The fused kernel is used otherwise; both give the
            same mixture up to rounding.

    Returns:
        The mixture ``(B, heads, Q, d)``, and the weights ``(B, heads, Q, K)``, which sum to 1 over K, or None.

    Raises:
        ValueError: The mask is not boolean or has another shape.

    Example:
        >>> query, key = torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 2, 2)
        >>> value = torch.tensor([[[[1.0], [3.0]]]])
        >>> attend(query, key, value)[0].item()
        2.0
        >>> attend(query, key, value, mask=torch.tensor([[True, False]]))[0].item()
        1.0
    """
    bias = None
    if mask is not None:
        batch, queries, keys = query.shape[0], query.shape[2], key.shape[2]
        if tuple(mask.shape) not in {(batch, keys), (batch, queries, keys)}:
            raise ValueError(
                f"attention: mask has shape {tuple(mask.shape)}, expected {(batch, keys)} or {(batch, queries, keys)}."
            )
        bias = additive_mask(mask, query.dtype)
        bias = bias[:, None, None, :] if bias.dim() == 2 else bias[:, None]
    if not explain:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale), None
    scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)
    weights = (scores if bias is None else scores + bias).softmax(dim=-1)
    return weights @ value, weights


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Cut the channels into heads: ``(B, n, C)`` -> ``(B, heads, n, C / heads)``.

    Example:
        >>> split_heads(torch.zeros(1, 5, 8), heads=2).shape
        torch.Size([1, 2, 5, 4])
    """
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class MultiHeadAttention(nn.Module):
    """Attention with learned projections: each query gathers from the keys what it asks for.

    Args:
        query_dim: Channels of the queries, and of the result.
        key_dim: Channels of keys and values; None = ``query_dim``.
        heads: Number of heads; must divide ``query_dim``.
        offset: Values and result have a bias. It adds the same to all queries: False where a norm over the queries
            takes that away again.

    Shape:
        - queries: ``(B, Q, query_dim)``
        - keys, values: ``(B, K, key_dim)``; values default to the keys (positions are added to keys only)
        - mask: ``(B, K)`` or ``(B, Q, K)`` bool, **True = real**
        - returns: ``(B, Q, query_dim)`` and, with ``explain``, weights ``(B, Q, K)`` averaged over the heads, else None

    Raises:
        ValueError: ``query_dim`` is not a multiple of ``heads``.

    Example:
        >>> layer = MultiHeadAttention(8, 6, heads=2)
        >>> mixed, weights = layer(torch.zeros(1, 5, 8), torch.zeros(1, 3, 6), explain=True)
        >>> mixed.shape, weights.shape
        (torch.Size([1, 5, 8]), torch.Size([1, 5, 3]))
    """

    def __init__(self, query_dim: int, key_dim: int | None = None, heads: int = 4, offset: bool = True):
        super().__init__()
        if query_dim % heads:
            raise ValueError(f"MultiHeadAttention: query_dim={query_dim} is not a multiple of heads={heads}.")
        key_dim = query_dim if key_dim is None else key_dim
        self.heads = heads
        self.query = nn.Linear(query_dim, query_dim)
        self.key = nn.Linear(key_dim, query_dim)
        self.value = nn.Linear(key_dim, query_dim, bias=offset)
        self.out = nn.Linear(query_dim, query_dim, bias=offset)

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor | None = None,
        mask: Tensor | None = None,
        explain: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """See the class."""
        mixed, weights = attend(
            split_heads(self.query(queries), self.heads),
            split_heads(self.key(keys), self.heads),
            split_heads(self.value(keys if values is None else values), self.heads),
            mask=mask,
            explain=explain,
        )
        return self.out(mixed.transpose(1, 2).flatten(2)), None if weights is None else weights.mean(dim=1)


class SelfAttentionLayer(nn.Module):
    """A pre-norm transformer layer: attention among the elements, then a feed-forward network on each.

    Args:
        dim: Channels.
        heads: Heads of the attention.
        expansion: Width of the feed-forward network as a multiple of ``dim``.

    Shape:
        ``(B, n, dim)``, mask ``(B, n)`` bool (True = real) or None, positions broadcastable to ``(B, n, dim)`` or None
        (added to queries and keys, not to values) -> ``(B, n, dim)``.

    Example:
        >>> SelfAttentionLayer(8, heads=2)(torch.zeros(1, 3, 8)).shape
        torch.Size([1, 3, 8])
    """

    def __init__(self, dim: int, heads: int = 4, expansion: int = 2):
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = MultiHeadAttention(dim, heads=heads)
        self.forward_norm = nn.LayerNorm(dim)
        self.forward_net = nn.Sequential(nn.Linear(dim, expansion * dim), nn.GELU(), nn.Linear(expansion * dim, dim))

    def forward(self, x: Tensor, mask: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """See the class."""
        normed = self.attention_norm(x)
        located = normed if positions is None else normed + positions
        x = x + self.attention(located, located, normed, mask=mask)[0]
        return x + self.forward_net(self.forward_norm(x))
