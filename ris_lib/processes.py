"""What the processes of one training must know of one another: whose rows stand where, and the rows themselves.

A loss that compares samples with one another finds fewer strangers in a part of a batch than in the whole. So the rows
of all processes are put behind one another, in the order of the processes, and gradients flow back to whoever computed
a row::

    process 0   a a a 0 0 ┐                                  the sum of the gradients that all processes have for
    process 1   0 0 0 b b ┴─ sum ─► a a a b b, everywhere     a row  ◄─ sum ─ backward pass

Zeros and a sum, because processes have different numbers of rows, and because this works with every backend of
``torch.distributed``. One process gets back what it gave, the same tensor.

Source: our decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx


class Place(NamedTuple):
    """Where the rows of this process stand among those of all.

    Args:
        before: Rows of the processes before this one.
        count: Rows of this process.
        total: Rows of all processes.
    """

    before: int
    count: int
    total: int

    @property
    def own(self) -> slice:
        """The rows of this process in a gathered tensor."""
        return slice(self.before, self.before + self.count)


def process_count() -> int:
    """Number of processes that train together; 1 where nobody has started several.

    Example:
        >>> process_count()
        1
    """
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def places(counts: Sequence[int], device: torch.device) -> list[Place]:
    """Where rows stand, for several kinds of rows at once. Every process must call this: it waits for the others.

    Args:
        counts: How many rows of each kind this process has; the kinds are the same in all processes.
        device: Where the processes' backend works: that of the rows.

    Example:
        >>> places([3, 2], torch.device("cpu"))
        [Place(before=0, count=3, total=3), Place(before=0, count=2, total=2)]
    """
    world = process_count()
    if world == 1:
        return [Place(0, count, count) for count in counts]
    rank = dist.get_rank()
    table = torch.zeros(world, len(counts), dtype=torch.long, device=device)
    table[rank] = torch.tensor(counts, device=device)
    dist.all_reduce(table)
    before, total = table[:rank].sum(dim=0).tolist(), table.sum(dim=0).tolist()
    return [Place(*numbers) for numbers in zip(before, counts, total)]


def gather_rows(x: Tensor, place: Place) -> Tensor:
    """The rows of all processes, in their order. Every process must call this: it waits for the others.

    Args:
        x: ``(place.count, ...)``, any numbers but booleans; the same sizes behind the first in all processes.
        place: What ``places`` said.

    Returns:
        ``(place.total, ...)``. A gradient with respect to it becomes one with respect to ``x``: the sum over processes
        of what each has for these rows.

    Example:
        >>> x = torch.eye(2)
        >>> gather_rows(x, Place(0, 2, 2)) is x
        True
    """
    if place.total == place.count and process_count() == 1:
        return x
    after = place.total - place.before - place.count
    return _SumOverProcesses.apply(F.pad(x, (0, 0) * (x.dim() - 1) + (place.before, after)))


def highest(value: float, device: torch.device) -> float:
    """The highest of the numbers of all processes. Every process must call this: it waits for the others.

    Example:
        >>> highest(2.5, torch.device("cpu"))
        2.5
    """
    if process_count() == 1:
        return value
    number = torch.tensor([value], dtype=torch.float64, device=device)
    dist.all_reduce(number, dist.ReduceOp.MAX)
    return number.item()


class _SumOverProcesses(torch.autograd.Function):
    """A sum over processes; the gradient of each process's share is the sum of all their gradients."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        x = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient
