"""How long a training run will take, said before its first step; and the clock that measures steps.

A few steps are computed ahead on the batch that the run begins with, and forgotten: the run has the same bits with and
without them. Source: our decision.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import nn
from tqdm import tqdm

from ris_lib.engine.config import TrainConfig, decided
from ris_lib.engine.device import deterministic, synchronise
from ris_lib.engine.loader import StepBatches
from ris_lib.engine.memory import PeakMemory
from ris_lib.engine.sharded import local
from ris_lib.processes import highest

#: A run with fewer steps left says nothing. Measuring takes the time of three: of twenty a seventh, of ten a third; and
#: the bar of a run that short tells the same as soon.
FEWEST = 20

_PATIENCE = 5.0  # seconds; where the first step takes longer, one more is measured and not two

_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


@dataclass(frozen=True)
class StepCost:
    """What one step needs.

    Args:
        seconds: Mean over the steps that were measured.
        measured: How many that were.
        memory: Bytes at the peak for weights, gradients, the optimiser's state and what lies between forward and
            backward pass; None where the system does not tell.
    """

    seconds: float
    measured: int
    memory: int | None


def announce(accelerator: Accelerator, model: nn.Module, batches: StepBatches, config: TrainConfig, done: int) -> None:
    """Say on stderr how long the steps that are left will take, where they are ``FEWEST`` or more.

    All processes compute, so that they share the machine as they will in the run; the main one speaks.

    Args:
        accelerator: That of the run.
        model: The model without the wrapper of several processes, which would remember that it was used; compiled
            where the run compiles it.
        batches: What the steps are made of.
        config: Complete settings.
        done: Number of steps that were done before.
    """
    if decided(config.steps, "steps") - done < FEWEST:
        return
    cost = measure_step(model, batches, done, accelerator.device, config.workers)
    if accelerator.is_main_process:
        tqdm.write(describe(config, done, cost, accelerator.device, accelerator.num_processes), file=sys.stderr)


def measure_step(model: nn.Module, batches: StepBatches, step: int, device: torch.device, workers: int = 0) -> StepCost:
    """Time one step, all its parts, after a first time that is not counted.

    A step is making its batches (where no workers make them ahead), the forward pass with losses and the backward pass.
    The optimiser is left out, because it would change the weights, and so is what processes tell one another.

    Args:
        model: On the device, in training mode, without gradients.
        batches: What the steps are made of; they are a function of the step, so none is used up.
        step: Which step.
        device: Where.
        workers: Processes that prepare batches; 0 = this one.

    Raises:
        ValueError: As for the model.

    Example:
        >>> from ris_lib.data import load_dataset
        >>> from ris_lib.models import create_model
        >>> model = create_model("baseline_tiny", preprocess={"size": [32, 32]}).train()
        >>> batches = StepBatches(load_dataset("scenes", "val", size=32, limit=2), model.collator(), 0, 2, 1)
        >>> measure_step(model, batches, 0, torch.device("cpu")).measured
        2
    """
    parts = range(step * batches.accumulate, (step + 1) * batches.accumulate)
    ahead = [batches[part] for part in parts] if workers else []

    def one() -> None:
        for batch in ahead or (batches[part] for part in parts):
            model(batch.to(device, non_blocking=True), with_losses=True).loss.backward()
        model.zero_grad()

    with deterministic(), untouched(model, device):
        return measure(one, device, _kept(model), patience=_PATIENCE)


def measure(
    step: Callable[[], object],
    device: torch.device,
    kept: int,
    warm_up: int = 1,
    measured: int = 2,
    patience: float = math.inf,
) -> StepCost:
    """Time some work, and take its memory at the peak, after first times that are not counted.

    Where several processes do this together, as they must, all do it equally often.

    Args:
        step: Does the work once.
        device: Where.
        kept: Bytes that were there before and belong to it.
        warm_up: So many first times are not counted.
        measured: So many are.
        patience: Seconds; where a first time takes longer, only one is measured.

    Example:
        >>> done = []
        >>> measure(lambda: done.append(1), torch.device("cpu"), kept=0, warm_up=3, measured=20).measured, len(done)
        (20, 23)
    """

    def one() -> float:
        began = time.perf_counter()
        step()
        synchronise(device)
        return time.perf_counter() - began

    memory = PeakMemory(device)
    memory.reset()
    slowest = highest(max(one() for _ in range(warm_up)), device)
    measured = 1 if slowest > patience else measured
    seconds = sum(one() for _ in range(measured)) / measured
    peak = memory.peak()
    return StepCost(seconds, measured, None if peak is None else peak + kept)


@contextmanager
def untouched(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Let a model compute in training mode and leave no trace: no gradient, no running statistics, no random number.

    Args:
        model: Its weights are not looked after; whoever changes them keeps them.
        device: Where it computes. (Apple's has no random state of its own to restore; every training step seeds it.)

    Example:
        >>> layer = nn.BatchNorm1d(2)
        >>> with untouched(layer, torch.device("cpu")):
        ...     layer(torch.randn(3, 2)).sum().backward()
        >>> layer.num_batches_tracked.item(), layer.weight.grad
        (0, None)
    """
    before = [buffer.clone() for buffer in model.buffers()]
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        model.zero_grad()
        with torch.no_grad():
            for buffer, value in zip(model.buffers(), before):
                buffer.copy_(value)


