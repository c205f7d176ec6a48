"""What a run was made with: versions, machine, source."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import ris_lib

PACKAGES = ("torch", "torchvision", "numpy", "accelerate", "transformers", "timm", "safetensors", "pillow", "pyarrow")


def describe_environment(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Versions, platform, threads, device and the revision of the source, as JSON can hold them.

    No names of users, machines or folders: runs are shared.

    Args:
        device: Where the run computes.

    Example:
        >>> sorted(describe_environment())
        ['cpu', 'device', 'platform', 'python', 'revision', 'ris_lib', 'threads', 'versions']
    """
    device = torch.device(device)
    return {
        "ris_lib": ris_lib.__version__,
        "revision": _revision(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _cpu() -> str:
    """The kind of CPU and the instructions that PyTorch uses on it: other ones round otherwise, and digits change."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _revision() -> str | None:
    """The commit of this package's source, with "+changes" where files differ from it; None outside of its clone."""
    source = Path(ris_lib.__file__).parent
    if not (source.parent / ".git").exists():
        return None
    try:
        commit = _git(source, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(source, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
