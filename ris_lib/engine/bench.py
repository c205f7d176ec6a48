"""How fast data and metrics are on this machine. (Models: ``bench_models``.)"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from ris_lib._names import unknown
from ris_lib.data import load_dataset
from ris_lib.data.scenes import draw, make_scene
from ris_lib.data.scenes.build import scene_rows
from ris_lib.metrics import Accumulator, count_pixels
from ris_lib.models import create_model

#: What can be measured.
SUBJECTS = ("data", "metrics")

_IMAGES, _SIZE = 4, 96  # of a batch; pixels of a scene
_SCORED = 5000  # sentences, as many as a split of RefCOCO has


def measure(subject: str, seconds: float = 1.0) -> list[dict[str, Any]]:
    """Measure one subject.

    Args:
        subject: One of ``SUBJECTS``.
        seconds: Time for each number; everything runs once before, unmeasured.

    Returns:
        Entries with ``subject``, ``what``, ``value`` and ``unit``, as JSON can hold them.

    Raises:
        ValueError: There is no such subject.

    Example:
        >>> [entry["unit"] for entry in measure("metrics", seconds=0.01)]
        ['masks/s', 'sentences/s', 's']
    """
    if subject not in SUBJECTS:
        raise unknown("subject", subject, SUBJECTS)
    entries = {"data": _data, "metrics": _metrics}[subject](seconds)
    return [{"subject": subject, "what": what, "value": value, "unit": unit} for what, value, unit in entries]


Entries = Iterator[tuple[str, float, str]]


def _data(seconds: float) -> Entries:
    scenes = [make_scene("val", index) for index in range(20)]
    yield f"draw a scene, {_SIZE} px", _rate(lambda k: draw(scenes[k % 20], _SIZE), seconds), "pictures/s"

    def complete(k: int) -> None:
        scene = make_scene("val", k)
        scene_rows(scene, draw(scene, _SIZE)[1])

    yield "complete sample: scene, picture, masks, sentences", _rate(complete, seconds), "samples/s"
    dataset = load_dataset("scenes", "val", size=_SIZE, limit=20)
    yield "sample from the cache", _rate(lambda k: dataset[k % 20], seconds), "samples/s"
    collator = create_model("baseline_tiny").collator()
    samples = [dataset[k] for k in range(_IMAGES)]
    yield "collate: resize, tokens, masks", _IMAGES * _rate(lambda k: collator(samples), seconds), "samples/s"


def _metrics(seconds: float) -> Entries:
    generator = np.random.default_rng(0)
    masks = torch.from_numpy(generator.random((2, 8, 480, 640)) < 0.5)
    yield "count pixels, 480 x 640", 8 * _rate(lambda k: count_pixels(masks[0], masks[1]), seconds), "masks/s"
    unions = generator.integers(1, 100_000, _SCORED)
    columns = unions * 2 // 3, unions, np.arange(_SCORED) // 3
    accumulate = _rate(lambda k: Accumulator().update(*columns), seconds)
    yield f"accumulate {_SCORED} sentences", _SCORED * accumulate, "sentences/s"
    accumulator = Accumulator()
    accumulator.update(*columns)
    yield f"scores and intervals of {_SCORED} sentences", 1 / _rate(lambda k: accumulator.result(), seconds), "s"


def _rate(work: Callable[[int], Any], seconds: float) -> float:
    """Calls per second; the call gets its number."""
    work(0)
    started, calls = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds or not calls:
        work(calls)
        calls += 1
    return calls / passed
