"""Training: a loop that can be read, stopped at any moment and continued to the same bits.

``accelerate`` carries device, precision, accumulation and processes. A step depends on the settings and its number
alone (order, dropout, learning rate), so weights, optimiser state and step are all that has to be kept.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin, ProjectConfiguration
from torch import nn

from ris_lib.contract import Batch
from ris_lib.data import ReferringDataset
from ris_lib.data.cache import atomic_write, remove_partial
from ris_lib.engine import run
from ris_lib.engine.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from ris_lib.engine.config import TrainConfig, decided
from ris_lib.engine.device import channels_last, deterministic, pick_device
from ris_lib.engine.environment import describe_environment
from ris_lib.engine.evaluate import EvalResult, evaluate
from ris_lib.engine.expect import announce
from ris_lib.engine.hardware import check_compiler, check_launch, synchronise_batch_norm
from ris_lib.engine.interrupt import Stopped, StopRequest
from ris_lib.engine.loader import StepBatches, step_loader
from ris_lib.engine.optimizer import freeze, learning_rate_at, make_optimizer, set_learning_rate
from ris_lib.engine.record import recorder
from ris_lib.engine.setup import load_split, new_model, settle
from ris_lib.engine.sharded import cut_up, full, gathered, in_precision, is_sharded, put_together, shard
from ris_lib.engine.workers import watched_workers
from ris_lib.models import ReferringSegmenter
from ris_lib.processes import highest

logger = logging.getLogger(__name__)

_DROPOUT = 3  # a stream of random numbers beside those of the loader


def train(config: TrainConfig, progress: bool = True) -> Path:
    """Train a model.

    Every check is made before the run's folder appears. SIGTERM and Ctrl-C finish the step, save a checkpoint and
    stop; a run that was killed continues from its last checkpoint. In both cases ``resume`` leads to the same weights,
    bit for bit on the CPU with the same number of threads.

    With several processes (``accelerate launch -m ris_lib train ...``) and with ``accumulate`` parts, a step has the
    same pictures and sentences. Processes compute what one would: losses are divided by the counts of all, contrastive
    ones see the samples of all, and on GPUs batch norms take the mean over all. (On the CPU they cannot; a warning says
    so.) Parts do none of this, and differ from the whole step where they have different numbers of sentences.

    Args:
        config: Settings.
        progress: Show a progress bar, and before it how long the run will take.

    Returns:
        The run's folder; ``load_run`` takes it. See ``ris_lib.engine.run`` for what is in it.

    Raises:
        ValueError: A setting is wrong, the folder is taken, pictures are bad, or a loss or gradient is not finite (the
            message names the step, the pictures and the sentences; the last checkpoint stays).
        FileNotFoundError: Data are missing, or there is no run to continue.
        ChildProcessError: A process that prepares batches died, or has no shared memory; the last checkpoint stays.
        DiskFullError: There is no room for a checkpoint; the last one stays.
        Stopped: The run was asked to stop, and has saved.

    Example:
        >>> train(TrainConfig(out="runs/a", model="baseline_tiny", steps=20))  # doctest: +SKIP
        PosixPath('runs/a')
    """
    config = settle(config)
    if run.is_complete(config.out):
        logger.info("the run in %s is complete", config.out)
        return config.out
    steps, ready = decided(config.steps, "steps"), prepare(config)
    accelerator, plain, optimizer, start = ready.accelerator, ready.plain, ready.optimizer, ready.start
    if progress:
        announce(accelerator, ready.alone, ready.batches, config, start)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        read = [part for part in (ready.batches.dataset, ready.examined) if part]
        _open_folder(config, start, accelerator.device, read)
    accelerator.wait_for_everyone()
    loader = step_loader(ready.batches, start, steps, config.workers, accelerator.device.type == "cuda")
    columns = ["step", "loss", *plain.weights, "gradient_norm", "learning_rate", "seconds"]
    columns += ["miou", "oiou"] if ready.examined else []
    with (
        deterministic(),
        watched_workers(),
        StopRequest() as stop,
        recorder(accelerator, config.out, columns, start, steps, progress) as record,
    ):
        for step in range(start, steps):
            began = time.perf_counter()
            row = take_step(ready, loader, step)
            row |= {"step": step + 1, "seconds": round(time.perf_counter() - began, 4)}
            if ready.examined and (step + 1) % config.evaluate_every == 0:
                result = ready.evaluate()
                row |= {"miou": result.scores.miou, "oiou": result.scores.oiou}
            record(row)
            code = int(highest(stop.code, accelerator.device))  # all processes stop together
            last = step + 1 == steps
            if code or last or (step + 1) % config.checkpoint_every == 0:
                scaler = accelerator.scaler and accelerator.scaler.state_dict()
                state = {"optimizer": gathered(optimizer.state_dict()), "scaler": scaler}
                whole = ready.whole()
                if accelerator.is_main_process:
                    save_checkpoint(config.out / run.CHECKPOINTS, step + 1, whole, state)
            if code and not last:
                accelerator.wait_for_everyone()  # a launcher ends all others once one has left
                raise Stopped(
                    f"stopped after step {step + 1} of {steps}; continue with: ris train --out {config.out} --resume",
                    code,
                )
        if accelerator.is_main_process:
            with atomic_write(config.out / run.MODEL) as partial:
                plain.save_pretrained(partial, objectives=True)
        accelerator.wait_for_everyone()
    return config.out


@dataclass(frozen=True)
class Ready:
    """A run before its first step, or before the first one that is left.

    Args:
        config: Complete settings.
        accelerator: Carries device, precision, accumulation and processes.
        model: What computes a step: wrapped for many processes, compiled where asked for.
        plain: The same model and weights without either; it is what is evaluated and saved. Where weights are cut up
            among processes it is a copy, which ``whole`` brings up to date.
        optimizer: Holds the moments of a run that is continued.
        batches: What the steps are made of.
        examined: What is evaluated along the way, or None.
        settings: The model's training settings.
        start: Number of steps that were done before.
    """

    config: TrainConfig
    accelerator: Accelerator
    model: nn.Module
    plain: ReferringSegmenter
    optimizer: torch.optim.Optimizer
    batches: StepBatches
    examined: ReferringDataset | None
    settings: dict[str, Any]
    start: int

    @property
    def alone(self) -> nn.Module:
        """The model as it computes in one process, without what many processes need, if it can do without."""
        return self.model if self.accelerator.num_processes == 1 or is_sharded(self.accelerator) else self.plain

    def whole(self) -> ReferringSegmenter:
        """``plain`` with the weights of now. Every process must call this: it may wait for the others."""
        if is_sharded(self.accelerator):
            put_together(self.model, self.plain)
        return self.plain

    def evaluate(self, limit: int | None = None) -> EvalResult:
        """What the weights of now score on ``examined``. Every process must call this: each takes a share.

        Raises:
            ValueError: Nothing is evaluated along the way.
        """
        if self.examined is None:
            raise ValueError("this run evaluates nothing along the way; set evaluate_every.")
        device = self.accelerator.device
        result = evaluate(self.whole(), self.examined, limit=limit, intervals=False, progress=False, device=device)
        if is_sharded(self.accelerator):
            self.plain.to("cpu")  # where it is not in the way
        return result


def prepare(config: TrainConfig) -> Ready:
    """Everything before the first step but the run's folder, which is only read.

    Args:
        config: Complete settings, as ``settle`` returns them.

    Raises:
        ValueError: As for ``train``.
        FileNotFoundError: As for ``train``.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    accelerator = _accelerator(config)
    check_launch(accelerator, config)
    if config.compile:
        check_compiler(accelerator.device)
    dataset = load_split(config, config.split, config.limit)
    examined = load_split(config, config.evaluate_split, config.evaluate_limit) if config.evaluate_every else None
    checkpoint = latest_checkpoint(config.out / run.CHECKPOINTS)
    if checkpoint is None:
        model, state = new_model(config, dataset), dict[str, Any](step=0)
    else:
        model, state = load_checkpoint(checkpoint, decided(config.model, "model"))
    model.encoder.set_recompute(config.recompute)
    model = synchronise_batch_norm(model, accelerator.device, accelerator.num_processes)
    if not is_sharded(accelerator):  # PyTorch cannot cut up weights that lie so in memory
        model = channels_last(model)
    settings, start = model.config.training, state["step"]
    batches = StepBatches(
        dataset,
        model.collator(),
        config.seed,
        decided(config.images_per_step, "images_per_step"),
        decided(config.sentences_per_image, "sentences_per_image"),
        config.accumulate,
        accelerator.process_index,
        accelerator.num_processes,
        config.flip,
    )
    batches[start * config.accumulate]  # pictures that are missing or damaged are more often all of them than one
    freeze(model, settings.get("frozen", ()))
    optimizer = make_optimizer(
        model,
        settings["learning_rate"],
        settings["weight_decay"],
        settings["betas"],
        settings.get("rate_factors"),
    )
    if is_sharded(accelerator):
        plain = in_precision(accelerator, copy.deepcopy(model))
        model, optimizer = shard(accelerator, model, optimizer)
    else:
        model, optimizer = accelerator.prepare(model, optimizer)
        plain = accelerator.unwrap_model(model)
    if "optimizer" in state:
        optimizer.load_state_dict(cut_up(state["optimizer"], optimizer))
    if state.get("scaler") and accelerator.scaler:
        accelerator.scaler.load_state_dict(state["scaler"])
    if config.compile:
        model = cast(nn.Module, torch.compile(model))
    return Ready(config, accelerator, model, plain, optimizer, batches, examined, settings, start)


