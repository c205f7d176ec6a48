"""Training: a loop that can be read, stopped at any moment and continued to the same bits.

``accelerate`` carries device, precision, accumulation and processes. A step depends on the settings and its number
alone (order, dropout, learning rate), so weights, optimiser state and step are all that has to be kept.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import ProjectConfiguration
from torch import nn

from ris_lib.contract import Batch
from ris_lib.data import ReferringDataset
from ris_lib.data.cache import atomic_write, remove_partial
from ris_lib.engine import run
from ris_lib.engine.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from ris_lib.engine.config import TrainConfig
from ris_lib.engine.device import deterministic, pick_device
from ris_lib.engine.environment import describe_environment
from ris_lib.engine.evaluate import evaluate
from ris_lib.engine.expect import announce
from ris_lib.engine.interrupt import Stopped, StopRequest
from ris_lib.engine.loader import StepBatches, step_loader
from ris_lib.engine.optimizer import freeze, learning_rate_at, make_optimizer, set_learning_rate
from ris_lib.engine.record import recorder
from ris_lib.engine.setup import load_split, new_model, settle
from ris_lib.engine.workers import watched_workers

logger = logging.getLogger(__name__)

_DROPOUT = 3  # a stream of random numbers beside those of the loader


def train(config: TrainConfig, progress: bool = True) -> Path:
    """Train a model.

    Every check is made before the run's folder appears. SIGTERM and Ctrl-C finish the step, save a checkpoint and
    stop; a run that was killed continues from its last checkpoint. In both cases ``resume`` leads to the same weights,
    bit for bit on the CPU with the same number of threads.

    With several processes (``accelerate launch -m ris_lib train ...``) and with ``accelerate`` parts, a step has the
    same pictures and sentences. Losses are then normalised part by part, which differs from the whole step where the
    parts have different numbers of sentences.

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
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    accelerator = _accelerator(config)
    dataset = load_split(config, config.split, config.limit)
    examined = load_split(config, config.evaluate_split, config.evaluate_limit) if config.evaluate_every else None
    checkpoint = latest_checkpoint(config.out / run.CHECKPOINTS)
    if checkpoint is None:
        model, state = new_model(config, dataset), {"step": 0}
    else:
        model, state = load_checkpoint(checkpoint, config.model)
    # Channels last in memory: convolutions are faster, and the (S, N, C) views of fusion blocks need no copies.
    model = model.to(memory_format=torch.channels_last)
    settings, start = model.config.training, state["step"]
    batches = StepBatches(
        dataset,
        model.collator(),
        config.seed,
        config.images_per_step,
        config.sentences_per_image,
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
    model, optimizer = accelerator.prepare(model, optimizer)
    if "optimizer" in state:
        optimizer.load_state_dict(state["optimizer"])
    if state.get("scaler") and accelerator.scaler:
        accelerator.scaler.load_state_dict(state["scaler"])
    plain = accelerator.unwrap_model(model)
    if progress:
        announce(accelerator, plain, batches, config, start)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        _open_folder(config, start, accelerator.device, [part for part in (dataset, examined) if part])
    accelerator.wait_for_everyone()
    loader = step_loader(batches, start, config.steps, config.workers, accelerator.device.type == "cuda")
    columns = ["step", "loss", *plain.weights, "gradient_norm", "learning_rate", "seconds"]
    columns += ["miou", "oiou"] if examined else []
    with (
        deterministic(),
        watched_workers(),
        StopRequest() as stop,
        recorder(accelerator, config.out, columns, start, config.steps, progress) as record,
    ):
        for step in range(start, config.steps):
            began = time.perf_counter()
            torch.manual_seed(_step_seed(config.seed, step, accelerator.process_index))
            rate = learning_rate_at(
                step, config.steps, settings["learning_rate"], settings["warmup_steps"], settings["schedule"]
            )
            set_learning_rate(optimizer, rate)
            row = _optimise(accelerator, model, optimizer, loader, config, settings["gradient_clip"], step)
            row |= {"step": step + 1, "learning_rate": rate, "seconds": round(time.perf_counter() - began, 4)}
            if examined and (step + 1) % config.evaluate_every == 0:
                result = evaluate(plain, examined, intervals=False, progress=False, device=accelerator.device)
                row |= {"miou": result.scores.miou, "oiou": result.scores.oiou}
            record(row)
            code = _highest(accelerator, stop.code)
            last = step + 1 == config.steps
            if (code or last or (step + 1) % config.checkpoint_every == 0) and accelerator.is_main_process:
                scaler = accelerator.scaler and accelerator.scaler.state_dict()
                state = {"optimizer": optimizer.state_dict(), "scaler": scaler}
                save_checkpoint(config.out / run.CHECKPOINTS, step + 1, plain, state)
            if code and not last:
                accelerator.wait_for_everyone()  # a launcher ends all others once one has left
                raise Stopped(
                    f"stopped after step {step + 1} of {config.steps}; continue with: "
                    f"ris train --out {config.out} --resume",
                    code,
                )
        if accelerator.is_main_process:
            with atomic_write(config.out / run.MODEL) as partial:
                plain.save_pretrained(partial, objectives=True)
        accelerator.wait_for_everyone()
    return config.out


def _accelerator(config: TrainConfig) -> Accelerator:
    """The accelerator of this run; accelerate keeps one for each process, so that of an earlier run is forgotten."""
    device = pick_device(config.device)
    alone = not torch.distributed.is_initialized()
    AcceleratorState._reset_state(reset_partial_state=alone)
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=config.precision,
        gradient_accumulation_steps=config.accumulate,
        log_with="tensorboard",
        project_config=ProjectConfiguration(project_dir=str(config.out), logging_dir=str(config.out)),
    )


def _open_folder(config: TrainConfig, start: int, device: torch.device, parts: list[ReferringDataset]) -> None:
    """Make the folder of a new run, or clear that of a killed one of what it left half-written."""
    if not run.is_run(config.out):
        run.create_run(config)
    remove_partial(config.out)
    remove_partial(config.out / run.CHECKPOINTS)
    skipped = {name for part in parts for name in part.seed_info.get("skipped", ())}
    noted = {"skipped": sorted(skipped)} if skipped else {}
    run.add_environment(config.out, start, describe_environment(device) | noted)


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
            values = dict(zip(losses, accelerator.reduce(values, "mean").tolist()))
            if not math.isfinite(values["loss"]):
                raise ValueError(_not_finite(f"the loss is {values['loss']} ({values})", config, step, batch))
            accelerator.backward(output.loss)
            if accelerator.sync_gradients:
                norm = float(accelerator.clip_grad_norm_(model.parameters(), math.inf if clip is None else clip))
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
    return (
        f"step {step + 1}: {what}. The batch has the images {batch.image_id.tolist()} and the sentences "
        f"{batch.sentences}. The weights were not changed; the last checkpoint is {kept or 'not yet written'}. "
        "Look at these samples; otherwise try a lower learning rate, or precision 'no'."
    )


def _highest(accelerator: Accelerator, code: int) -> int:
    """The highest of the codes of all processes, so that they stop together."""
    if accelerator.num_processes == 1:
        return code
    return int(accelerator.gather(torch.tensor([code], device=accelerator.device)).max())


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence((seed, _DROPOUT, step, rank)).generate_state(1, np.uint64)[0])
