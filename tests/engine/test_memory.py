"""The peak of the memory."""

import sys

import pytest
import torch

from ris_lib.engine import memory
from ris_lib.engine.memory import PeakMemory

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process")
MEGABYTES = 80  # far above what a test process allocates beside


def use(megabytes: int) -> None:
    torch.ones(megabytes * 250_000).sum().item()


@ON_LINUX
def test_the_peak_is_what_was_needed_at_once():
    measured = PeakMemory("cpu")
    measured.reset()
    use(MEGABYTES)
    use(MEGABYTES)
    assert 0.9 * MEGABYTES < measured.peak() / 1e6 < 1.5 * MEGABYTES


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
