"""The peak of the memory."""

import os
import subprocess
import sys

import pytest
import torch

from ris_lib.engine import memory
from ris_lib.engine.memory import PeakMemory
from ris_lib.models import list_models

pytestmark = pytest.mark.slow

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process")
MEGABYTES = 80  # far above what a test process allocates beside


def use(megabytes: int) -> None:
    torch.ones(megabytes * 250_000).sum().item()


@ON_LINUX
def test_the_peak_is_what_was_needed_at_once():
    peaks = []
    for _ in range(3):  # pages of programs that the kernel brings back meanwhile add to some, never take away
        measured = PeakMemory("cpu")
        measured.reset()
        use(MEGABYTES)
        use(MEGABYTES)
        peaks.append(measured.peak() / 1e6)
    assert 0.9 * MEGABYTES < min(peaks) < 1.5 * MEGABYTES


@ON_LINUX
def test_a_reset_forgets_the_peak():
    measured = PeakMemory("cpu")
    use(MEGABYTES)
    measured.reset()
    assert measured.peak() / 1e6 < 0.5 * MEGABYTES


def test_what_a_system_does_not_tell_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_RESET", tmp_path / "nothing")
    measured = PeakMemory("cpu")
    measured.reset()
    assert measured.peak() is None
    assert PeakMemory("meta").peak() is None


@ON_LINUX
def test_a_kernel_that_keeps_old_peaks_gives_none(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_RESET", tmp_path)  # a folder cannot be written
    measured = PeakMemory("cpu")
    measured.reset()
    assert measured.peak() is None


@ON_LINUX
@pytest.mark.parametrize("name", list_models("*_tiny"))
def test_a_whole_training_process_fits_in_two_gigabytes(tmp_path, name):
    """Full batches of the recipe, a checkpoint, and everything that Python and torch hold."""
    command = ["train", "--model", name, "--split", "val", "--limit", "8", "--steps", "3", "--device", "cpu"]
    command += ["--threads", "1", "--out", str(tmp_path / "run")]
    process = subprocess.Popen([sys.executable, "-m", "ris_lib", *command], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
    assert usage.ru_maxrss * 1024 < 2e9
    print(f"{name}: {usage.ru_maxrss / 1e6:.2f} GB")