def _accelerator(config: TrainConfig) -> Accelerator:
    """The accelerator of this run; accelerate keeps one for each process, so that of an earlier run is forgotten."""
    device = pick_device(config.device)
    alone = not torch.distributed.is_initialized()
    AcceleratorState._reset_state(reset_partial_state=alone)
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=config.precision,
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=config.accumulate),
        log_with="tensorboard",
        project_config=ProjectConfiguration(project_dir=str(config.out), logging_dir=str(config.out)),
    )


def _open_folder(config: TrainConfig, start: int, device: torch.device, read: list[ReferringDataset]) -> None:
    """Make the folder of a new run, or clear that of a killed one of what it left half-written."""
    if not run.is_run(config.out):
        run.create_run(config)
    remove_partial(config.out)
    remove_partial(config.out / run.CHECKPOINTS)
    skipped = {name for part in read for name in part.seed_info.get("skipped", ())}
    noted = {"skipped": sorted(skipped)} if skipped else {}
    run.add_environment(config.out, start, describe_environment(device) | noted)


def take_step(ready: Ready, loader: Iterator[Batch], step: int) -> dict[str, float]:
    """One step of a run: its random numbers, its learning rate, then the optimiser's step.

    Args:
        ready: The run.
        loader: Gives the step's batches.
        step: From 0. Whatever a step does follows from its number.

    Returns:
        What ``metrics.csv`` holds of the step: losses, ``gradient_norm``, ``learning_rate``.

    Raises:
        ValueError: A loss or gradient is not finite.
    """
    config, settings = ready.config, ready.settings
    torch.manual_seed(_step_seed(config.seed, step, ready.accelerator.process_index))
    steps, warmup = decided(config.steps, "steps"), settings["warmup_steps"]
    rate = learning_rate_at(step, steps, settings["learning_rate"], warmup, settings["schedule"])
    set_learning_rate(ready.optimizer, rate)
    clip = settings["gradient_clip"]
    row = _optimise(ready.accelerator, ready.model, ready.optimizer, loader, config, clip, step)
    return row | {"learning_rate": rate}


