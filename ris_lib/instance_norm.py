"""Instance norm over the positions of a map: LAVT, MagNet and LGFormer use it where words meet pixels.

Source: Ulyanov et al. 2016; that it stands before and behind the attention is LAVT's (Yang et al. 2022).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ris_lib.layers import at_least_float32


def check_positions(part: str, x: Tensor, mend: str) -> None:
    """Refuse a single position where values are normalised over positions: nothing would be left of it.

    Args:
        part: Name of the block that asks, for the message.
        x: ``(S, n, C)``.
        mend: What to do about it, for the message.

    Raises:
        ValueError: n is 1.

    Example:
        >>> import torch
        >>> check_positions("PWAM", torch.zeros(1, 2, 8), "use a larger image")
    """
    if x.shape[1] < 2:
        raise ValueError(
            f"{part}: instance norm over a single position, shape {tuple(x.shape)}, leaves nothing of it; {mend}."
        )


class InstanceNorm(nn.Module):
    """Each channel of each sample gets mean 0 and variance 1 over its positions; nothing is learned.

    Unlike ``torch.nn.InstanceNorm1d`` it takes positions before channels, and computes in float32 at least.

    Args:
        part: Name of the block, for the message.
        mend: What to do about a single position, for the message.
        eps: Added to the variance.

    Shape:
        ``(S, n, C)`` -> ``(S, n, C)``.

    Raises:
        ValueError: A single position: its value is its mean, and nothing would be left of it.

    Example:
        >>> import torch
        >>> InstanceNorm("PWAM", "use a larger image")(torch.tensor([[[1.0], [3.0]]])).flatten().round().tolist()
        [-1.0, 1.0]
    """

    def __init__(self, part: str, mend: str, eps: float = 1e-5):
        super().__init__()
        self.part, self.mend, self.eps = part, mend, eps

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        check_positions(self.part, x, self.mend)
        return F.instance_norm(at_least_float32(x).transpose(1, 2), eps=self.eps).transpose(1, 2).to(x.dtype)
