"""What is optimised and how fast: parameter groups and the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn

from ris_lib._names import unknown

SCHEDULES = ("cosine", "linear", "polynomial", "step")

#: ``polynomial`` falls as (1 - done)^0.9 (LAVT, LGFormer); ``step`` drops to a tenth after 70 % of the run (CRIS: after
#: epoch 35 of 50).
_POWER, _DROP_AT, _DROP_TO = 0.9, 0.7, 0.1


def freeze(model: nn.Module, prefixes: Sequence[str]) -> None:
    """Take parameters out of training.

    Args:
        model: A model.
        prefixes: Beginnings of parameter names, such as ``"encoder.text_tower.embeddings."``.

    Raises:
        ValueError: A prefix fits no parameter.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> freeze(layer, ["bias"])
        >>> layer.bias.requires_grad, layer.weight.requires_grad
        (False, True)
    """
    for prefix, parameters in _by_prefix(model, prefixes).items():
        if not parameters:
            raise ValueError(f"frozen={list(prefixes)}: no parameter's name begins with {prefix!r}.")
        for parameter in parameters:
            parameter.requires_grad_(False)


def parameter_groups(
    model: nn.Module, weight_decay: float, rate_factors: Mapping[str, float] | None = None
) -> list[dict]:
    """Every trainable parameter exactly once: the weights of linear and convolution layers decay, all others do not.

    Decay pulls towards zero. That means something for a weight matrix, and nothing for a norm's scale, a bias, an
    embedding, or a learned position or query.

    Args:
        model: Its frozen parameters are left out; a parameter that two modules share is there once.
        weight_decay: Decay of the weight matrices.
        rate_factors: Factors of the learning rate by beginning of the parameter's name; 1 for all others.

    Returns:
        Groups for a torch optimiser, each with its ``rate_factor``; empty ones are left out.

    Raises:
        ValueError: A beginning fits no parameter.

    Example:
        >>> layer = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2), nn.LayerNorm(2))
        >>> [(g["weight_decay"], len(g["params"])) for g in parameter_groups(layer, 0.1)]
        [(0.1, 1), (0.0, 4)]
        >>> [g["rate_factor"] for g in parameter_groups(layer, 0.1, {"0.": 0.1})]
        [1.0, 1.0, 0.1]
    """
    factors, rate_factors = {}, rate_factors or {}
    for prefix, parameters in _by_prefix(model, rate_factors).items():
        if not parameters:
            raise ValueError(f"rate_factors={dict(rate_factors)}: no parameter's name begins with {prefix!r}.")
        factors |= {id(parameter): float(rate_factors[prefix]) for parameter in parameters}
    kept = {id(weight) for m in model.modules() if isinstance(m, nn.Embedding) for weight in m.parameters()}
    groups: dict[tuple[float, bool], list] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim >= 2 and name.endswith("weight") and id(parameter) not in kept
            groups.setdefault((factors.get(id(parameter), 1.0), decays), []).append(parameter)
    return [
        {"params": groups[key], "weight_decay": weight_decay if key[1] else 0.0, "rate_factor": key[0]}
        for key in sorted(groups, reverse=True)
    ]


def _by_prefix(model: nn.Module, prefixes: Iterable[str]) -> dict[str, list[nn.Parameter]]:
    named = list(model.named_parameters())
    return {prefix: [parameter for name, parameter in named if name.startswith(prefix)] for prefix in prefixes}


def make_optimizer(
    model: nn.Module,
    learning_rate: float,
    weight_decay: float = 0.0,
    betas: Sequence[float] = (0.9, 0.999),
    rate_factors: Mapping[str, float] | None = None,
) -> torch.optim.AdamW:
    """AdamW over ``parameter_groups``. Without weight decay it is Adam.

    Source: Loshchilov and Hutter 2019 (decoupled weight decay).

    Raises:
        ValueError: The model has no trainable parameter.
    """
    groups = parameter_groups(model, weight_decay, rate_factors)
    if not groups:
        raise ValueError("the model has no trainable parameter; set requires_grad on what shall be trained.")
    first, second = betas
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(first, second))
    set_learning_rate(optimizer, learning_rate)
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the rate times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_factor"]


def learning_rate_at(step: int, steps: int, peak: float, warmup: int = 0, schedule: str = "cosine") -> float:
    """The learning rate of one step: a linear rise to ``peak``, then a fall.

    A function of the step alone, so there is nothing to save and nothing to restore.

    Args:
        step: From 0.
        steps: Number of steps of the whole run.
        peak: Highest rate.
        warmup: Steps of the rise; at most a tenth of the run, so that short trials have one too.
        schedule: ``cosine``, ``linear`` and ``polynomial`` would reach zero after the last step; ``step`` falls once,
            to a tenth, after 70 % of the run.

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
    if schedule == "step":
        return peak * (1.0 if step < _DROP_AT * steps else _DROP_TO)
    falls = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "polynomial": (1 - done) ** _POWER}
    return peak * falls[schedule]
