"""One query that looks where its last mask was: Mask2Former's masked attention with a single query, as in MagNet.

::

    query_0 ─► mask_0 ─┐
       │               ▼ read the pixels of mask_0 only      query_1 ─► mask_1 ─► ... ─► query_n ─► mask_n = logits
       └────────► cross-attention, own value, feed-forward ────┘

Source: Mask2Former (Cheng et al. 2022), section 3.2, as the released code of MagNet uses it: one learned query for all
sentences (the words are in the pixels by then), nine layers that read the strides 32, 16, 8 in turn. What cannot reach
the output there is not built here: the class head (its softmax runs over one query), and query and key of the
self-attention (over one element it is a linear map of that element's value).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ris_lib.attention import MultiHeadAttention
from ris_lib.contract import Encoded, MaskOutput, PixelFeatures
from ris_lib.layers import at_least_float32
from ris_lib.positions import sine_2d


def attended(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Which cells of a map a query may read: those where its last mask says foreground.

    Args:
        logits: ``(S, 1, H, W)`` of the last prediction.
        size: ``(h, w)`` of the map.

    Returns:
        ``(S, h * w)`` bool: True where the logit, resized bilinearly, is at least 0 (a probability of one half). A row
        without any such cell is True everywhere, for an empty softmax has no value.

    Example:
        >>> attended(torch.tensor([[[[1.0, -1.0]]], [[[-1.0, -1.0]]]]), (1, 2)).tolist()
        [[True, False], [True, True]]
    """
    resized = F.interpolate(at_least_float32(logits.detach()), size=size, mode="bilinear", align_corners=False)
    inside = resized.flatten(1) >= 0
    return inside | ~inside.any(dim=1, keepdim=True)


