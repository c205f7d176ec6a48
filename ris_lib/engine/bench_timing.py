"""A clock for everything that ``ris bench`` measures: medians of five rounds with their spread, works taken in turns.

A machine is not equally fast from one second to the next. What is to be compared is therefore measured in the same
rounds, one after the other in each, so that a slow moment is one for all; and the median of the rounds is reported
beside the fastest and the slowest.

Source: our decision.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ris_lib.engine.device import synchronise

#: How often everything is measured.
ROUNDS = 5

_SIDE = {"cpu": 1024, "cuda": 8192, "mps": 2048}  # of the matrices of ``matrix_product``


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, measured in some rounds.

    Args:
        rounds: Seconds, one number for each round; at least one.

    Example:
        >>> timing = Timing((0.2, 0.4, 0.1))
        >>> timing.median, timing.low, timing.high
        (0.2, 0.1, 0.4)
    """

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds of the round in the middle."""
        return statistics.median(self.rounds)

    @property
    def low(self) -> float:
        """Seconds of the fastest round."""
        return min(self.rounds)

    @property
    def high(self) -> float:
        """Seconds of the slowest round."""
        return max(self.rounds)

    def entry(self, what: str, unit: str = "s", items: float = 1, **more: Any) -> dict[str, Any]:
        """What is reported of it, as JSON can hold it.

        Args:
            what: Was measured; no other entry of its subject has this name.
            unit: ``s`` for seconds of one item, else a number of items in a second, such as ``sentences/s``.
            items: Of one call.
            more: Further entries, such as ``memory_bytes``.

        Returns:
            ``what``, ``value`` (of the median round), ``low`` and ``high`` (smallest and largest), ``unit``, ``rounds``
            and what is in ``more``.

        Example:
            >>> Timing((0.5, 0.25, 1.0)).entry("draw", "pictures/s", items=2)
            {'what': 'draw', 'value': 4.0, 'low': 2.0, 'high': 8.0, 'unit': 'pictures/s', 'rounds': 3}
        """
        values = self.median, self.low, self.high
        if unit == "s":
            value, low, high = (seconds / items for seconds in values)
        else:
            value, high, low = (items / seconds for seconds in values)
        return {"what": what, "value": value, "low": low, "high": high, "unit": unit, "rounds": len(self.rounds)} | more


def interleave(
    works: Mapping[str, Callable[[], object]],
    seconds: float,
    patience: float = float("inf"),
    device: torch.device | str = "cpu",
) -> dict[str, Timing]:
    """Time some works in turns: in each round one after the other.

    Args:
        works: Name -> what is called. Everything is called once before, unmeasured.
        seconds: For each work, over all rounds; each round calls it at least once.
        patience: Where the rounds would take longer than so many seconds in all, every work is timed once instead.
        device: Its clock is waited for after each call.

    Returns:
        Name -> seconds of one call; of ``ROUNDS`` rounds, or of one.

    Example:
        >>> timings = interleave({"short": lambda: time.sleep(0.001), "long": lambda: time.sleep(0.01)}, seconds=0.05)
        >>> timings["short"].median < timings["long"].median
        True
    """
    device = torch.device(device)

    def clock(work: Callable[[], object], budget: float) -> float:
        started, calls = time.perf_counter(), 0
        while (passed := time.perf_counter() - started) < budget or not calls:
            work()
            synchronise(device)
            calls += 1
        return passed / calls

    first = sum(clock(work, 0) for work in works.values())
    if ROUNDS * first > patience:  # or was it only the first call, which may compile, that took so long?
        once = {name: clock(work, 0) for name, work in works.items()}
        if ROUNDS * sum(once.values()) > patience:
            return {name: Timing((value,)) for name, value in once.items()}
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            found[name].append(clock(work, seconds / ROUNDS))
    return {name: Timing(tuple(values)) for name, values in found.items()}


def matrix_product(
    device: torch.device | str = "cpu", kind: torch.dtype = torch.float32
) -> tuple[Callable[[], object], float]:
    """A plain product of two square matrices, the best case of a device: what a model is measured against.

    Args:
        device: Where.
        kind: Of numbers.

    Returns:
        What multiplies when it is called, and its FLOPs.

    Example:
        >>> multiply, flops = matrix_product()
        >>> multiply().shape, flops
        (torch.Size([1024, 1024]), 2147483648.0)
    """
    side = _SIDE.get(torch.device(device).type, 1024)
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(side, side, generator=generator).to(device, kind) for _ in range(2))
    return lambda: left @ right, 2.0 * side**3