def _optimise(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: Iterator[Batch],
    config: TrainConfig,
    clip: float | None,
    step: int,
) -> dict[str, float]:
    """One optimiser step.

    Returns:
        ``loss``, each loss by name, all averaged over parts and processes, and ``gradient_norm`` before clipping.
    """
    row: dict[str, float] = {}
    for _ in range(config.accumulate):
        batch = next(loader)
        with accelerator.accumulate(model):
            output = model(batch.to(accelerator.device, non_blocking=True), with_losses=True)
            losses = {"loss": output.loss, **output.losses}
            values = torch.stack([value.detach().float() for value in losses.values()])
            values = dict(zip(losses, cast(torch.Tensor, accelerator.reduce(values, "mean")).tolist()))
            if not math.isfinite(values["loss"]):
                raise ValueError(_not_finite(f"the loss is {values['loss']} ({values})", config, step, batch))
            accelerator.backward(output.loss)
            if accelerator.sync_gradients:
                norm = accelerator.clip_grad_norm_(model.parameters(), math.inf if clip is None else clip)
                assert norm is not None  # DeepSpeed alone gives none, and is refused
                norm = float(full(norm))
                if not math.isfinite(norm) and accelerator.scaler is None:  # a scaler skips such a step
                    raise ValueError(_not_finite(f"the gradient's norm is {norm}", config, step, batch))
            optimizer.step()
            optimizer.zero_grad()
        for name, value in values.items():
            row[name] = row.get(name, 0.0) + value / config.accumulate
    return row | {"gradient_norm": norm}


def _not_finite(what: str, config: TrainConfig, step: int, batch: Batch) -> str:
    """The message for a number that must not enter the weights."""
    kept = latest_checkpoint(config.out / run.CHECKPOINTS)
    images = [] if batch.image_id is None else batch.image_id.tolist()
    return (
        f"step {step + 1}: {what}. The batch has the images {images} and the sentences "
        f"{batch.sentences}. The weights were not changed; the last checkpoint is {kept or 'not yet written'}. "
        "Look at these samples; otherwise try a lower learning rate, or precision 'no'."
    )


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence((seed, _DROPOUT, step, rank)).generate_state(1, np.uint64)[0])
