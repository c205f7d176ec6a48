"""Recomputation: of a block nothing is kept but what goes into it; the backward pass runs it again.

::

    forward    x1 ─ block ─ x2 ─ block ─ x3          kept: x1, x2, x3
    backward         x2 ─ block again, now with its inside ─ slopes ─►  and that inside is forgotten before x1's turn

It costs one more forward pass of the blocks, about a third of a step, and gives the same numbers: random numbers are
put back, so dropout draws the same mask, and a batch norm counts a batch once.

Source: Chen et al. 2016; the work is done by ``torch.utils.checkpoint``. That batch norms hold still while a block runs
again is ours: PyTorch would move their running statistics twice, and says so. The towers run blocks of other libraries
one by one, so those libraries' own switches, which sit in the models around the blocks, are not there to be turned.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint, noop_context_fn


def run_block(block: nn.Module, *inputs: Any, recompute: bool, **options: Any) -> Any:
    """Call a block; where asked for, so that it is computed again in the backward pass.

    Args:
        block: Any module.
        inputs: What it takes.
        recompute: Keep only the inputs. Without gradients, or in evaluation mode, nothing is kept anyway. A block
            without weights is called as it is: an activation may change its input in place, and then none is left.
        options: What it takes by name.

    Returns:
        What the block returns.

    Example:
        >>> block, x = nn.Sequential(nn.Linear(2, 2), nn.Dropout()), torch.ones(1, 2)
        >>> run_block(block, x, recompute=True).sum().backward()
        >>> block[0].weight.grad.shape
        torch.Size([2, 2])
    """
    has_weights = next(block.parameters(), None) is not None
    if not (recompute and has_weights and block.training and torch.is_grad_enabled()):
        return block(*inputs, **options)
    norms = [part for part in block.modules() if isinstance(part, _BatchNorm) and part.training]
    contexts = partial(_first_and_again, norms) if norms else noop_context_fn
    return checkpoint(block, *inputs, use_reentrant=False, context_fn=contexts, **options)


def run_blocks(blocks: nn.Sequential, x: Tensor, *, recompute: bool) -> Tensor:
    """Call blocks that stand behind one another, each as ``run_block`` does.

    Args:
        blocks: Each takes what the one before it returns.
        x: What the first takes.
        recompute: As for ``run_block``.

    Example:
        >>> run_blocks(nn.Sequential(nn.Identity(), nn.ReLU()), torch.tensor([-1.0, 2.0]), recompute=True)
        tensor([0., 2.])
    """
    if not recompute:
        return blocks(x)
    for block in blocks:
        x = run_block(block, x, recompute=True)
    return x


def _first_and_again(norms: list[_BatchNorm]) -> tuple[AbstractContextManager, AbstractContextManager]:
    return nullcontext(), _still(norms)


@contextmanager
def _still(norms: list[_BatchNorm]) -> Iterator[None]:
    """Batch norms take mean and variance of the batch, as they did, and their running ones stay where they are.

    With a momentum of 0 they keep the same tensors for the backward pass as the first time, which PyTorch insists on.
    """
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, before):
            norm.momentum, norm.num_batches_tracked = momentum, tracked
