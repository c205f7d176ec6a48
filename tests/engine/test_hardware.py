"""Many processes and a compiler: what is refused, what is changed, and that names stay."""

import shutil
import sys
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from safetensors.torch import load_file
from torch import nn

from ris_lib.engine import TrainConfig, load_run, train
from ris_lib.engine.hardware import check_compiler, check_launch, synchronise_batch_norm
from ris_lib.models import create_model

training = sys.modules[train.__module__]


@pytest.mark.parametrize("kind", ["MEGATRON_LM", "DEEPSPEED"])
def test_a_foreign_launch_is_refused(kind):
    config = TrainConfig(out="runs/a", model="baseline_tiny")
    with pytest.raises(ValueError, match=rf"configured for {kind}.*Use distributed_type MULTI_GPU"):
        check_launch(SimpleNamespace(distributed_type=DistributedType(kind)), config)
    for fine in ("NO", "MULTI_CPU", "MULTI_GPU"):
        check_launch(SimpleNamespace(distributed_type=DistributedType(fine)), config)


@pytest.mark.parametrize(
    "changes",
    [
        {"decoder": {"norm": "batch"}},
        {"decoder": {"norm": "batch"}, "image_tower": {"name": "timm", "model": "efficientnet_b0"}, "merge": None},
    ],
    ids=["tiny", "timm"],
)
def test_batch_norms_are_synchronised_on_gpus_and_nothing_else_changes(changes):
    """timm's norms have an activation inside; converted, they keep it."""
    torch.manual_seed(0)
    model = create_model("baseline_tiny", **changes).train()
    parameters, names = list(model.parameters()), list(model.state_dict())
    activations = [part.act for part in model.modules() if hasattr(part, "act") and hasattr(part, "running_mean")]
    converted = synchronise_batch_norm(model, torch.device("cuda"), processes=2)
    assert converted is model
    assert list(model.state_dict()) == names
    assert all(one is other for one, other in zip(model.parameters(), parameters))
    norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(part, nn.SyncBatchNorm) for part in norms)
    assert [part.act for part in norms if hasattr(part, "act")] == activations


def test_on_the_cpu_a_warning_says_what_happens():
    model = create_model("baseline_tiny", decoder={"norm": "batch"})
    with pytest.warns(UserWarning, match=r"batch norms cannot be synchronised on cpu: each of the 2 processes"):
        synchronise_batch_norm(model, torch.device("cpu"), processes=2)
    assert not any(isinstance(part, nn.SyncBatchNorm) for part in model.modules())


@pytest.mark.filterwarnings("error")
def test_one_process_or_no_batch_norm_needs_nothing():
    plain, normed = create_model("baseline_tiny"), create_model("baseline_tiny", decoder={"norm": "batch"})
    assert synchronise_batch_norm(plain, torch.device("cpu"), processes=2) is plain
    synchronise_batch_norm(normed, torch.device("cuda"), processes=1)
    assert not any(isinstance(part, nn.SyncBatchNorm) for part in normed.modules())


def test_without_a_compiler_nothing_is_left_behind(tmp_path, settings, monkeypatch):
    def no_compiler(function):
        def fail(x):
            raise RuntimeError("No working C++ compiler found: g++\nset TORCH_LOGS for more")

        return fail

    monkeypatch.setattr(torch, "compile", no_compiler)
    with pytest.raises(ValueError, match=r"does not work on cpu here; it needs a C\+\+ compiler.*found: g\+\+$"):
        train(settings(tmp_path / "run", compile=True), progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_compiled_run_is_saved_evaluated_and_resumed_as_another(tmp_path, settings, complete_run, monkeypatch):
    """With a backend that compiles nothing, only what stands around the model can make a difference."""
    real = torch.compile
    monkeypatch.setattr(training, "check_compiler", lambda device: None)
    monkeypatch.setattr(torch, "compile", lambda model: real(model, backend="eager"))
    config = settings(tmp_path / "run", compile=True, checkpoint_every=2)
    run = train(config, progress=False)
    saved, plain = (load_file(folder / "model" / "model.safetensors") for folder in (run, complete_run))
    assert saved.keys() == plain.keys()
    for name, value in plain.items():
        torch.testing.assert_close(saved[name], value)
    shutil.rmtree(run / "model")
    shutil.rmtree(run / "checkpoints" / "step_00000004")
    train(settings(run, resume=True), progress=False)
    resumed = load_run(run).state_dict()
    assert all(torch.equal(resumed[name], value) for name, value in saved.items())


def test_a_compiler_that_works_is_tried_once(monkeypatch):
    tried = []
    monkeypatch.setattr(torch, "compile", lambda function: tried.append(function) or function)
    check_compiler(torch.device("cpu"))
    assert len(tried) == 1
