"""Weights that are cut up among processes: FSDP, version 2, as accelerate and PyTorch do it.

Each process keeps one part in N of every weight, of its gradient and of AdamW's two moments. For a step the weights are
put together in each process; their gradients are summed and cut up again. The model is one unit: less memory is needed
for what lies there between steps, weights and moments, and as much as ever for what a step makes.

Checkpoints are those of any other run. Weights and moments are put together for them, tensor by tensor, in a copy of
the model that each process has in its main memory; evaluations use this copy, so processes may have different numbers
of pictures.

Source: Zhao et al. 2023 (PyTorch FSDP). One unit is our decision, because encoders here are small beside what their
pictures need.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import Tensor, nn

from ris_lib._shown import listing
from ris_lib.contract import MaskOutput
from ris_lib.engine.config import TrainConfig
from ris_lib.engine.device import M

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether the launch cuts weights up."""
    return accelerator.distributed_type == DistributedType.FSDP


def check_sharding(accelerator: Accelerator, config: TrainConfig) -> None:
    """Refuse what a training that cuts weights up cannot do here.

    Args:
        accelerator: Of a launch with FSDP.
        config: Complete settings.

    Raises:
        ValueError: The message says which line of the launch's configuration, or which setting, is to be changed.
    """
    plugin = _plugin(accelerator)
    refused = {
        "fsdp_version: 1": (plugin.fsdp_version != 2, "take fsdp_version: 2"),
        "fsdp_auto_wrap_policy": (plugin.auto_wrap_policy is not None, "take NO_WRAP: the model is one unit"),
        "fsdp_offload_params": (type(plugin.cpu_offload).__name__ == "CPUOffloadPolicy", "take false"),
        "fsdp_activation_checkpointing": (plugin.activation_checkpointing, "take false, and --recompute"),
        "precision fp16": (config.precision == "fp16", "take bf16 or no"),
        "compile": (config.compile, "leave it out"),
    }
    for what, (found, way_out) in refused.items():
        if found:
            raise ValueError(f"FSDP with {what} does not work in this training; {way_out}.")


def _plugin(accelerator: Accelerator) -> FullyShardedDataParallelPlugin:
    plugin = accelerator.state.fsdp_plugin
    assert plugin is not None  # a launch with FSDP has one
    return plugin


def shard(accelerator: Accelerator, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, Any]:
    """Cut a model and its optimiser up among the processes.

    Args:
        accelerator: Of a launch with FSDP.
        model: The same in each process, in memory as PyTorch makes it (not channels last). It is changed in place.
        optimizer: Of its parameters, before the first step.

    Returns:
        The model and the optimiser for the steps.

    Raises:
        ValueError: A parameter is a single number without dimensions, which PyTorch does not cut up.
    """
    if single := [name for name, parameter in model.named_parameters() if parameter.dim() == 0]:
        raise ValueError(
            f"FSDP cannot cut up {listing(single)}: single numbers without dimensions. Launch this model with "
            "distributed_type MULTI_GPU, which keeps weights whole."
        )
    plugin = _plugin(accelerator)
    plugin.cpu_ram_efficient_loading = False  # every process has made the same model
    plugin.mixed_precision_policy = None  # autocast, as everywhere here: the policy would not see inside of a batch
    _show_outputs()
    model, optimizer = accelerator.prepare(model, optimizer)
    return in_precision(accelerator, model), optimizer


def in_precision(accelerator: Accelerator, model: M) -> M:
    """Let a model compute in the number format of the run, as accelerate does for models that are not cut up."""
    forward = model.forward

    def forward_in_precision(*inputs: Any, **options: Any) -> Any:
        with accelerator.autocast():
            return forward(*inputs, **options)

    model.forward = forward_in_precision
    return model


@torch.no_grad()
def put_together(model: nn.Module, whole: nn.Module) -> None:
    """Copy weights and buffers into a model that has them whole. Every process must call this: it waits for the others.

    Args:
        model: What ``shard`` returned.
        whole: The same model, not cut up, on any device.
    """
    parts = model.state_dict()
    for name, kept in whole.state_dict().items():
        kept.copy_(full(parts[name]))


def gathered(state: dict[str, Any]) -> dict[str, Any]:
    """An optimiser's state with whole moments, as it would be of a model that is not cut up; they come to the CPU.

    Every process must call this: it waits for the others.

    Args:
        state: What ``optimizer.state_dict()`` returned. One without parts stays as it is.
    """
    moments = {
        number: {name: full(value).cpu() if _is_part(value) else value for name, value in entry.items()}
        for number, entry in state["state"].items()
    }
    return {**state, "state": moments}


def cut_up(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The inverse of ``gathered``: what ``optimizer.load_state_dict`` takes.

    Args:
        state: Of an optimiser, with whole moments.
        optimizer: The one that takes it; where its parameters are not cut up, the state stays as it is.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {**state, "state": {n: _like(entry, parameters[n]) for n, entry in state["state"].items()}}


def local(tensor: Tensor) -> Tensor:
    """What this process has of a tensor."""
    return tensor.to_local() if _is_part(tensor) else tensor


def full(tensor: Tensor) -> Tensor:
    """A tensor in one piece. Where it is cut up, every process must call this: it waits for the others.

    Example:
        >>> full(torch.ones(2))
        tensor([1., 1.])
    """
    return tensor.full_tensor() if _is_part(tensor) else tensor


def _is_part(tensor: Any) -> TypeGuard[DTensor]:
    """Whether this is a DTensor; PyTorch has none where it was built without ``torch.distributed``."""
    return hasattr(tensor, "full_tensor")


def _like(entry: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
    """Moments cut as their parameter is."""
    if not _is_part(parameter):
        return entry
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = parameter.device_mesh, parameter.placements
    return {
        name: distribute_tensor(value.to(mesh.device_type), mesh, placements) if value.dim() else value
        for name, value in entry.items()
    }


@cache
def _show_outputs() -> None:
    """Let PyTorch look into what the model returns.

    FSDP hangs its work on the tensors that it finds there. Where it finds none, gradients are not shared, in silence.
    """
    torch.export.register_dataclass(MaskOutput, serialized_type_name="ris_lib.contract.MaskOutput")
