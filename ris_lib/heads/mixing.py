"""Several masks become one: the mixture of probabilities, in a form that never takes the logarithm of zero.

::

    p = sum_n w_n sigmoid(Y_n),    1 - p = sum_n w_n sigmoid(-Y_n)    (because the weights sum to one)

so that log p and log(1 - p) are log-sum-exps, and the logit of the mixture is their difference. Mixing the *logits*
instead, sum_n w_n Y_n, would be one linear map of the pixels again: N kernels with the power of one.

Source: our decision, for CoupAlign's sentence-mask alignment and EAVL's aligner alike; neither paper's formula could be
read.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ris_lib.layers import at_least_float32


def mix_logits(query_logits: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum of the masks before the sigmoid.

    Args:
        query_logits: ``(S, N, h, w)``.
        weights: ``(S, N)``.

    Returns:
        ``(S, 1, h, w)``.

    Example:
        >>> mix_logits(torch.tensor([[[[2.0]], [[-4.0]]]]), torch.tensor([[0.5, 0.5]])).item()
        -1.0
    """
    return torch.einsum("snhw,sn->shw", query_logits, weights)[:, None]


def mix_probabilities(query_logits: Tensor, log_weights: Tensor) -> Tensor:
    """The logit of the weighted sum of the masks after the sigmoid.

    Args:
        query_logits: ``(S, N, h, w)`` before the sigmoid.
        log_weights: ``(S, N)`` logarithms of weights that sum to one over N.

    Returns:
        ``(S, 1, h, w)`` float32.

    Example:
        >>> mixed = mix_probabilities(torch.tensor([[[[50.0]], [[-50.0]]]]), torch.tensor([[0.8, 0.2]]).log())
        >>> round(mixed.sigmoid().item(), 4)
        0.8
    """
    logits, log_weights = at_least_float32(query_logits), at_least_float32(log_weights)[..., None, None]
    yes = torch.logsumexp(log_weights + F.logsigmoid(logits), dim=1, keepdim=True)
    no = torch.logsumexp(log_weights + F.logsigmoid(-logits), dim=1, keepdim=True)
    return yes - no
