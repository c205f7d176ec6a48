"""The ready configurations: accelerate reads them, and the commands in their comments are what they say."""

import os
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import tyro
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env

from ris_lib.engine import TrainConfig
from ris_lib.engine.hardware import check_launch
from ris_lib.engine.setup import asked_for, settle

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "studies" / "accelerate").glob("*.yaml"))
EXPECTED = {
    "1xT4": ("fp16", 1, 1),
    "1xH100": ("bf16", 1, 1),
    "8xH100": ("bf16", 1, 8),
    "8xH100_sharded": ("bf16", 1, 8),
    "2x8xH100": ("bf16", 2, 16),
}


def test_there_is_one_for_each_machine():
    assert {path.stem for path in FILES} == set(EXPECTED)


def command_of(path: Path) -> list[str]:
    """The words of the command in a file's comment."""
    lines = re.findall(r"^#   (.*?)\\?$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return shlex.split(" ".join(lines))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_accelerate_reads_it(path):
    config = load_config_from_file(str(path))
    assert (config.mixed_precision, config.num_machines, config.num_processes) == EXPECTED[path.stem]
    many = "FSDP" if path.stem.endswith("_sharded") else "MULTI_GPU"
    assert config.distributed_type.value == (many if config.num_processes > 1 else "NO")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_command_asks_for_a_run_that_can_be_shared_out(path, tmp_path, monkeypatch):
    words = command_of(path)
    assert words[:2] == ["accelerate", "launch"]
    monkeypatch.chdir(ROOT)
    arguments = launch_command_parser().parse_args(words[2:])
    assert (arguments.module, arguments.training_script) == (True, "ris_lib")
    assert Path(arguments.config_file) == path.relative_to(ROOT)
    flags = arguments.training_script_args
    assert flags[0] == "train"
    asked = tyro.cli(TrainConfig, args=[*flags[1:], "--out", str(tmp_path / "run")])
    assert asked.precision is None, "the configuration decides it"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", load_config_from_file(str(path)).mixed_precision)
    settled = settle(asked)
    assert settled.precision == EXPECTED[path.stem][0]
    assert settled.images_per_step % (EXPECTED[path.stem][2] * settled.accumulate) == 0
    assert asked_for(settled).recipe == asked.model


def test_what_the_sharded_one_asks_for_is_not_refused(monkeypatch):
    """With the variables that the launcher leaves to the processes."""
    monkeypatch.chdir(ROOT)
    words = command_of(ROOT / "studies" / "accelerate" / "8xH100_sharded.yaml")
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(words[2:]))
    for name, value in prepare_multi_gpu_env(arguments).items():
        monkeypatch.setenv(name, value)
    assert os.environ["ACCELERATE_USE_FSDP"] == "true"
    state = SimpleNamespace(fsdp_plugin=FullyShardedDataParallelPlugin())
    config = TrainConfig(out="runs/a", model="lavt_base", precision=os.environ["ACCELERATE_MIXED_PRECISION"])
    check_launch(SimpleNamespace(distributed_type=DistributedType.FSDP, state=state), config)
    assert state.fsdp_plugin.fsdp_version == 2
    assert not state.fsdp_plugin.cpu_ram_efficient_loading


def test_a_configuration_reaches_the_launcher(monkeypatch):
    """Precision and number of processes come out of the file where no flag says otherwise."""
    monkeypatch.chdir(ROOT)
    words = command_of(ROOT / "studies" / "accelerate" / "1xT4.yaml")
    arguments, defaults, precision_from_file = _validate_launch_command(launch_command_parser().parse_args(words[2:]))
    assert arguments.mixed_precision == "fp16"
    assert arguments.num_processes == 1
    assert defaults.num_processes == 1
    assert precision_from_file
