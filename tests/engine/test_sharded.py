"""FSDP on two processes computes what one process computes, and its checkpoints are like any other's."""

import csv
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from ris_lib.engine import TrainConfig, load_run, train
from ris_lib.engine.checkpoint import latest_checkpoint, load_checkpoint, load_state
from ris_lib.engine.hardware import check_launch
from ris_lib.engine.run import CHECKPOINTS, MODEL
from tests.engine.sharded_processes import EQUAL, settings, training, with_momentum
from tests.engine.start_two import start_two

two_processes = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="gloo on one machine")]
CONFIG = TrainConfig(out="runs/a", model="alignformer_tiny")


def launched(**changes) -> SimpleNamespace:
    plugin = FullyShardedDataParallelPlugin(**{"fsdp_version": 2} | changes)
    return SimpleNamespace(distributed_type=DistributedType.FSDP, state=SimpleNamespace(fsdp_plugin=plugin))


@pytest.mark.parametrize(
    ("plugin", "config", "message"),
    [
        ({"fsdp_version": 1}, {}, "FSDP with fsdp_version: 1 does not work.*take fsdp_version: 2"),
        ({"auto_wrap_policy": "transformer_based_wrap"}, {}, "fsdp_auto_wrap_policy.*take NO_WRAP"),
        ({"cpu_offload": True}, {}, "fsdp_offload_params.*take false"),
        ({"activation_checkpointing": True}, {}, "fsdp_activation_checkpointing.*--recompute"),
        ({}, {"precision": "fp16"}, "precision fp16.*take bf16 or no"),
        ({}, {"compile": True}, "compile.*leave it out"),
    ],
)
def test_what_cannot_be_cut_up_is_refused(plugin, config, message):
    check_launch(launched(), CONFIG)
    with pytest.raises(ValueError, match=message):
        check_launch(launched(**plugin), TrainConfig(out="runs/a", model="alignformer_tiny", **config))


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> Path:
    return start_two("tests.engine.sharded_processes", tmp_path_factory.mktemp("sharded"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """The same runs in this process."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "make_optimizer", with_momentum)
        for name, changes in EQUAL.items():
            train(settings(folder / name, **changes), progress=False)
    for name, changes in {"one_step": {"steps": 1}, "short_numbers": {"precision": "bf16", "steps": 2}}.items():
        train(settings(folder / name, **changes), progress=False)
    return folder


def rows(folder: Path) -> list[dict[str, float]]:
    table = list(csv.DictReader((folder / "metrics.csv").open()))
    return [{name: float(value) for name, value in row.items() if value and name != "seconds"} for row in table]


def distance(one: dict, other: dict) -> float:
    """The length of the difference of all weights, as a part of the length of all weights."""
    assert one.keys() == other.keys()
    flat = [torch.cat([tensor.double().flatten() for tensor in state.values()]) for state in (one, other)]
    return float((flat[0] - flat[1]).norm() / flat[1].norm())


class TestTwoProcesses:
    pytestmark = two_processes

    @pytest.mark.parametrize("name", EQUAL)
    def test_losses_scores_and_weights_are_those_of_one_process(self, answers, alone, name):
        mine, theirs = rows(answers / name), rows(alone / name)
        assert len(mine) == len(theirs) > 1
        for one, other in zip(mine, theirs):  # the norm is a root of many small squares
            assert one.pop("gradient_norm") == pytest.approx(other.pop("gradient_norm"), rel=5e-5)
            assert one == pytest.approx(other, rel=1e-5, abs=1e-6)
        assert distance(load_run(answers / name).state_dict(), load_run(alone / name).state_dict()) < 1e-6

    def test_short_numbers_are_used_and_nearly_as_in_one_process(self, answers, alone):
        mine, theirs = (rows(folder / "short_numbers") for folder in (answers, alone))
        assert [row["loss"] for row in mine] == pytest.approx([row["loss"] for row in theirs], rel=1e-2)
        assert mine[0]["loss"] != pytest.approx(rows(answers / "whole")[0]["loss"], rel=1e-6)

    def test_a_stop_and_a_resume_end_as_the_whole_run(self, answers):
        whole, parted = (load_run(answers / name).state_dict() for name in ("whole", "parted"))
        assert all(torch.equal(whole[name], parted[name]) for name in whole)
        assert rows(answers / "whole") == rows(answers / "parted")

    def test_a_checkpoint_has_the_form_of_one_of_one_process(self, answers, alone):
        places = [
            latest_checkpoint(answers / "whole" / CHECKPOINTS),
            latest_checkpoint(alone / "one_step" / CHECKPOINTS),
        ]
        assert {path.name for path in places[0].iterdir()} == {path.name for path in places[1].iterdir()}
        mine, theirs = (load_state(place)["optimizer"] for place in places)
        assert [group["params"] for group in mine["param_groups"]] == [g["params"] for g in theirs["param_groups"]]
        for number, moments in theirs["state"].items():
            assert {k: v.shape for k, v in mine["state"][number].items()} == {k: v.shape for k, v in moments.items()}
        model, _ = load_checkpoint(places[0], "alignformer_tiny")
        assert distance(model.state_dict(), load_run(answers / "whole").state_dict()) == 0

    @pytest.mark.parametrize(("name", "nearly"), [("equal", 1e-6), ("whole", 0.05)])
    def test_one_process_goes_on_from_a_checkpoint_of_two(self, answers, tmp_path, name, nearly, monkeypatch):
        """With momentum to what float32 rounds; with AdamW nearly, see ``with_momentum``."""
        place = shutil.copytree(answers / name, tmp_path / name)
        for later in (place / MODEL, place / CHECKPOINTS / "step_00000004"):
            shutil.rmtree(later)
        if name in EQUAL:
            monkeypatch.setattr(training, "make_optimizer", with_momentum)
        changes = EQUAL.get(name, {})
        train(settings(place, resume=True, **changes), progress=False)
        assert distance(load_run(place).state_dict(), load_run(answers / name).state_dict()) < nearly

    def test_each_process_keeps_its_part(self, answers):
        kept = [torch.load(answers / f"kept-{rank}.pt", weights_only=True) for rank in range(2)]
        for name in ("weights", "moments"):
            assert sum(part[name] for part in kept) == pytest.approx(1)
            assert max(part[name] for part in kept) < 0.6

    def test_an_estimate_is_made(self, answers):
        said = (answers / "estimate-0.txt").read_text()
        assert said.startswith("0\nalignformer_tiny, 600 steps on cpu, 1 thread, 2 processes")

    def test_a_model_with_single_numbers_is_refused(self, answers):
        for rank in range(2):
            said = (answers / f"refused-{rank}.txt").read_text()
            assert "cannot cut up head.mask_bias, head.weights.log_temperature" in said
        assert not (answers / "refused").exists()
