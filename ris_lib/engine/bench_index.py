"""How long the official files of full size take to open, and the memory that they keep.

Everything is read from the files of ``bench_refcoco``. Each measurement has a fresh process, because memory that was
used once is rarely given back, and because whatever a library does at its first call belongs to what a user waits for.
In that process one step follows the other, as at the start of a training: open the index, open a split, read all its
sentences through the tokeniser, look up objects. Imports are made before the clock starts.

Source: our decision.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ris_lib.data import Collator, Preprocess, load_dataset
from ris_lib.data.refer import refer_index
from ris_lib.data.tokenizers import WordPieceTokenizer
from ris_lib.engine.bench_refcoco import NAME, write_refcoco
from ris_lib.engine.bench_timing import ROUNDS, Timing
from ris_lib.engine.loader import StepBatches
from ris_lib.engine.memory import PeakMemory

_LENGTH = 20  # tokens of a sentence, as LAVT has them
_LOOKED_UP = 1000  # pictures

#: A step of a process: its name, seconds, bytes that it keeps, bytes at its peak.
_Step = tuple[str, float, int | None, int | None]


def measure_index(scales: Sequence[int] = (1,), divide: int = 1) -> Iterator[dict[str, Any]]:
    """Time the way from the official files to an open training set.

    Args:
        scales: Sizes of the data set, in times RefCOCO's; each takes some minutes.
        divide: Of all sizes, one part in so many: for tests.

    Yields:
        Entries as ``Timing.entry`` makes them, with ``memory_bytes``, which are kept afterwards (over the step before),
        and ``peak_bytes``; None where the system does not tell. Building is timed once.

    Raises:
        RuntimeError: A process failed; its message is part of this one.

    Example:
        >>> for entry in measure_index(divide=500):  # doctest: +SKIP
        ...     print(entry["what"], entry["value"], entry["memory_bytes"])
    """
    for scale in scales:
        with tempfile.TemporaryDirectory() as folder:
            counts = write_refcoco(Path(folder) / "root", scale, divide)
            sentences = sum(count.sentences for count in counts.values())
            size = f"{scale} x RefCOCO" if divide == 1 else f"{scale}/{divide} x RefCOCO"
            runs = [_in_fresh_process("build", folder)] + [_in_fresh_process("open", folder) for _ in range(ROUNDS)]
            found: dict[str, list[_Step]] = {}
            for step in (step for run in runs for step in run):
                found.setdefault(step[0], []).append(step)
            for name, steps in found.items():
                _, passed, kept, peak = zip(*steps)
                yield Timing(passed).entry(
                    f"{name}, {size} ({sentences:,} sentences)", memory_bytes=_middle(kept), peak_bytes=_middle(peak)
                )


def _middle(values: Sequence[int | None]) -> int | None:
    """The number in the middle; None where the system does not tell."""
    known = [value for value in values if value is not None]
    return sorted(known)[len(known) // 2] if len(known) == len(values) else None


def _in_fresh_process(task: str, folder: str) -> list[_Step]:
    """Run this module as a program, with a cache of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "RIS_CACHE": f"{folder}/cache"}
    command = [sys.executable, "-m", __name__, task, f"{folder}/root"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise RuntimeError(f"measuring an index ({task}) failed: {done.stderr.strip() or 'a process was killed'}")
    return [tuple(step) for step in json.loads(done.stdout)]


def _steps(task: str, root: str) -> Iterator[_Step]:
    """What the fresh process does."""
    if task == "build":
        yield _measured("build the index from the official files", lambda: refer_index(root, NAME))[0]
        return
    step, _ = _measured("open the index", lambda: refer_index(root, NAME).index)
    yield step
    step, dataset = _measured("open the training split", lambda: load_dataset(NAME, "train", root=root))
    yield step
    collator = Collator(WordPieceTokenizer(_LENGTH), Preprocess())
    step, _ = _measured("training set, all sentences tokenised", lambda: StepBatches(dataset, collator, 0, 1, 1))
    yield step
    numbers = np.random.default_rng(0).integers(len(dataset), size=_LOOKED_UP).tolist()
    step, _ = _measured(
        f"look up the objects of {_LOOKED_UP} pictures", lambda: [dataset.expressions(number) for number in numbers]
    )
    yield step


def _measured(name: str, work: Callable[[], Any]) -> tuple[_Step, Any]:
    """A step, and what it made; that is still there when memory is read."""
    memory = PeakMemory("cpu")
    memory.reset()
    started = time.perf_counter()
    made = work()
    passed = time.perf_counter() - started
    peak = memory.peak()
    return (name, passed, memory.kept(), peak), made


if __name__ == "__main__":
    sys.stdout.write(json.dumps(list(_steps(*sys.argv[1:]))))
