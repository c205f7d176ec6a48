"""Two processes with half a batch each train like one process with the whole batch."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ris_lib.models import create_model
from tests.tiny_batches import make_batch

SCRIPT = """
import sys
from dataclasses import replace
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
rank, folder, tests = int(sys.argv[1]), sys.argv[2], sys.argv[3]
sys.path.insert(0, tests)
from tiny_batches import make_batch
from ris_lib.models import create_model
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
torch.manual_seed(0)
model = DistributedDataParallel(create_model("baseline_tiny"))
whole = make_batch(index=(0, 0, 1))
rows = torch.tensor([[0, 1], [2, 2]][rank])[: 2 - rank]
part = replace(
    whole,
    images=whole.images[rank : rank + 1],
    image_index=torch.zeros(len(rows), dtype=torch.long),
    **{name: getattr(whole, name)[rows] for name in ("token_ids", "word_mask", "word_index", "masks")},
)
output = model(part, with_losses=True)
output.loss.backward()
torch.save(
    {"loss": output.loss.detach(), "gradients": {k: p.grad for k, p in model.module.named_parameters()}},
    f"{folder}/{rank}.pt",
)
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    tests = str(Path(__file__).parents[1])
    workers = [
        subprocess.Popen([sys.executable, "-c", SCRIPT, str(rank), str(tmp_path), tests], stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    messages = [worker.communicate(timeout=240)[1].decode() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(messages)
    halves = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]

    torch.manual_seed(0)
    model = create_model("baseline_tiny")
    output = model(make_batch(index=(0, 0, 1)), with_losses=True)
    output.loss.backward()
    torch.testing.assert_close((halves[0]["loss"] + halves[1]["loss"]) / 2, output.loss.detach())
    for name, parameter in model.named_parameters():
        for half in halves:
            torch.testing.assert_close(half["gradients"][name], parameter.grad, atol=1e-5, rtol=1e-3)
