"""How much memory a piece of work needs at its peak.

A CUDA GPU counts its own allocations. On Linux the kernel keeps the largest size that this process ever had, and lets
it be forgotten. Other systems tell nothing, and nothing is claimed there.
"""

from __future__ import annotations

import ctypes
import gc
import re
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_FORGET_PEAK = "5"  # man 5 proc_pid_clear_refs


class PeakMemory:
    """The peak of the memory, over what is in use when this object is made.

    Args:
        device: A CUDA GPU, or the CPU of a Linux machine; the peak of others is None.

    Example:
        >>> memory = PeakMemory("cpu")
        >>> memory.reset()
        >>> numbers = torch.ones(30_000_000)
        >>> peak = memory.peak()
        >>> peak is None or peak > 100e6
        True
    """

    def __init__(self, device: torch.device | str):
        self.device = torch.device(device)
        gc.collect()
        _give_back()
        self._before = self._now("VmRSS")

    def reset(self) -> None:
        """Forget earlier peaks."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif self._before is not None:
            gc.collect()
            _give_back()
            try:
                _RESET.write_text(_FORGET_PEAK)
            except OSError:  # a kernel that does not let go; an old peak would be wrong
                self._before = None

    def peak(self) -> int | None:
        """Bytes since ``reset`` at most, without what was there before; None where the system does not tell."""
        peak = self._now("VmHWM")
        return None if peak is None or self._before is None else max(0, peak - self._before)

    def kept(self) -> int | None:
        """Bytes in use now, without what was there before; None where the system does not tell. It may be negative."""
        gc.collect()
        _give_back()
        now = self._now("VmRSS")
        return None if now is None or self._before is None else now - self._before

    def _now(self, entry: str) -> int | None:
        if self.device.type == "cuda":
            asked = torch.cuda.memory_allocated if entry == "VmRSS" else torch.cuda.max_memory_allocated
            return asked(self.device)
        if self.device.type != "cpu" or not _RESET.exists():
            return None
        found = re.search(rf"{entry}:\s+(\d+) kB", _STATUS.read_text())
        return int(found[1]) * 1024 if found else None


def _give_back() -> None:
    """Memory that was freed but is kept for later goes back to the system; else it would hide what comes next."""
    if _RESET.exists() and hasattr(ctypes.CDLL(None), "malloc_trim"):  # glibc
        ctypes.CDLL(None).malloc_trim(0)
