"""What breaks a run while it goes, each fault for real: it stops with words that help, and goes on to the same bits."""

import csv
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ris_lib.engine import Stopped, TrainConfig, load_run, train
from ris_lib.engine import train as package_function
from ris_lib.engine.checkpoint import latest_checkpoint, load_state
from ris_lib.engine.interrupt import StopRequest
from ris_lib.engine.loader import StepBatches
from ris_lib.engine.workers import start_worker, watched_workers
from tests.data.conftest import ReferFolder
from tests.data.test_screen import WHOLE, photographs
from tests.injected import child, forks

pytestmark = pytest.mark.slow

module = sys.modules[package_function.__module__]


def same_weights(one, two) -> bool:
    first, second = load_run(one).state_dict(), load_run(two).state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def stopped(config, kind, match, monkeypatch, **patches) -> None:
    """The run stops with these words; what was patched is whole again afterwards."""
    with monkeypatch.context() as patch:
        for name, value in patches.items():
            patch.setattr(StepBatches, name, value)
        with pytest.raises(kind, match=match):
            train(config, progress=False)


def test_a_batch_that_is_not_finite(tmp_path, settings, complete_run, monkeypatch):
    real = StepBatches.__getitem__

    def poisoned(self, part):
        batch = real(self, part)
        if part == 2:
            batch.images[0, 0, 5, 5] = torch.nan
        return batch

    config = settings(tmp_path / "run", checkpoint_every=2)
    stopped(config, ValueError, r"step 3: the loss is nan .*step_00000002", monkeypatch, __getitem__=poisoned)
    assert load_state(latest_checkpoint(config.out / "checkpoints"))["step"] == 2
    assert same_weights(train(replace(config, resume=True), progress=False), complete_run)


@pytest.mark.parametrize("name", ["model", "steps", "images_per_step", "sentences_per_image"])
def test_settings_that_lost_what_the_recipe_had_decided(name, tmp_path, complete_run):
    folder = shutil.copytree(complete_run, tmp_path / "run")
    shutil.rmtree(folder / "model")
    saved = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(saved | {name: None}))
    with pytest.raises(ValueError, match=f"{name}=None, and nothing decides it"):
        train(TrainConfig(out=folder, resume=True), progress=False)


@forks
def test_a_worker_that_is_killed(tmp_path, settings, complete_run, monkeypatch):
    real = StepBatches.__getitem__

    def deadly(self, part):
        if part == 3 and torch.utils.data.get_worker_info() is not None:
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, part)

    config = settings(tmp_path / "run", checkpoint_every=1, workers=1)
    words = r"a process that prepares batches died \(.*fewer --workers.*--resume"
    stopped(config, ChildProcessError, words, monkeypatch, __getitem__=deadly)
    assert same_weights(train(replace(config, resume=True), progress=False), complete_run)


