"""What each of two processes does for tests/engine/test_sharded.py:  python -m tests.engine.sharded_processes FOLDER

accelerate turns FSDP on where there are GPUs and nowhere else. Here it is told that it did: what it then does, and what
PyTorch does, is the same on the CPU.
"""

import os
import sys
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.distributed.tensor import DTensor

from ris_lib.engine import TrainConfig, train
from ris_lib.engine.optimizer import parameter_groups
from ris_lib.engine.setup import settle
from ris_lib.engine.train import prepare
from tests.engine.two_processes import SMALL, estimated, stop_in_the_second_step

training = sys.modules[train.__module__]

#: No recipe of these has a batch norm. With evaluations of three pictures: two for one process, one for the other.
RUN = {**SMALL, "model": "alignformer_tiny", "steps": 4, "checkpoint_every": 2}
SCORED = {"evaluate_every": 2, "evaluate_split": "train", "evaluate_limit": 3}
#: What is compared with one process, to what float32 rounds.
EQUAL = {"equal": {"learning_rate": 0.1}, "accumulated": {"learning_rate": 0.1, "accumulate": 2, "steps": 2}}


class Sharding(Accelerator):
    """An accelerator that was launched with FSDP."""

    def __init__(self, **options):
        super().__init__(**options)
        self.state.fsdp_plugin = FullyShardedDataParallelPlugin(fsdp_version=2)
        self.state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP


def settings(out: Path, **changes) -> TrainConfig:
    return TrainConfig(out=out, **RUN | SCORED | changes)


def with_momentum(model, rate, weight_decay, betas, rate_factors) -> torch.optim.SGD:
    """In place of AdamW, whose first steps make whole steps of gradients that are nothing but rounding."""
    return torch.optim.SGD(parameter_groups(model, weight_decay, rate_factors), lr=rate, momentum=0.9)


def kept(folder: Path) -> dict[str, float]:
    """Numbers of weights and moments in this process, as parts of all, after a resume."""
    ready = prepare(settle(settings(folder, resume=True)))
    weights = list(ready.model.parameters())
    moments = [entry["exp_avg"] for entry in ready.optimizer.state.values()]
    assert all(isinstance(tensor, DTensor) for tensor in weights + moments)
    return {
        "weights": sum(tensor.to_local().numel() for tensor in weights) / sum(tensor.numel() for tensor in weights),
        "moments": sum(tensor.to_local().numel() for tensor in moments) / sum(tensor.numel() for tensor in moments),
    }


def answer(folder: Path) -> None:
    torch.set_num_threads(1)
    part, torch.distributed.destroy_process_group = torch.distributed.destroy_process_group, lambda group=None: None
    rank = int(os.environ["RANK"])
    training.Accelerator = Sharding
    adam, training.make_optimizer = training.make_optimizer, with_momentum
    for name, changes in EQUAL.items():
        train(settings(folder / name, **changes), progress=False)
    training.make_optimizer = adam
    train(settings(folder / "whole"), progress=False)
    stop_in_the_second_step(settings(folder / "parted"), rank)
    torch.distributed.barrier()
    torch.save(kept(folder / "parted"), folder / f"kept-{rank}.pt")
    torch.distributed.barrier()
    train(settings(folder / "parted", resume=True), progress=False)
    train(settings(folder / "short_numbers", precision="bf16", steps=2), progress=False)
    (folder / f"estimate-{rank}.txt").write_text(estimated(folder, "alignformer_tiny"))
    try:
        train(settings(folder / "refused", model="coupalign_tiny"), progress=False)
    except ValueError as error:
        (folder / f"refused-{rank}.txt").write_text(str(error))
    part()  # each training would end with this, and a process does one


if __name__ == "__main__":
    answer(Path(sys.argv[1]))
