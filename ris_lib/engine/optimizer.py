"""What is optimised and how fast: parameter groups and the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from ris_lib._names import unknown

SCHEDULES = ("cosine", "linear")


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Every trainable parameter exactly once: the weights of linear and convolution layers decay, all others do not.

    Decay pulls towards zero. That means something for a weight matrix, and nothing for a norm's scale, a bias, an
    embedding, or a learned position or query.

    Args:
        model: Its frozen parameters are left out; a parameter that two modules share is there once.
        weight_decay: Decay of the first group.

    Returns:
        Two groups for a torch optimiser; empty ones are left out.

    Example:
        >>> layer = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2), nn.LayerNorm(2))
        >>> [(g["weight_decay"], len(g["params"])) for g in parameter_groups(layer, 0.1)]
        [(0.1, 1), (0.0, 4)]
    """
    kept = {id(weight) for m in model.modules() if isinstance(m, nn.Embedding) for weight in m.parameters()}
    decayed, plain = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim >= 2 and name.endswith("weight") and id(parameter) not in kept
            (decayed if decays else plain).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def make_optimizer(
    model: nn.Module, learning_rate: float, weight_decay: float = 0.0, betas: Sequence[float] = (0.9, 0.999)
) -> torch.optim.AdamW:
    """AdamW over ``parameter_groups``.

    Source: Loshchilov and Hutter 2019 (decoupled weight decay).

    Raises:
        ValueError: The model has no trainable parameter.
    """
    groups = parameter_groups(model, weight_decay)
    if not groups:
        raise ValueError("the model has no trainable parameter; set requires_grad on what shall be trained.")
    return torch.optim.AdamW(groups, lr=learning_rate, betas=tuple(betas))


def learning_rate_at(step: int, steps: int, peak: float, warmup: int = 0, schedule: str = "cosine") -> float:
    """The learning rate of one step: a linear rise to ``peak``, then a fall that would reach zero after the last step.

    A function of the step alone, so there is nothing to save and nothing to restore.

    Args:
        step: From 0.
        steps: Number of steps of the whole run.
        peak: Highest rate.
        warmup: Steps of the rise; at most a tenth of the run, so that short trials have one too.
        schedule: ``cosine`` or ``linear``.

    Raises:
        ValueError: The schedule is not known.

    Example:
        >>> [round(learning_rate_at(k, 20, 1.0, warmup=2, schedule="linear"), 2) for k in (0, 1, 2, 11, 19)]
        [0.5, 1.0, 1.0, 0.5, 0.06]
    """
    if schedule not in SCHEDULES:
        raise unknown("schedule", schedule, SCHEDULES)
    warmup = min(warmup, steps // 10)
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (0.5 * (1 + math.cos(math.pi * done)) if schedule == "cosine" else 1 - done)