@forks
def test_a_worker_that_has_no_shared_memory(tmp_path, settings, complete_run, monkeypatch):
    def full(self):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_7>: No space left on device (28)")

    config = settings(tmp_path / "run", checkpoint_every=1, workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(torch.UntypedStorage, "_share_fd_cpu_", full)
        patch.setattr(torch.UntypedStorage, "_share_filename_cpu_", full)
        with pytest.raises(ChildProcessError, match=r"shared memory is full.*--shm-size.*--workers 0.*--resume"):
            train(config, progress=False)
    assert same_weights(train(replace(config, resume=True, workers=0), progress=False), complete_run)


class Large(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, number):
        return torch.zeros(1_000_000)


@forks
def test_a_real_shared_memory_that_is_full(tmp_path):
    """In a process with a /dev/shm of its own of 1 MB, which only root may make."""
    said = tmp_path / "said"

    def job() -> None:
        new_mounts = 0x00020000
        if ctypes.CDLL(None).unshare(new_mounts):
            return
        for command in ("mount --make-rprivate /", "mount -t tmpfs -o size=1M tmpfs /dev/shm"):
            if subprocess.run(command.split(), capture_output=True).returncode:
                return
        said.write_text("nothing")
        try:
            with watched_workers():
                loader = torch.utils.data.DataLoader(
                    Large(), batch_size=None, num_workers=2, worker_init_fn=start_worker
                )
                list(loader)
        except ChildProcessError as error:
            said.write_text(str(error))

    process = child(job)
    process.join(60)
    try:
        assert process.exitcode is not None, "it waits for ever, as torch alone does"
    finally:
        process.kill()
    if not said.is_file():
        pytest.skip("no file system may be mounted here")
    assert "shared memory is full (/dev/shm has " in said.read_text()
    assert " MB free of 1 MB)" in said.read_text()


def on_two_processes(config, prepare=lambda rank: None) -> list[int]:
    """Train with two processes; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def job(rank: int) -> None:
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
        os.environ |= {name: str(value) for name, value in names.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        prepare(rank)
        try:
            train(config, progress=False)
        except Stopped as request:
            os._exit(request.code)

    both = [child(lambda rank=rank: job(rank)) for rank in range(2)]
    for process in both:
        process.join(240)
        process.kill()
    return [process.exitcode for process in both]


@forks
def test_sigterm_on_two_processes(tmp_path, settings):
    """One process gets it, and gets it twice, as from a launcher; the other too, while it saves. None leaves early."""
    config = settings(tmp_path / "run", limit=4, images_per_step=2, steps=4)
    saved = tmp_path / "saved"

    def prepare(rank: int) -> None:
        optimise, save = module._optimise, module.save_checkpoint

        def signalled(*arguments):
            if arguments[-1] == 1 and rank == 1:
                signal.raise_signal(signal.SIGTERM)
                signal.raise_signal(signal.SIGTERM)
            return optimise(*arguments)

        def slow(*arguments):
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0.5)
            save(*arguments)
            saved.touch()

        module._optimise, module.save_checkpoint = signalled, slow
        if rank == 1:
            module.Stopped = lambda *given: Stopped(*given) if saved.exists() else SystemExit(99)

    assert on_two_processes(config, prepare) == [143, 143]
    assert load_state(latest_checkpoint(config.out / "checkpoints"))["step"] == 2
    assert on_two_processes(replace(config, resume=True)) == [0, 0]
    whole = replace(config, out=tmp_path / "whole")
    assert on_two_processes(whole) == [0, 0]
    assert same_weights(config.out, whole.out)
    steps = [[row["step"] for row in csv.DictReader((run / "metrics.csv").open())] for run in (config.out, whole.out)]
    assert steps == [["1", "2", "3", "4"]] * 2


def test_a_signal_that_comes_twice_at_once_is_one_and_later_ends_the_program(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a test in the background has another
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            assert stop.code == 130
            now[0] += 5
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_checkpoint_that_was_cut_short(tmp_path, settings, complete_run):
    config = settings(tmp_path / "run", checkpoint_every=2, resume=True)
    train(config, progress=False)
    (config.out / "model").rename(tmp_path / "model")
    for name in ("model.safetensors", "state.pt"):
        path = config.out / "checkpoints" / "step_00000004" / name
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match=rf"{name} is damaged.*To go on: delete .*continues from step_00000002"):
            train(config, progress=False)
        path.write_bytes(whole)
    for part in path.parent.iterdir():  # as the message says
        part.unlink()
    path.parent.rmdir()
    assert same_weights(train(config, progress=False), complete_run)


def test_bad_photographs_are_left_out_of_the_run_and_of_what_goes_on(tmp_path, settings):
    folder = ReferFolder(tmp_path / "root")
    bad = photographs(folder, 14)
    config = settings(tmp_path / "run", data="refcoco", root=folder.root, limit=None, checkpoint_every=2)
    with pytest.raises(ValueError, match="6 of 14 pictures of refcoco train cannot be trained on"):
        train(config, progress=False)
    assert not config.out.exists()
    config = replace(config, skip_bad=True)
    with pytest.warns(UserWarning, match="6 of 14 pictures of refcoco train are left out"):
        train(config, progress=False)
    whole = load_run(config.out).state_dict()
    assert json.loads((config.out / "environment.json").read_text())[0]["skipped"] == sorted(bad)
    for name in ("model", "checkpoints/step_00000004"):  # killed after step 2, and the photographs are mended
        (config.out / name).rename(tmp_path / Path(name).name)
    for name in bad:
        (folder.root / "images" / "train2014" / name).write_bytes(WHOLE)
    with pytest.warns(UserWarning, match="was bad when the run began"):
        train(type(config)(out=config.out, resume=True), progress=False)
    assert all(torch.equal(value, whole[key]) for key, value in load_run(config.out).state_dict().items())
