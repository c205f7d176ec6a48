"""From named loss terms to one number that N processes compute as one process would.

A term is a sum and a count. Dividing by the process's own count would weigh a sentence of a small batch more than one
of a large batch; so the counts of all processes are added first. Distributed training averages gradients over
processes, which the factor ``world`` undoes::

    (1 / world) * sum over processes of  world * sum_r / count   =   (sum over processes of sum_r) / count

Source: our decision; the averaging is PyTorch's DistributedDataParallel.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from ris_lib.contract import LossTerm


def normalise(terms: dict[str, LossTerm]) -> dict[str, Tensor]:
    """Divide each sum by the count over all processes.

    Every process must call this with the same names: it waits for the others.

    Args:
        terms: Loss terms by name; each sum and count a scalar tensor.

    Returns:
        Scalars by name. The mean of a value over the processes is the loss of the whole batch. A count of zero in all
        processes gives zero.

    Example:
        >>> normalise({"bce": LossTerm(torch.tensor(6.0), torch.tensor(4.0))})
        {'bce': tensor(1.5000)}
        >>> normalise({"pairs": LossTerm(torch.tensor(0.0), torch.tensor(0.0))})
        {'pairs': tensor(0.)}
    """
    counts = torch.stack([term.count.detach().float() for term in terms.values()])
    world = 1
    if dist.is_available() and dist.is_initialized():
        world = dist.get_world_size()
        dist.all_reduce(counts)
    return {
        name: term.sum * (world / count) if count > 0 else term.sum * 0.0
        for (name, term), count in zip(terms.items(), counts)
    }
