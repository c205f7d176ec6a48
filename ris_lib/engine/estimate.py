"""What a planned run will need: speed, memory, time and money, from steps of that very run.

Unlike what is said before the first step of every run (``ris_lib.engine.expect``), these are whole steps: loading,
forward and backward pass, what processes tell one another, the optimiser. Weights change, and are thrown away with the
process; nothing is written. Source: our decision.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import cast

import torch
from tqdm import tqdm

from ris_lib.contract import Batch
from ris_lib.engine import run
from ris_lib.engine.config import TrainConfig, decided
from ris_lib.engine.device import deterministic
from ris_lib.engine.expect import StepCost, duration, evaluations_left, measure, plan, plural
from ris_lib.engine.loader import step_loader
from ris_lib.engine.setup import settle
from ris_lib.engine.sharded import local
from ris_lib.engine.train import Ready, prepare, take_step
from ris_lib.processes import highest

#: First steps that are not counted: memory is asked for, kernels are chosen, shapes are compiled.
WARM_UP = 5
#: Steps that are.
MEASURED = 20

#: Pictures of the evaluation that is measured, for each process; a fifth of them are evaluated before, uncounted.
_PICTURES = 20


@dataclass(frozen=True)
class Estimate:
    """A planned run in numbers.

    Args:
        plan: What is to be computed, and where.
        pictures: Pictures in a step, over all processes.
        sentences: Sentences in a step, over all processes; the mean of the steps that were measured.
        cost: Of a step; the memory is that of the process which needs most.
        steps: Number of steps that are left.
        evaluations: Number of evaluations in them.
        evaluation: Seconds of one.
        processes: Number of processes, a device each.
        price: Of a device for an hour, or None.
    """

    plan: str
    pictures: int
    sentences: float
    cost: StepCost
    steps: int
    evaluations: int
    evaluation: float
    processes: int
    price: float | None = None

    @property
    def seconds(self) -> float:
        """Of the steps and evaluations that are left; starting, and writing checkpoints, are not in it."""
        return self.steps * self.cost.seconds + self.evaluations * self.evaluation

    @property
    def total(self) -> float | None:
        """The price of all devices for this time."""
        return None if self.price is None else self.price * self.processes * self.seconds / 3600

    def rows(self) -> list[tuple[str, str]]:
        """What is shown: names and values.

        Example:
            >>> cost = StepCost(seconds=0.5, measured=20, memory=2_000_000_000)
            >>> found = Estimate("a run", 32, 48.0, cost, 7200, 2, 1800.0, processes=8, price=2.5)
            >>> for name, value in found.rows():
            ...     print(f"{name}: {value}")
            samples/s: 64 pictures, 96 sentences
            step: 0.5 s, measured on 20 steps
            memory: 2,000 MB in each process
            steps: 60 minutes
            evaluations: 2 of 30 minutes
            together: 2 hours
            cost: 40.00 for 16.00 device-hours
        """
        speeds = (self.pictures / self.cost.seconds, self.sentences / self.cost.seconds)
        memory, each = self.cost.memory, " in each process" if self.processes > 1 else ""
        rows = [
            ("samples/s", f"{_short(speeds[0])} pictures, {_short(speeds[1])} sentences"),
            ("step", f"{_short(self.cost.seconds)} s, measured on {plural(self.cost.measured, 'step')}"),
            ("memory", "this system does not tell" if memory is None else f"{memory / 1e6:,.0f} MB{each}"),
            ("steps", duration(self.steps * self.cost.seconds)),
        ]
        if self.evaluations:
            rows.append(("evaluations", f"{self.evaluations} of {duration(self.evaluation)}"))
        rows.append(("together", duration(self.seconds)))
        if self.total is not None:
            hours = self.processes * self.seconds / 3600
            rows.append(("cost", f"{self.total:,.2f} for {hours:,.2f} device-hours"))
        return rows


def estimate(config: TrainConfig, price: float | None = None, progress: bool = True) -> Estimate:
    """Take some steps of a planned run, which may be one to be continued, and say what all of them will need.

    Args:
        config: Settings of the run. Its folder is neither made nor changed.
        price: Of one device for an hour, in any currency; None = no cost is reckoned.
        progress: Show a progress bar.

    Returns:
        The same in each process, but for the seconds, which each takes by its own clock.

    Raises:
        ValueError: As for ``train``; the price is not a number from 0 on; or the run is complete.
        FileNotFoundError: As for ``train``.

    Example:
        >>> estimate(TrainConfig(out="runs/a", model="lavt_base", data="refcoco", root="data"))  # doctest: +SKIP
    """
    if price is not None and not (0 <= price < math.inf):
        raise ValueError(f"price={price}; expected what a device costs for an hour, a number from 0 on, such as 2.5.")
    config = settle(config)
    if run.is_complete(config.out):
        raise ValueError(f"the run in {config.out} is complete; there is nothing left to estimate.")
    ready = prepare(config)
    device, processes = ready.accelerator.device, ready.accelerator.num_processes
    steps = decided(config.steps, "steps")
    stop = ready.start + WARM_UP + MEASURED  # beyond the run's end, where it is short: batches never end
    sizes: list[int] = []
    loader = _noted(step_loader(ready.batches, ready.start, stop, config.workers, device.type == "cuda"), sizes)
    shown = progress and ready.accelerator.is_main_process
    with deterministic(), tqdm(desc="estimate", total=stop - ready.start, unit="step", disable=not shown) as bar:
        numbers = count(ready.start)

        def one() -> None:
            take_step(ready, loader, min(next(numbers), steps - 1))
            bar.update()

        cost = measure(one, device, _kept(ready), WARM_UP, MEASURED)
    memory = None if cost.memory is None else int(highest(cost.memory, device))
    counted = torch.tensor(sum(sizes[-MEASURED * config.accumulate :]), device=device)
    evaluations, examined = evaluations_left(config, ready.start), ready.examined
    found = Estimate(
        plan=plan(config, ready.start, device, processes),
        pictures=decided(config.images_per_step, "images_per_step"),
        sentences=cast(torch.Tensor, ready.accelerator.reduce(counted, "sum")).item() / MEASURED,
        cost=StepCost(cost.seconds, cost.measured, memory),
        steps=steps - ready.start,
        evaluations=evaluations,
        evaluation=_evaluation(ready, len(examined)) if evaluations and examined is not None else 0.0,
        processes=processes,
        price=price,
    )
    ready.accelerator.end_training()
    return found


def _noted(loader: Iterator[Batch], sizes: list[int]) -> Iterator[Batch]:
    """The same batches; how many sentences each has is added to the list."""
    for batch in loader:
        sizes.append(len(batch))
        yield batch


def _kept(ready: Ready) -> int:
    """Bytes that are in use before the first step and belong to the run."""
    if ready.accelerator.device.type == "cuda":
        return torch.cuda.memory_allocated(ready.accelerator.device)
    states = [value for state in ready.optimizer.state.values() for value in state.values()]
    held = [*ready.model.parameters(), *ready.model.buffers(), *filter(torch.is_tensor, states)]
    return sum(local(tensor).nbytes for tensor in held)


def _evaluation(ready: Ready, pictures: int) -> float:
    """Seconds of one evaluation of so many pictures, from some of them."""
    most = _PICTURES * ready.accelerator.num_processes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sentences that cannot be read the run itself will speak
        ready.evaluate(max(1, most // 5))
        result = ready.evaluate(most)
    return result.seconds * pictures / result.counts["images"]


def _short(value: float) -> str:
    """Two digits, or the whole number where it has more."""
    return f"{value:,.0f}" if value >= 10 else f"{float(f'{value:.2g}'):g}"
