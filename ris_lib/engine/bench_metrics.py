"""How fast masks are made of logits, compared and scored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ris_lib.engine.bench_timing import interleave
from ris_lib.metrics import Accumulator, binarise, count_pixels

_SIDE = 480  # of the network's picture, on which LAVT compares
_STACK = 8  # sentences of one picture
_SCORED = 5000  # sentences, as many as a split of RefCOCO has


def measure_metrics(seconds: float = 1.0) -> Iterator[dict[str, Any]]:
    """Time the steps from logits to scores on the CPU.

    Args:
        seconds: Time for each number.

    Yields:
        Entries as ``Timing.entry`` makes them.

    Example:
        >>> [entry["unit"] for entry in measure_metrics(seconds=0.01)]
        ['s', 's', 'masks/s', 'sentences/s', 's']
    """
    generator = np.random.default_rng(0)
    masks = torch.from_numpy(generator.random((2, _STACK, _SIDE, 640)) < 0.5)
    one = masks[:, 0, :, :_SIDE].contiguous()
    logits = torch.from_numpy(generator.standard_normal((1, 1, _SIDE, _SIDE), np.float32))
    unions = generator.integers(1, 100_000, _SCORED)
    columns = unions * 2 // 3, unions, np.arange(_SCORED) // 3
    accumulator = Accumulator()
    accumulator.update(*columns)
    timings = interleave(
        {
            "mask": lambda: binarise(logits.sigmoid()),
            "one": lambda: count_pixels(one[0], one[1]),
            "stack": lambda: count_pixels(masks[0], masks[1]),
            "accumulate": lambda: Accumulator().update(*columns),
            "scores": lambda: accumulator.result(),
        },
        seconds,
    )
    yield timings["mask"].entry(f"logits to a mask, {_SIDE} x {_SIDE}")
    yield timings["one"].entry(f"intersection and union of two masks, {_SIDE} x {_SIDE}")
    yield timings["stack"].entry(f"count pixels, {_SIDE} x 640, {_STACK} masks at once", "masks/s", _STACK)
    yield timings["accumulate"].entry(f"accumulate {_SCORED} sentences", "sentences/s", _SCORED)
    yield timings["scores"].entry(f"scores and intervals of {_SCORED} sentences")