class MaskedQueryLayer(nn.Module):
    """Masked cross-attention, the query's own value, a feed-forward network; each added, then normalised."""

    def __init__(self, width: int, heads: int, feed_forward: int):
        super().__init__()
        self.attention = MultiHeadAttention(width, heads=heads)
        self.attention_norm = nn.LayerNorm(width)
        self.own_value = nn.Linear(width, width)
        self.own_out = nn.Linear(width, width)
        self.own_norm = nn.LayerNorm(width)
        self.forward_net = nn.Sequential(nn.Linear(width, feed_forward), nn.ReLU(), nn.Linear(feed_forward, width))
        self.forward_norm = nn.LayerNorm(width)

    def forward(self, query: Tensor, located: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """query, and with its position, ``(S, width)``; keys and values ``(S, N, width)``; mask ``(S, N)``."""
        mixed, _ = self.attention(located[:, None], keys, values, mask=mask)
        query = self.attention_norm(query + mixed[:, 0])
        query = self.own_norm(query + self.own_out(self.own_value(query)))
        return self.forward_norm(query + self.forward_net(query))


class MaskedQuery(nn.Module):
    """Refine one learned query layer by layer; after each, its product with the pixels is the mask.

    Layer k reads memory map k, coarse to fine, beginning anew when there are fewer maps than layers, and of it only the
    cells inside the last mask (``attended``).

    Args:
        channels: Channels of ``PixelFeatures.finest``, to which the query is projected.
        word_dim: Channels of the words. Not used: the words are in the pixels by now.
        sentence_dim: Channels of the sentence. Not used.
        memory_channels: Channels of the coarser maps, coarse to fine; at least one map. Those that are not of ``width``
            channels are projected.
        context_channels: Channels of the context map. Not used.
        layers: Number of layers, at least 1; 9 as in MagNet's code.
        heads: Heads of the attention; must divide ``width``.
        feed_forward: Hidden channels of a layer's feed-forward network.
        width: Channels of the query, a multiple of 4.
        foreground: Probability, in (0, 1), that a bias, which each query makes beside its kernel, gives a pixel before
            training; see ``FixedKernel``. None: no bias, as in MagNet's code.

    Shape:
        ``finest (S, channels, h, w)``, ``memory`` -> ``MaskOutput`` with ``logits (S, 1, h, w)``, ``aux_logits``: the
        predictions of the initial query and of all layers but the last, and ``centre (S, channels)``, the kernel of the
        last: ``logits`` is its product with every pixel, plus the bias where there is one. With ``explain``:
        ``centre_states (S, layers + 1, channels)`` and ``query_masks (S, layers + 1, h, w)``, the one query after each
        step.

    Raises:
        ValueError: ``memory_channels`` is empty, ``layers``, ``width`` or ``foreground`` is out of range, or maps of
            other channels or another number come.

    Example:
        >>> head = MaskedQuery(8, 6, 6, memory_channels=(12, 8), context_channels=None, layers=3, heads=2, width=16)
        >>> words, index = torch.zeros(1, 3, 6), torch.tensor([[0, 1, 2]])
        >>> encoded = Encoded([], words, words[:, 0], index >= 0, index, torch.tensor([0]))
        >>> memory = [torch.zeros(1, 12, 2, 2), torch.zeros(1, 8, 4, 4)]
        >>> output = head(PixelFeatures(torch.zeros(1, 8, 8, 8), stride=4, memory=memory), encoded)
        >>> output.logits.shape, len(output.aux_logits), output.centre.shape
        (torch.Size([1, 1, 8, 8]), 3, torch.Size([1, 8]))
    """

    #: What this head makes of the sentence in ``MaskOutput``, beside the logits; objectives are checked against it.
    fills: ClassVar[frozenset[str]] = frozenset({"centre", "aux_logits"})
    #: What it reads beside ``PixelFeatures.finest``.
    reads: ClassVar[frozenset[str]] = frozenset({"memory"})

    def __init__(
        self,
        channels: int,
        word_dim: int,
        sentence_dim: int,
        memory_channels: Sequence[int],
        context_channels: int | None,
        layers: int = 9,
        heads: int = 8,
        feed_forward: int = 2048,
        width: int = 256,
        foreground: float | None = None,
    ):
        super().__init__()
        if foreground is not None and not 0 < foreground < 1:
            raise ValueError(f"MaskedQuery: foreground={foreground}; expected a probability in (0, 1), or None.")
        if not memory_channels:
            raise ValueError("MaskedQuery: memory_channels is empty; take a decoder that keeps its coarser maps.")
        if layers < 1:
            raise ValueError(f"MaskedQuery: layers={layers}; expected at least 1.")
        if width % 4:
            raise ValueError(f"MaskedQuery: width={width}; expected a multiple of 4.")
        self.memory_channels = tuple(memory_channels)
        read = self.memory_channels[:layers]  # with fewer layers than maps the finer maps are not read
        self.query = nn.Parameter(torch.randn(1, width))
        self.position = nn.Parameter(torch.randn(1, width))
        self.level = nn.Parameter(torch.randn(len(read), width))
        self.project = nn.ModuleList(nn.Identity() if c == width else nn.Conv2d(c, width, 1) for c in read)
        self.layers = nn.ModuleList(MaskedQueryLayer(width, heads, feed_forward) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        made = channels if foreground is None else channels + 1
        self.kernel = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, made)
        )
        if foreground is not None:
            nn.init.constant_(self.kernel[-1].get_parameter("bias")[-1:], math.log(foreground / (1 - foreground)))
        self.channels = channels

    def forward(self, features: PixelFeatures, encoded: Encoded, explain: bool = False) -> MaskOutput:
        """See the class."""
        self._check(features)
        memory = [self._tokens(k, features.memory[k]) for k in range(len(self.project))]
        query = self.query.repeat(len(features.finest), 1)
        kernels, predictions = [], []
        for layer in (None, *self.layers):
            if layer is not None:
                k = (len(kernels) - 1) % len(memory)
                keys, values, size = memory[k]
                query = layer(query, query + self.position, keys, values, attended(predictions[-1], size))
            kernel, bias = self.kernel(self.norm(query)).tensor_split([self.channels], dim=1)
            mask = torch.einsum("sc,schw->shw", kernel, features.finest)[:, None]
            kernels.append(kernel)
            predictions.append(mask if bias.numel() == 0 else mask + bias[..., None, None])
        output = MaskOutput(logits=predictions[-1], aux_logits=predictions[:-1], centre=kernels[-1])
        if explain:
            output.explanation["centre_states"] = torch.stack(kernels, dim=1)
            output.explanation["query_masks"] = torch.cat(predictions, dim=1).sigmoid()
        return output

    def _tokens(self, k: int, feature_map: Tensor) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Keys and values ``(S, N, width)`` of a map, and its size: the place is in the keys alone."""
        size = (feature_map.shape[2], feature_map.shape[3])
        values = self.project[k](feature_map).flatten(2).transpose(1, 2) + self.level[k]
        return values + sine_2d(size, values.shape[2], values), values, size

    def _check(self, features: PixelFeatures) -> None:
        memory = tuple(m.shape[1] for m in features.memory)
        if memory != self.memory_channels:
            raise ValueError(f"MaskedQuery: memory has {memory} channels; expected {self.memory_channels}.")
        if features.finest.shape[1] != self.channels:
            raise ValueError(f"MaskedQuery: finest {tuple(features.finest.shape)}; expected {self.channels} channels.")


__all__ = ["MaskedQuery", "MaskedQueryLayer", "attended"]
