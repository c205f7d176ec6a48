"""The fixed kernel: one learned 1x1 convolution reads the mask out, the same for every picture and sentence.

Source: the read-out of LAVT (Yang et al. 2022) and of most networks before the dynamic kernels of CRIS and EAVL; two
classes as in LAVT's released code, one class is our default.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from ris_lib.contract import Encoded, MaskOutput, PixelFeatures


class FixedKernel(nn.Module):
    """Read the mask logit of each pixel with one fixed kernel.

    Args:
        channels: Channels of ``PixelFeatures.finest``.
        word_dim: Channels of the words. Not used: this head does not listen.
        sentence_dim: Channels of the sentence. Not used.
        memory_channels: Channels of the coarser maps. Not used.
        context_channels: Channels of the context map. Not used.
        classes: 1, or 2 for background and foreground as in LAVT: the logit is then foreground minus background, and
            ``class_logits`` keeps both.
        foreground: Probability, in (0, 1), that the bias alone gives a pixel before training (the random kernel adds
            its own share). A head that starts at one half would spend its first hundred steps on learning that most
            pixels are background.

    Shape:
        ``finest (S, channels, h, w)`` -> ``MaskOutput`` with ``logits (S, 1, h, w)``, ``centre (S, channels)`` (the
        kernel, the same for all sentences) and, with two classes, ``class_logits (S, 2, h, w)``.

    Raises:
        ValueError: ``classes`` is neither 1 nor 2, or ``foreground`` is not between 0 and 1.

    Example:
        >>> words, index = torch.zeros(1, 3, 6), torch.tensor([[0, 1, 2]])
        >>> encoded = Encoded([], words, words[:, 0], index >= 0, index, torch.tensor([0]))
        >>> head = FixedKernel(8, 6, 6, (), None, foreground=0.5)
        >>> head(PixelFeatures(torch.zeros(1, 8, 2, 2), stride=4), encoded).logits.flatten().tolist()
        [0.0, 0.0, 0.0, 0.0]
    """

    #: What this head makes of the sentence in ``MaskOutput``, beside the logits; objectives are checked against it.
    #: (Its ``centre`` is the same for all sentences.)
    fills: ClassVar[frozenset[str]] = frozenset()
    #: What it reads beside ``PixelFeatures.finest``.
    reads: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        channels: int,
        word_dim: int,
        sentence_dim: int,
        memory_channels: Sequence[int],
        context_channels: int | None,
        classes: int = 1,
        foreground: float = 0.03,
    ):
        super().__init__()
        if classes not in (1, 2):
            raise ValueError(f"FixedKernel: classes={classes}; expected 1 (mask) or 2 (background, foreground).")
        if not 0 < foreground < 1:
            raise ValueError(f"FixedKernel: foreground={foreground}; expected a share between 0 and 1.")
        self.kernel = nn.Conv2d(channels, classes, 1)
        odds = math.log(foreground / (1 - foreground))
        with torch.no_grad():
            self.kernel.get_parameter("bias").copy_(torch.tensor([odds] if classes == 1 else [-odds / 2, odds / 2]))

    def forward(self, features: PixelFeatures, encoded: Encoded, explain: bool = False) -> MaskOutput:
        """See the class. A fixed kernel has nothing to explain."""
        read = self.kernel(features.finest)
        kernel = self.kernel.weight.flatten(1)
        if len(kernel) == 1:
            return MaskOutput(logits=read, centre=kernel.expand(len(read), -1))
        centre = (kernel[1] - kernel[0]).expand(len(read), -1)
        return MaskOutput(logits=read[:, 1:] - read[:, :1], centre=centre, class_logits=read)
