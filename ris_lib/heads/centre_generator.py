"""The centre's generator: a sentence vector looks at the picture, coarse to fine, and comes back made for *it*.

::

    state 0 = pooled words ─► look at stride 32 ─► look at 16 ─► look at 8 ─► look at 32 ─► ... ─► last state

There is one query only, so it attends to pixels and to nothing else. ``HardGroupingLayer`` is another way to look: two
tokens, background and referent, share the pixels out among themselves, and each averages its own.

Source: the refining layers follow LGFormer's released code and are our decision for AlignFormer, which publishes only
that the linguistic feature serves as the centre. Hard assignment over the tokens follows GroupViT (Xu et al. 2022) and
CGFormer (Tang et al. 2023), for comparison; one assignment for all channels instead of one a head is our decision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ris_lib.attention import MultiHeadAttention
from ris_lib.layers import at_least_float32
from ris_lib.positions import sine_2d


class LookingLayer(nn.Module):
    """Cross-attention to pixels and a feed-forward network, each followed by add and norm (post-norm, ReLU).

    Args:
        width: Channels of the state.
        memory_width: Channels of the pixels.
        heads: Heads of the attention.
        feed_forward: Width of the feed-forward network.

    Shape:
        tokens ``(S, Q, width)``, position ``(Q, width)`` (added to the query only), keys and values ``(S, N,
        memory_width)`` -> ``(S, Q, width)``.

    Example:
        >>> layer = LookingLayer(8, 4, heads=2, feed_forward=16)
        >>> layer(torch.zeros(1, 1, 8), torch.zeros(1, 8), torch.zeros(1, 6, 4), torch.zeros(1, 6, 4)).shape
        torch.Size([1, 1, 8])
    """

    def __init__(self, width: int, memory_width: int, heads: int, feed_forward: int):
        super().__init__()
        self.attention = MultiHeadAttention(width, memory_width, heads)
        self.attention_norm = nn.LayerNorm(width)
        self.forward_net = nn.Sequential(nn.Linear(width, feed_forward), nn.ReLU(), nn.Linear(feed_forward, width))
        self.forward_norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, position: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """See the class."""
        return self._finish(tokens, self.attention(tokens + position, keys, values)[0])

    def _finish(self, tokens: Tensor, gathered: Tensor) -> Tensor:
        tokens = self.attention_norm(tokens + gathered)
        return self.forward_norm(tokens + self.forward_net(tokens))


def assign(scores: Tensor, noisy: bool) -> Tensor:
    """Give every pixel to one token, with the gradient of the softmax over the tokens (straight-through).

    Args:
        scores: ``(S, Q, N)``.
        noisy: Add Gumbel noise, so that the choice is a draw from the softmax; False takes the largest score.

    Returns:
        ``(S, Q, N)``: 1 at each pixel's token, else 0 (up to the rounding of 1 + p - p).

    Example:
        >>> assign(torch.tensor([[[2.0, 0.0], [1.0, 3.0]]]), noisy=False).tolist()
        [[[1.0, 0.0], [0.0, 1.0]]]
    """
    if noisy:
        scores = scores - torch.empty_like(scores).exponential_().clamp(min=1e-10).log()
    soft = scores.softmax(dim=1)
    hard = torch.zeros_like(soft).scatter_(1, soft.argmax(dim=1, keepdim=True), 1.0)
    return hard + (soft - soft.detach())


class HardGroupingLayer(LookingLayer):
    """Every pixel joins one token; a token becomes more like the mean of its members.

    Scores are cosines divided by a learned temperature ``exp(min(theta, 0))``, at first 0.1. The sum of the members is
    divided by their number plus one, so a token without members is left alone. Training draws the assignment
    (straight-through Gumbel softmax), evaluation takes the best token.

    Args:
        width: Channels of the tokens.
        memory_width: Channels of the pixels.
        heads: Not used: there is one assignment.
        feed_forward: Width of the feed-forward network.

    Shape:
        As ``LookingLayer``.

    Example:
        >>> layer = HardGroupingLayer(8, 4, heads=1, feed_forward=16).eval()
        >>> layer(torch.zeros(1, 2, 8), torch.zeros(2, 8), torch.zeros(1, 6, 4), torch.zeros(1, 6, 4)).shape
        torch.Size([1, 2, 8])
    """

    def __init__(self, width: int, memory_width: int, heads: int, feed_forward: int):
        super().__init__(width, memory_width, 1, feed_forward)
        self.theta = nn.Parameter(torch.tensor(math.log(0.1)))

    def forward(self, tokens: Tensor, position: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """See the class."""
        query, key, value = (
            layer(x)
            for layer, x in (
                (self.attention.query, tokens + position),
                (self.attention.key, keys),
                (self.attention.value, values),
            )
        )
        with torch.autocast(query.device.type, enabled=False):
            query, key = (F.normalize(at_least_float32(x), dim=-1) for x in (query, key))
            scores = query @ key.transpose(1, 2) * torch.exp(-self.theta.clamp(max=0))
            members = assign(scores, noisy=self.training)
            mean = members @ at_least_float32(value) / (members.sum(dim=-1, keepdim=True) + 1)
        return self._finish(tokens, self.attention.out(mean.to(tokens.dtype)))


class CentreGenerator(nn.Module):
    """Refine a state by looking at the memory maps in turn.

    Args:
        width: Channels of the state.
        memory_channels: Channels of the maps, coarse to fine. Maps of different widths are projected to ``width``;
            equal ones are read as they are.
        layers: Layer l reads map l mod (number of maps); maps that no layer reaches are left alone.
        heads: Heads of each layer.
        feed_forward: Width of the feed-forward networks.
        hard: Two tokens in layers ``HardGroupingLayer`` in place of one in layers ``LookingLayer``; the second is the
            state.

    Shape:
        state ``(S, width)`` and maps ``(S, C_k, h_k, w_k)`` -> all states ``(S, layers + 1, width)``, the first as it
        came.

    Raises:
        ValueError: No layer or no map, a number of channels that sine positions do not fit, or maps that are not those
            of the constructor.

    Example:
        >>> generator = CentreGenerator(8, (4, 4), layers=3, heads=2, feed_forward=16)
        >>> generator(torch.zeros(1, 8), [torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 4, 4)]).shape
        torch.Size([1, 4, 8])
    """

    def __init__(
        self,
        width: int,
        memory_channels: Sequence[int],
        layers: int = 6,
        heads: int = 8,
        feed_forward: int = 2048,
        hard: bool = False,
    ):
        super().__init__()
        if layers < 1 or not memory_channels:
            raise ValueError(
                f"CentreGenerator: layers={layers}, memory_channels={tuple(memory_channels)}; expected at least one "
                "layer and one map. Take a decoder that hands on its coarser maps, or layers=0."
            )
        self.memory_channels = tuple(memory_channels)
        read = self.memory_channels[:layers]
        memory_width = read[0] if len(set(read)) == 1 else width
        if memory_width % 4:
            raise ValueError(f"CentreGenerator: maps of {memory_width} channels; sine positions need a multiple of 4.")
        self.projections = None
        if len(set(read)) > 1:
            self.projections = nn.ModuleList(nn.Linear(channels, memory_width) for channels in read)
        self.level_embedding = nn.Parameter(0.02 * torch.randn(len(read), memory_width))
        self.query_position = nn.Parameter(0.02 * torch.randn(2 if hard else 1, width))
        self.background = nn.Parameter(torch.randn(1, 1, width)) if hard else None
        layer = HardGroupingLayer if hard else LookingLayer
        self.layers = nn.ModuleList(layer(width, memory_width, heads, feed_forward) for _ in range(layers))

    def forward(self, state: Tensor, memory: Sequence[Tensor]) -> Tensor:
        """See the class."""
        if tuple(m.shape[1] for m in memory) != self.memory_channels:
            raise ValueError(
                f"CentreGenerator: maps {[tuple(m.shape) for m in memory]}; expected {len(self.memory_channels)} with "
                f"{self.memory_channels} channels, coarse to fine."
            )
        values, keys = [], []
        for k, level in enumerate(self.level_embedding):
            pixels = memory[k].flatten(2).transpose(1, 2)
            if self.projections is not None:
                pixels = self.projections[k](pixels)
            values.append(pixels + level)
            keys.append(values[k] + sine_2d(tuple(memory[k].shape[-2:]), pixels.shape[-1], like=pixels))
        tokens = state[:, None]
        if self.background is not None:
            tokens = torch.cat([self.background.expand(len(state), -1, -1).to(state.dtype), tokens], dim=1)
        states = [state]
        for number, layer in enumerate(self.layers):
            k = number % len(values)
            tokens = layer(tokens, self.query_position, keys[k], values[k])
            states.append(tokens[:, -1])
        return torch.stack(states, dim=1)
