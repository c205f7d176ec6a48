"""Where a model computes, and how it is held still while it predicts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

from ris_lib._names import unknown

M = TypeVar("M", bound=nn.Module)


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """The device of that name, if this machine has it.

    Args:
        name: ``auto`` (a CUDA GPU, else Apple's, else the CPU), or what ``torch.device`` takes.

    Raises:
        ValueError: There is no such kind of device, or this machine has none.

    Example:
        >>> pick_device("cpu")
        device(type='cpu')
    """
    if str(name) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise unknown("device", name, ("auto", "cpu", "cuda", "mps")) from error
    here = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(_has_mps())}
    if (device.index or 0) >= here.get(device.type, 0):
        names = [kind for kind, count in here.items() if count]
        raise ValueError(f"device {str(name)!r} is not on this machine, which has: {', '.join(names)}. Use 'auto'.")
    return device


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


def channels_last(model: M) -> M:
    """Lay a model's weights out in memory with the channels of a pixel side by side; the model is changed in place.

    Convolutions are faster then, and the (S, N, C) views of fusion blocks need no copies.

    Example:
        >>> channels_last(nn.Conv2d(3, 4, 2)).weight.stride()
        (12, 1, 6, 3)
    """
    return model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - not in its overloads


def synchronise(device: torch.device) -> None:
    """Wait until a device has done what it was given; for clocks, because a GPU is handed work and not waited for.

    Args:
        device: A CUDA GPU or Apple's; the CPU is never behind.

    Example:
        >>> synchronise(torch.device("cpu"))
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@contextmanager
def inference(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode without gradients, on a device; afterwards every module is in the mode that it was in.

    Args:
        model: It is moved to the device and stays there.
        device: What ``pick_device`` returned.

    Example:
        >>> layer = nn.Dropout()
        >>> with inference(layer, torch.device("cpu")):
        ...     layer.training
        False
        >>> layer.training
        True
    """
    model.to(device)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def deterministic() -> Iterator[None]:
    """Algorithms that give the same bits every time, where PyTorch has them; a warning where it has not.

    On the CPU this costs nothing; the number of threads still decides the last bits. (PyTorch's custom is then to fill
    every new tensor with NaN as well, to find what reads memory before it is written. That changes no result, costs
    some 5 % of a training step on the CPU, and is switched off.)

    Example:
        >>> with deterministic():
        ...     torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
        (True, False)
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for; read when CUDA starts
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    custom: Any = torch.utils.deterministic  # its one setting is made at run time, where no type checker sees it
    filled = custom.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    custom.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        custom.fill_uninitialized_memory = filled