def describe(config: TrainConfig, done: int, cost: StepCost, device: torch.device, processes: int = 1) -> str:
    """What is said.

    Args:
        config: Complete settings.
        done: Number of steps that were done before.
        cost: What a step needs.
        device: Where the run computes.
        processes: Number of processes.

    Example:
        >>> config = TrainConfig(out="runs/a", model="baseline_tiny", steps=600)
        >>> describe(config, 0, StepCost(0.38, 2, None), torch.device("mps"))
        'baseline_tiny, 600 steps on mps: about 4 minutes (0.38 s a step, measured on 2 steps)'
    """
    left = decided(config.steps, "steps") - done
    text = f"{plan(config, done, device, processes)}: about {duration(left * cost.seconds)} "
    text += f"({float(f'{cost.seconds:.2g}'):g} s a step, measured on {plural(cost.measured, 'step')})"
    if times := evaluations_left(config, done):
        text += f" and {plural(times, 'evaluation')}"
    if cost.memory is not None:
        text += f"; the model needs {cost.memory / 1e6:,.0f} MB" + (" in each process" if processes > 1 else "")
    return text


def plan(config: TrainConfig, done: int, device: torch.device, processes: int) -> str:
    """What is to be computed, and where.

    Args:
        config: Complete settings.
        done: Number of steps that were done before.
        device: Where.
        processes: Number of processes.

    Example:
        >>> plan(TrainConfig(out="runs/a", model="lavt_tiny", steps=600), 200, torch.device("mps"), 1)
        'lavt_tiny, the last 400 of 600 steps on mps'
    """
    left = decided(config.steps, "steps") - done
    steps = f"the last {left} of {config.steps} steps" if done else f"{left} steps"
    place = device.type + (f", {plural(torch.get_num_threads(), 'thread')}" if device.type == "cpu" else "")
    return f"{config.model}, {steps} on {place}" + (f", {processes} processes" if processes > 1 else "")


def evaluations_left(config: TrainConfig, done: int) -> int:
    """How many evaluations the steps that are left contain.

    Example:
        >>> evaluations_left(TrainConfig(out="runs/a", steps=600, evaluate_every=100), 250)
        4
    """
    every = config.evaluate_every
    return decided(config.steps, "steps") // every - done // every if every else 0


def _kept(model: nn.Module) -> int:
    """Bytes of a model's weights and of AdamW's two moments."""
    weights = sum(local(tensor).nbytes for tensor in (*model.parameters(), *model.buffers()))
    return weights + 2 * sum(local(parameter).nbytes for parameter in model.parameters() if parameter.requires_grad)


def duration(seconds: float) -> str:
    """In the largest unit of which there are two; by halves up to ten, because the number is a guess.

    Example:
        >>> duration(0.4), duration(5400.0)
        ('1 second', '90 minutes')
    """
    unit, length = next(pair for pair in _UNITS if seconds >= 2 * pair[1] or pair[1] == 1)
    count = seconds / length
    if length == 1:
        return plural(max(1, round(count)), unit)
    return f"{round(2 * count) / 2:g} {unit}s" if count < 10 else f"{count:.0f} {unit}s"


def plural(count: int, word: str) -> str:
    """A number with its word.

    Example:
        >>> plural(2, "step")
        '2 steps'
    """
    return f"{count} {word}" + ("" if count == 1 else "s")
