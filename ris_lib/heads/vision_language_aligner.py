"""The vision-language aligner: queries become kernels, kernels become masks, scored masks become one.

::

    query generator ─► queries ─┬─ Linear ─► Nq dynamic kernels * finest ─► Nq masks ─┐
    (- query decoder -)         └─ estimator ───────────────────────────► Nq scores ──┴─► mask

Source, published (EAVL, Yan et al. 2023, abstract and captions): several queries from picture and sentence; each
becomes a convolution kernel and so a mask; a multi-query estimator scores the masks; they are aggregated. That the sum
is weighted by the scores is published for MMNet (Yan et al. 2023, by the same first author). Everything else is ours,
because EAVL's sections could not be read: one linear layer makes the kernel as in CRIS's released code (Wang et al.
2022), gates follow the query balance module of the Vision-Language Transformer (Ding et al. 2021), and softmax scores,
the scale of the kernels and the defaults are our decisions.

The trap: a convolution is linear in its kernel, so that the sum of masks is the mask of the summed kernel,

::

    sum_n s_n (w_n * F + b_n) = (sum_n s_n w_n) * F + sum_n s_n b_n

With ``mix="logit"`` many queries have the power of one kernel; with ``mix="prob"`` a sigmoid stands between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ris_lib.contract import Encoded, MaskOutput, PixelFeatures, check_word_mask
from ris_lib.heads.mixing import mix_logits, mix_probabilities
from ris_lib.heads.query_decoder import QueryDecoder
from ris_lib.heads.query_generator import QueryGenerator
from ris_lib.layers import at_least_float32

#: Share of the foreground that the kernels' bias alone stands for before training, as in ``FixedKernel``.
FOREGROUND = 0.03


def dynamic_masks(pixels: Tensor, kernels: Tensor, bias: Tensor) -> Tensor:
    """Convolve each sample with its own kernels, all samples in one grouped convolution.

    All channels of all samples stand side by side, batch-major, and so do the kernels, query-minor: group s holds the C
    channels and the Nq kernels of sample s. The other order gives plausible masks made from somebody else's words.

    Args:
        pixels: ``(S, C, h, w)``.
        kernels: ``(S, Nq, C, K, K)``, K odd.
        bias: ``(S, Nq)``.

    Returns:
        ``(S, Nq, h, w)``; beyond the border are zeros.

    Example:
        >>> kernels = torch.tensor([2.0, -1.0]).view(2, 1, 1, 1, 1)
        >>> dynamic_masks(torch.ones(2, 1, 1, 1), kernels, torch.zeros(2, 1)).flatten().tolist()
        [2.0, -1.0]
    """
    samples, _, height, width = pixels.shape
    masks = F.conv2d(
        pixels.reshape(1, -1, height, width),
        kernels.flatten(0, 1),
        bias.flatten(),
        padding=kernels.shape[-1] // 2,
        groups=samples,
    )
    return masks.reshape(samples, -1, height, width)


class ResponseGate(nn.Module):
    """Rate each query by itself and by what it answers to: the mean pixel under its mask.

    Args:
        width: Channels of the queries.
        channels: Channels of the pixels.
        start: The gate of every query, in (0, 1), that the last bias alone gives before training.

    Shape:
        queries ``(S, Nq, width)``, pixels ``(S, channels, h, w)``, query_logits ``(S, Nq, h, w)`` -> ``(S, Nq)`` before
        the sigmoid.

    Example:
        >>> gate = ResponseGate(8, 6)
        >>> gate(torch.zeros(2, 3, 8), torch.zeros(2, 6, 4, 4), torch.zeros(2, 3, 4, 4)).shape
        torch.Size([2, 3])
    """

    def __init__(self, width: int, channels: int, start: float = 0.5):
        super().__init__()
        self.query = nn.Linear(width, width)
        self.response = nn.Linear(channels, width)
        self.both = nn.Linear(2 * width, width)
        self.rate = nn.Linear(width, 1)
        nn.init.constant_(self.rate.bias, math.log(start / (1 - start)))

    def forward(self, queries: Tensor, pixels: Tensor, query_logits: Tensor) -> Tensor:
        """See the class."""
        # In logarithms, because the share of a pixel under a mask that is empty must not be 0 / 0.
        share = F.logsigmoid(at_least_float32(query_logits.flatten(2))).softmax(dim=-1)
        response = (share @ at_least_float32(pixels.flatten(2)).transpose(1, 2)).to(pixels.dtype)
        both = torch.cat([F.relu(self.query(queries)), F.relu(self.response(response))], dim=-1)
        return self.rate(F.relu(self.both(both))).squeeze(-1)


class VisionLanguageAligner(nn.Module):
    """Read the mask out with kernels that picture and sentence made.

    Args:
        channels: C, channels of ``PixelFeatures.finest``.
        word_dim: Channels of the words.
        sentence_dim: Channels of the sentence. Not used: the queries read the words.
        memory_channels: Channels of the coarser maps; read with ``decoder_mode="both"`` alone.
        context_channels: Channels of the map that the query generator reads.
        queries: Nq, the number of queries, kernels and masks.
        width: Channels of the queries.
        kernel: K, side of the kernels, odd; 3 as in CRIS's code.
        scores: ``"softmax"`` of a small network on each query (our default); ``"sigmoid"``, a gate for each query from
            the query and its response (see ``ResponseGate``); or ``"uniform"``, one over Nq for all: no estimator.
        mix: ``"logit"``, the sum of the masks before the sigmoid weighted by the scores, nearest to EAVL's wording; or
            ``"prob"``, the sum after the sigmoid, for which gates are first divided by their sum.
        decoder_mode: ``"pixels"``: queries become kernels as they are, and it is the decoder before this head that
            updates pixels. ``"queries"``: they first read the context map, which a decoder's last layers have not
            touched (leave those out for the pure form). ``"both"``: they first read the coarser maps that the decoder
            has updated. Which of these EAVL does is not known to us.
        decoder_layers: Layers of the last two modes.
        heads: Heads of these layers; must divide ``width``.
        norm: Norm of the generator's convolutions, ``"group"`` or ``"batch"``.

    Attributes:
        reads: What it reads beside ``finest``.

    Shape:
        ``finest (S, C, h, w)`` -> ``MaskOutput`` with ``logits (S, 1, h, w)``, ``query_logits (S, Nq, h, w)`` and
        ``centre (S, C)``, the middle of the mixed kernel: with K = 1 and ``mix="logit"`` its product with a pixel is
        the logit up to the bias. ``explain`` adds ``query_masks``, ``query_scores`` (the weights as they were used)
        and ``query_word_attention``.

    Raises:
        ValueError: An unknown option, an even kernel, no context map, no coarser map for ``"both"``; channels that do
            not fit; a sentence without a content word.

    Example:
        >>> words, index = torch.randn(2, 3, 6), torch.tensor([[-1, 0, 1]] * 2)
        >>> encoded = Encoded([], words, words[:, 0], torch.ones(2, 3, dtype=torch.bool), index, torch.tensor([0, 0]))
        >>> head = VisionLanguageAligner(8, 6, 6, (), 8, queries=4, width=16)
        >>> features = PixelFeatures(torch.zeros(2, 8, 12, 12), stride=4, context=torch.zeros(2, 8, 3, 3))
        >>> output = head(features, encoded)
        >>> output.query_logits.shape, round(output.logits[0, 0, 0, 0].sigmoid().item(), 4)
        (torch.Size([2, 4, 12, 12]), 0.03)
    """

    #: What this head makes of the sentence in ``MaskOutput``, beside the logits.
    fills: ClassVar[frozenset[str]] = frozenset({"centre", "query_logits"})

    def __init__(
        self,
        channels: int,
        word_dim: int,
        sentence_dim: int,
        memory_channels: Sequence[int],
        context_channels: int | None,
        queries: int = 16,
        width: int = 512,
        kernel: int = 3,
        scores: str = "softmax",
        mix: str = "logit",
        decoder_mode: str = "pixels",
        decoder_layers: int = 2,
        heads: int = 8,
        norm: str = "group",
    ):
        super().__init__()
        _check_option("scores", scores, ("softmax", "sigmoid", "uniform"))
        _check_option("mix", mix, ("logit", "prob"))
        _check_option("decoder_mode", decoder_mode, ("pixels", "queries", "both"))
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"VisionLanguageAligner: kernel={kernel}; expected an odd side, such as 1 or 3.")
        if context_channels is None:
            raise ValueError(
                "VisionLanguageAligner: the decoder gives no context map, from which the queries are made; take a "
                "decoder that does, such as 'top_down' or 'clip_neck'."
            )
        if decoder_mode == "both" and not memory_channels:
            raise ValueError(
                "VisionLanguageAligner: decoder_mode='both' reads the decoder's coarser maps, and it gives none; take "
                "another decoder or decoder_mode='queries'."
            )
        self.channels, self.mix, self.scores, self.decoder_mode = channels, mix, scores, decoder_mode
        self.reads = frozenset({"words", "context"} | ({"memory"} if decoder_mode == "both" else set()))
        self.generator = QueryGenerator(context_channels, word_dim, queries, width, norm)
        self.decoder = None
        if decoder_mode != "pixels":
            maps = memory_channels if decoder_mode == "both" else (context_channels,)
            self.decoder = QueryDecoder(width, maps, decoder_layers, heads)
        self.kernel_shape = (channels, kernel, kernel)
        self.kernels = nn.Linear(width, math.prod(self.kernel_shape) + 1)
        self.estimator, total = None, 1.0
        # The weight of a single query is one whatever its score, except for a gate that is not divided by its sum.
        if scores == "sigmoid" and (queries > 1 or mix == "logit"):
            gate = 1 / max(queries, 2)  # so that the gates sum to one like a softmax, where there are two or more
            self.estimator = ResponseGate(width, channels, gate)
            total = gate * queries
        elif scores == "softmax" and queries > 1:
            # No last bias: a softmax does not change with it.
            self.estimator = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1, bias=False))
        # The last output is the mask's bias: the same for all queries before training.
        with torch.no_grad():
            self.kernels.weight[-1].zero_()
            self.kernels.bias[-1] = math.log(FOREGROUND / (1 - FOREGROUND)) / total

    def forward(self, features: PixelFeatures, encoded: Encoded, explain: bool = False) -> MaskOutput:
        """See the class."""
        finest = features.finest
        check_word_mask(encoded.word_mask, encoded.words.shape[:2], "VisionLanguageAligner")
        if finest.dim() != 4 or finest.shape[:2] != (len(encoded.words), self.channels):
            raise ValueError(
                f"VisionLanguageAligner: finest has shape {tuple(finest.shape)}; expected (S, {self.channels}, h, w) "
                f"with S={len(encoded.words)} like the words."
            )
        content = encoded.word_mask & (encoded.word_index >= 0)
        queries, attention = self.generator(features.context, encoded.words, content, explain=explain)
        if self.decoder is not None:
            queries = self.decoder(queries, features.memory if self.decoder_mode == "both" else [features.context])
        kernels, bias = self._kernels(queries)
        query_logits = dynamic_masks(finest, kernels, bias)
        log_weights = self._log_weights(queries, finest, query_logits)
        weights = log_weights.exp()
        if self.mix == "logit":
            logits = mix_logits(query_logits, weights)
        else:
            logits = mix_probabilities(query_logits, log_weights)
        middle = kernels[..., self.kernel_shape[1] // 2, self.kernel_shape[2] // 2]
        centre = torch.einsum("sn,snc->sc", weights, at_least_float32(middle)).to(middle.dtype)
        output = MaskOutput(logits=logits, query_logits=query_logits, centre=centre)
        if explain:
            output.explanation = {
                "query_masks": query_logits.sigmoid(),
                "query_scores": weights,
                "query_word_attention": attention,
            }
        return output

    def _kernels(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Kernels ``(S, Nq, C, K, K)`` and biases ``(S, Nq)``.

        Without the factor, normalised queries give logits with a standard deviation of about sqrt(C K^2 / 3) on pixels
        of variance one, 28 for C = 256 and K = 3: every pixel would be decided before the first step.
        """
        made = self.kernels(queries)
        kernels = made[..., :-1] * math.prod(self.kernel_shape) ** -0.5
        return kernels.unflatten(-1, self.kernel_shape), made[..., -1]

    def _log_weights(self, queries: Tensor, finest: Tensor, query_logits: Tensor) -> Tensor:
        """Logarithm of each mask's weight in the sum, ``(S, Nq)`` float32."""
        if self.estimator is None:
            likes = at_least_float32(query_logits)
            return likes.new_full(likes.shape[:2], -math.log(likes.shape[1]))
        if self.scores == "softmax":
            return at_least_float32(self.estimator(queries).squeeze(-1)).log_softmax(dim=-1)
        gates = F.logsigmoid(at_least_float32(self.estimator(queries, finest, query_logits)))
        return gates.log_softmax(dim=-1) if self.mix == "prob" else gates


def _check_option(name: str, value: str, known: Sequence[str]) -> None:
    """Refuse an unknown choice."""
    if value not in known:
        raise ValueError(f"VisionLanguageAligner: {name}={value!r}; expected one of {', '.join(map(repr, known))}.")
