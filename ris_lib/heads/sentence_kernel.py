"""The sentence kernel: the sentence itself becomes the convolution that reads the mask out.

::

    [w; b] = W F_s + c,    Y = w * F_p / sqrt(C K^2) + b

A fixed kernel asks every picture the same question; here each sentence asks its own.

Source: the projector of CRIS (Wang et al. 2022) and of its released code, which has no scale. The division by
sqrt(C K^2) is our decision: without it an untrained head gives logits with a standard deviation of about
sqrt(C K^2 / 3), 28 for C = 256 and K = 3, saturated from the first step. So is the bias that starts at the share of the
foreground.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ris_lib.contract import Encoded, MaskOutput, PixelFeatures


def convolve_each(feature_map: Tensor, kernels: Tensor, biases: Tensor) -> Tensor:
    """Convolve each sample with kernels of its own, in one grouped convolution.

    The batch is folded into the channels, batch-major: group s holds the channels of sample s and its Q kernels. (The
    other order gives plausible, wrong masks.)

    Args:
        feature_map: ``(S, C, h, w)``.
        kernels: ``(S, Q, C, K, K)``, K odd.
        biases: ``(S, Q)``.

    Returns:
        ``(S, Q, h, w)``.

    Example:
        >>> maps, kernels = torch.ones(2, 1, 1, 2), torch.tensor([2.0, 3.0]).view(2, 1, 1, 1, 1)
        >>> convolve_each(maps, kernels, torch.zeros(2, 1)).flatten(1).tolist()
        [[2.0, 2.0], [3.0, 3.0]]
    """
    samples, queries, _, kernel, _ = kernels.shape
    folded = F.conv2d(
        feature_map.reshape(1, -1, *feature_map.shape[-2:]),
        kernels.flatten(0, 1),
        biases.flatten(),
        padding=kernel // 2,
        groups=samples,
    )
    return folded.view(samples, queries, *folded.shape[-2:])


class SentenceKernel(nn.Module):
    """Read the mask out with a kernel and a bias that the sentence makes.

    Args:
        channels: Channels of ``PixelFeatures.finest``, C.
        word_dim: Channels of the words. Not used: this head listens to the sentence as a whole.
        sentence_dim: Channels of the sentence.
        memory_channels: Channels of the coarser maps. Not used.
        context_channels: Channels of the context map. Not used.
        kernel: Side of the kernel, K, odd; the map keeps its size.
        scaled: Divide the kernel by sqrt(C K^2). False as in CRIS, for its checkpoints.
        foreground: Probability, in (0, 1), at which the bias starts; the sentence moves it.

    Shape:
        ``finest (S, C, h, w)`` and ``sentence (S, sentence_dim)`` -> ``MaskOutput`` with ``logits (S, 1, h, w)`` and
        ``centre (S, C)``: the middle tap of the kernel, after its scale, which is what a pixel itself contributes to
        its own logit (for K = 1: ``logits = centre . pixel + bias``).

    Raises:
        ValueError: An even or negative ``kernel``, or a ``foreground`` out of range; in ``forward`` a sentence or map
            of other sizes than declared.

    Example:
        >>> words, index = torch.zeros(2, 3, 6), torch.tensor([[0, 1, 2]] * 2)
        >>> encoded = Encoded([], words, torch.zeros(2, 4), index >= 0, index, torch.tensor([0, 1]))
        >>> output = SentenceKernel(8, 6, 4, (), None)(PixelFeatures(torch.zeros(2, 8, 5, 5), stride=4), encoded)
        >>> output.logits.shape, output.centre.shape
        (torch.Size([2, 1, 5, 5]), torch.Size([2, 8]))
    """

    #: What this head makes of the sentence in ``MaskOutput``, beside the logits.
    fills: ClassVar[frozenset[str]] = frozenset({"centre"})
    #: What it reads beside ``PixelFeatures.finest``.
    reads: ClassVar[frozenset[str]] = frozenset({"sentence"})

    def __init__(
        self,
        channels: int,
        word_dim: int,
        sentence_dim: int,
        memory_channels: Sequence[int],
        context_channels: int | None,
        kernel: int = 3,
        scaled: bool = True,
        foreground: float = 0.03,
    ):
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"SentenceKernel: kernel={kernel}; expected an odd number, so that it has a middle.")
        if not 0 < foreground < 1:
            raise ValueError(f"SentenceKernel: foreground={foreground}; expected a share between 0 and 1.")
        self.channels, self.sentence_dim, self.kernel = channels, sentence_dim, kernel
        self.scale = (channels * kernel**2) ** -0.5 if scaled else 1.0
        self.make_kernel = nn.Linear(sentence_dim, channels * kernel**2 + 1)
        with torch.no_grad():
            self.make_kernel.bias[-1] = math.log(foreground / (1 - foreground))

    def forward(self, features: PixelFeatures, encoded: Encoded, explain: bool = False) -> MaskOutput:
        """See the class. There is one mask and one kernel: nothing more to explain."""
        finest, sentence = features.finest, encoded.sentence
        if finest.shape[1] != self.channels or tuple(sentence.shape) != (len(finest), self.sentence_dim):
            raise ValueError(
                f"SentenceKernel: pixel features {tuple(finest.shape)} and sentence {tuple(sentence.shape)}; expected "
                f"(S, {self.channels}, h, w) and (S, {self.sentence_dim}) with one S."
            )
        made = self.make_kernel(sentence)
        weight = (made[:, :-1] * self.scale).unflatten(1, (1, self.channels, self.kernel, self.kernel))
        middle = self.kernel // 2
        return MaskOutput(
            logits=convolve_each(finest, weight, made[:, -1:]),
            centre=weight[:, 0, :, middle, middle],
        )
