"""The centre embedding: the sentence becomes one point among the pixels, and the mask is the group around it.

::

    words ─ mean ─► state 0 ─► generator: look at the picture, layer by layer ─► states 0 .. n
                                       each state ─ shared MLP ─► centre c and bias b
                                       mask logits  Y(x) = <c, pixel x> + b

Source: that the linguistic feature is a centre embedding around which pixels are grouped is published for AlignFormer
(abstract). How the centre is made and compared is our decision and follows LGFormer's released code, where the same
thing is called a dynamic kernel; grouping by cosine is ours, grouping by hard assignment follows GroupViT and CGFormer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ris_lib.contract import Encoded, MaskOutput, PixelFeatures, check_word_mask
from ris_lib.heads.centre_generator import CentreGenerator
from ris_lib.layers import at_least_float32, masked_mean

GROUPINGS = ("dot", "cosine", "hard")
TOKENS = ("all", "content")


class CentreEmbedding(nn.Module):
    """Make a centre of the words, refine it by looking at the picture, and group the pixels around it.

    Args:
        channels: Channels of ``PixelFeatures.finest``.
        word_dim: Channels of the words.
        sentence_dim: Channels of the sentence. Not used: this head pools the words itself.
        memory_channels: Channels of the coarser maps, coarse to fine.
        context_channels: Channels of the context map. Not used.
        layers: Refining layers; layer l reads memory map l modulo their number. 0: the pooled words alone make the
            centre, which then never sees the picture.
        heads: Heads of each layer.
        width: Channels of the state; None = ``word_dim``.
        feed_forward: Width of the layers' feed-forward networks.
        grouping: ``"dot"``: ``<c, p> + b``, as in LGFormer. ``"cosine"``: ``(cos(c, p) - delta) / tau`` with learned
            delta and tau, which start at 0 and 0.1; no bias. ``"hard"``: as dot, but the layers assign every pixel of
            the memory to a background token or to the referent (see ``HardGroupingLayer``).
        tokens: Which words are averaged: ``"all"`` real tokens with the special ones, as in LGFormer, or the
            ``"content"`` words only.
        foreground: Probability, in (0, 1), that the bias gives a pixel before training; see ``FixedKernel``.

    Attributes:
        fills: ``centre``, and ``aux_logits`` where there are layers: the logits of all states but the last.
        reads: ``words``, and ``memory`` where there are layers.

    Shape:
        ``finest (S, channels, h, w)`` -> ``MaskOutput`` with ``logits (S, 1, h, w)``, ``layers`` times ``aux_logits``
        of the same shape (state 0 first) and ``centre (S, channels)``, the last one, not normalised.

    Raises:
        ValueError: An unknown grouping or choice of tokens, no memory to look at, hard grouping without layers, a bad
            word mask, other channels, or a sentence without content words where these are averaged.

    Example:
        >>> head = CentreEmbedding(8, 6, 6, (4,), None, layers=2, heads=2, feed_forward=16)
        >>> words, index = torch.zeros(1, 3, 6), torch.tensor([[0, 1, 2]])
        >>> encoded = Encoded([], words, words[:, 0], index >= 0, index, torch.tensor([0]))
        >>> features = PixelFeatures(torch.zeros(1, 8, 4, 4), stride=4, memory=[torch.zeros(1, 4, 2, 2)])
        >>> output = head(features, encoded)
        >>> output.logits.shape, len(output.aux_logits), output.centre.shape
        (torch.Size([1, 1, 4, 4]), 2, torch.Size([1, 8]))
    """

    fills: frozenset[str]
    reads: frozenset[str]

    def __init__(
        self,
        channels: int,
        word_dim: int,
        sentence_dim: int,
        memory_channels: Sequence[int],
        context_channels: int | None,
        layers: int = 6,
        heads: int = 8,
        width: int | None = None,
        feed_forward: int = 2048,
        grouping: str = "dot",
        tokens: str = "all",
        foreground: float = 0.03,
    ):
        super().__init__()
        if grouping not in GROUPINGS or tokens not in TOKENS:
            raise ValueError(
                f"CentreEmbedding: grouping={grouping!r}, tokens={tokens!r}; expected one of {GROUPINGS} and one of "
                f"{TOKENS}."
            )
        if not 0 < foreground < 1:
            raise ValueError(f"CentreEmbedding: foreground={foreground}; expected a share between 0 and 1.")
        if layers < 0 or (layers == 0 and grouping == "hard"):
            raise ValueError(
                f"CentreEmbedding: layers={layers} with grouping={grouping!r}; hard grouping needs layers."
            )
        if layers and not memory_channels:
            raise ValueError(
                f"CentreEmbedding: layers={layers} need memory maps to look at, and this decoder has none; set "
                "layers=0, or take a decoder that hands on its coarser maps."
            )
        width = word_dim if width is None else width
        self.channels, self.word_dim, self.grouping, self.tokens = channels, word_dim, grouping, tokens
        self.fills = frozenset({"centre", "aux_logits"} if layers else {"centre"})
        self.reads = frozenset({"words", "memory"} if layers else {"words"})
        self.start = nn.Linear(word_dim, width)
        self.generator = None
        if layers:
            self.generator = CentreGenerator(width, memory_channels, layers, heads, feed_forward, grouping == "hard")
        outputs = channels if grouping == "cosine" else channels + 1
        self.read_out = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
        )
        bias = self.read_out[-1].get_parameter("bias")
        nn.init.zeros_(bias)
        self.delta = self.log_tau = None
        if grouping == "cosine":
            self.delta = nn.Parameter(torch.zeros(()))
            self.log_tau = nn.Parameter(torch.tensor(math.log(0.1)))
        else:
            with torch.no_grad():
                bias[-1] = math.log(foreground / (1 - foreground))

    def forward(self, features: PixelFeatures, encoded: Encoded, explain: bool = False) -> MaskOutput:
        """See the class. ``explain`` adds ``centre_states (S, layers + 1, channels)``, the centres of all states."""
        self._check(features, encoded)
        state = self.start(masked_mean(encoded.words, self._counted(encoded)))
        states = state[:, None] if self.generator is None else self.generator(state, features.memory)
        read = self.read_out(states)
        centres = read[..., : self.channels]
        if self.delta is not None and self.log_tau is not None:
            logits = self._cosine(centres, features.finest, self.delta, self.log_tau)
        else:
            logits = torch.einsum("skc,schw->skhw", centres, features.finest) + read[..., -1:, None]
        *aux, last = logits.split(1, dim=1)
        return MaskOutput(
            logits=last,
            aux_logits=aux,
            centre=centres[:, -1],
            explanation={"centre_states": centres} if explain else {},
        )

    @staticmethod
    def _cosine(centres: Tensor, pixels: Tensor, delta: Tensor, log_tau: Tensor) -> Tensor:
        """Copies are normalised: whoever reads ``finest`` or ``centre`` later still finds their norms."""
        with torch.autocast(pixels.device.type, enabled=False):
            centres = F.normalize(at_least_float32(centres), dim=-1)
            pixels = F.normalize(at_least_float32(pixels), dim=1)
            return (torch.einsum("skc,schw->skhw", centres, pixels) - delta) * torch.exp(-log_tau)

    def _counted(self, encoded: Encoded) -> Tensor:
        """Which tokens are averaged, ``(S, L)`` bool."""
        if self.tokens == "all":
            return encoded.word_mask
        counted = encoded.word_mask & (encoded.word_index >= 0)
        if not bool(counted.any(dim=1).all()):
            raise ValueError(
                "CentreEmbedding: a sentence has only special tokens, and tokens='content' leaves these out; give it a "
                "word, or take tokens='all'."
            )
        return counted

    def _check(self, features: PixelFeatures, encoded: Encoded) -> None:
        check_word_mask(encoded.word_mask, encoded.words.shape[:2], "CentreEmbedding")
        came = features.finest.shape[1], encoded.words.shape[2]
        if came != (self.channels, self.word_dim) or len(features.finest) != len(encoded.words):
            raise ValueError(
                f"CentreEmbedding: finest {tuple(features.finest.shape)}, words {tuple(encoded.words.shape)}; expected "
                f"{self.channels} and {self.word_dim} channels, and as many maps as sentences."
            )
