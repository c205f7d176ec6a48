"""Faults to order: a process that is killed at a chosen moment, and a disk that is full at a chosen byte."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

#: Children are forked, so that they cost nothing and know all that the test knows.
forks = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")

_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "shutil.rmtree")


def child(job: Callable[[], object]) -> multiprocessing.Process:
    """A started process that does a job; it ends with 1 where that raises."""
    process = multiprocessing.get_context("fork").Process(target=job)
    process.start()
    return process


def killed_before(change: int, folder: Path, job: Callable[[], object]) -> bool:
    """Do a job in a process that gets SIGKILL right before its change number ``change`` (from 0) of a folder.

    Changes are what Python announces: files opened for writing, made, renamed, removed.

    Returns:
        Whether it was killed; False = the job had fewer changes and came to its end.
    """

    def counted() -> None:
        left = change

        def watch(event: str, arguments: tuple) -> None:
            nonlocal left
            writes = event in _CHANGES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR))
            if writes and isinstance(arguments[0], str | os.PathLike) and str(folder) in os.fspath(arguments[0]):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        job()

    process = child(counted)
    process.join(120)
    assert process.exitcode in (0, -signal.SIGKILL), "the job failed by itself"
    return process.exitcode != 0


class SmallDisk:
    """A folder whose disk is as full as a test wants; see ``small_disk``."""

    def __init__(self, folder: Path, mounted: bool):
        self.folder, self.mounted = folder, mounted

    @contextlib.contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Within the block so many bytes are left; where no disk could be mounted, for each file."""
        if not self.mounted:
            import resource

            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
            try:
                yield
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            return
        filler = self.folder / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(self.folder).free - size))
        try:
            yield
        finally:
            filler.unlink()


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[SmallDisk]:
    """A real disk of some bytes (root may mount one in memory), or else a limit on the size of files.

    With the limit the system says "File too large" in place of "No space left on device".
    """
    if sys.platform == "win32":
        pytest.skip("no small disk on Windows")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    able = sys.platform == "linux" and os.geteuid() == 0 and shutil.which("mount") is not None
    mounted = able and not subprocess.run(mount, capture_output=True).returncode
    try:
        yield SmallDisk(folder, mounted)
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def leftovers(folder: Path) -> list[str]:
    """Names of what was begun and neither finished nor removed."""
    return sorted(path.name for path in folder.rglob("*") if ".partial-" in path.name)
