"""How long one whole training step takes: forward pass, losses, backward pass, clipping, the optimiser's update.

``bench_models`` times the part of it that depends on the model alone, for many models; here the optimiser and its
memory are included, as in a training.

Source: our decision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from ris_lib.contract import Batch
from ris_lib.engine.bench_timing import interleave
from ris_lib.engine.counting import full_batch
from ris_lib.engine.device import channels_last
from ris_lib.engine.memory import PeakMemory
from ris_lib.engine.optimizer import freeze, make_optimizer
from ris_lib.models import ReferringSegmenter, create_model

#: What is measured where no model is named: the system that the others are compared with, at its published size.
DEFAULT_MODEL = "lavt_base"

#: Ways of training a model by what is said of them: each gets the model before its first step.
WAYS: dict[str, Callable[[ReferringSegmenter], object]] = {
    "activations kept": lambda model: None,
    "activations computed again": lambda model: model.encoder.set_recompute(True),
}


def measure_train(
    names: Sequence[str] = (DEFAULT_MODEL,),
    device: torch.device | str = "cpu",
    batches: Sequence[int] = (1,),
    precisions: Sequence[str] = ("fp32",),
    seconds: float = 1.0,
    patience: float = math.inf,
) -> Iterator[dict[str, Any]]:
    """Time training steps of models with random weights on pictures of noise.

    Args:
        names: Recipes.
        device: Where.
        batches: Numbers of pictures of a step, one sentence each.
        precisions: ``fp32`` or ``bf16``; others are left out.
        seconds: Time for each number.
        patience: Where five rounds take longer than so many seconds, a step is timed once.

    Yields:
        Entries as ``Timing.entry`` makes them, with ``peak_bytes``: the most that a step needs, weights, gradients and
        the optimiser's moments included.

    Raises:
        ValueError: A model is not known, or a batch does not fit it (batch norm refuses one picture).

    Example:
        >>> for entry in measure_train(["baseline_tiny"], batches=[2], seconds=0.01):
        ...     print(entry["what"])
        baseline_tiny, batch 2, fp32, activations kept
        baseline_tiny, batch 2, fp32, activations computed again
    """
    device = torch.device(device)
    for name in names:
        for way, prepare in WAYS.items():
            memory = PeakMemory(device)
            model = channels_last(create_model(name).to(device)).train()
            prepare(model)
            optimizer = _optimizer(model)
            for precision in (precision for precision in precisions if precision != "compiled"):
                for count in batches:
                    work = partial(_step, model, optimizer, full_batch(model, count).to(device), precision == "bf16")
                    memory.reset()
                    timing = interleave({"step": work}, seconds, patience, device)["step"]
                    what = f"{name}, batch {count}, {precision}, {way}"
                    yield timing.entry(what, peak_bytes=memory.peak())
            del model, optimizer, work


def _optimizer(model: ReferringSegmenter) -> torch.optim.Optimizer:
    """The optimiser of a training with the recipe's settings."""
    settings = model.config.training
    freeze(model, settings.get("frozen", ()))
    rate, decay, betas = (settings[name] for name in ("learning_rate", "weight_decay", "betas"))
    return make_optimizer(model, rate, decay, betas, settings.get("rate_factors"))


def _step(model: ReferringSegmenter, optimizer: torch.optim.Optimizer, batch: Batch, half: bool) -> None:
    """What the training loop does with a batch that is there."""
    with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=half):
        loss = model(batch, with_losses=True).loss
    loss.backward()
    clip = model.config.training["gradient_clip"]
    torch.nn.utils.clip_grad_norm_(model.parameters(), math.inf if clip is None else clip)
    optimizer.step()
    optimizer.zero_grad()
