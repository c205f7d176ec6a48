"""What many processes and a compiler need of a model before the first step; what cannot work is refused here."""

from __future__ import annotations

import warnings
from typing import cast

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch.nn.modules.batchnorm import _BatchNorm

from ris_lib.engine.config import TrainConfig
from ris_lib.engine.device import M
from ris_lib.engine.sharded import check_sharding, is_sharded

#: Launches that this training cannot be part of.
_FOREIGN = (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)


def check_launch(accelerator: Accelerator, config: TrainConfig) -> None:
    """Refuse a launch that cuts the weights up in a way that this training cannot put together again.

    Args:
        accelerator: Of the launch.
        config: Complete settings.

    Raises:
        ValueError: It is such a launch.
    """
    kind = accelerator.distributed_type
    if kind in _FOREIGN:
        raise ValueError(
            f"accelerate is configured for {kind.value}, which this training does not know. Use distributed_type "
            "MULTI_GPU; where memory is short: recompute, accumulate, precision bf16, or distributed_type FSDP."
        )
    if is_sharded(accelerator):
        check_sharding(accelerator, config)


def synchronise_batch_norm(model: M, device: torch.device, processes: int) -> M:
    """Let batch norms take mean and variance over the pictures of all processes, where there are several.

    PyTorch can do it on GPUs only. Names and numbers of the weights stay, so a checkpoint does not tell.

    Args:
        model: It is changed in place: parameters are the same objects.
        device: Where it will compute.
        processes: Number of processes.

    Returns:
        The model.

    Warns:
        UserWarning: There are several processes on a device where it cannot be done.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.BatchNorm2d(2))
        >>> synchronise_batch_norm(model, torch.device("cuda"), processes=2)[0]
        SyncBatchNorm(2, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
    """
    count = sum(isinstance(part, _BatchNorm) for part in model.modules())
    if processes == 1 or not count:
        return model
    if device.type != "cuda":
        warnings.warn(
            f"{count} batch norms cannot be synchronised on {device.type}: each of the {processes} processes takes "
            "mean and variance over its own pictures, and the first one's running statistics are saved. The result "
            "differs from that of one process; take norm='group' where the model has a choice.",
            UserWarning,
            stacklevel=2,
        )
        return model
    from timm.layers.norm_act import convert_sync_batchnorm  # PyTorch's own would lose the activations in timm's norms

    return cast(M, convert_sync_batchnorm(model))  # it keeps the class of a model with batch norms inside


def check_compiler(device: torch.device) -> None:
    """Compile and run the smallest function there is: what is missing shows now, and not after hours of queueing.

    Args:
        device: Where the model will compute.

    Raises:
        ValueError: It did not work; the message ends with PyTorch's own reason.
    """
    needed = {"cuda": "Triton (it comes with PyTorch's CUDA builds)", "cpu": "a C++ compiler (g++ or clang++)"}
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(8, device=device))
    except Exception as error:  # torch._dynamo's and its backends' errors have no common class
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"torch.compile does not work on {device.type} here; it needs {needed.get(device.type, 'a compiler')}. "
            f"Install it, or train without compile. PyTorch says: {reason[0]}"
        ) from error
