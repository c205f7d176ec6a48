"""Processes that prepare batches: how they begin, and what is said when one dies.

Torch alone says little there. A worker that the system has killed is "exited unexpectedly"; one that finds no room for
a batch in shared memory says so in a thread of its own, throws the batch away and goes on, and the training waits for
it for ever. Here such a worker ends, and the training with it, with words that help.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from pathlib import Path

#: Where Linux keeps shared memory; containers often have 64 MB of it.
SHARED_MEMORY = Path("/dev/shm")

# How a worker ends that could not hand over a batch.
_NO_ROOM = 77


def start_worker(number: int) -> None:
    """The ``worker_init_fn`` of every ``DataLoader`` of this library.

    A signal to the whole group must not take the workers away before the main process has saved.

    Args:
        number: Of the worker.
    """
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.SIG_IGN)
    Queue._on_queue_feeder_error = staticmethod(_leave)  # pyright: ignore[reportAttributeAccessIssue] - not public


def _leave(error: Exception, batch: object) -> None:
    """In place of a traceback and a batch that never comes; called in the thread that hands batches over."""
    os._exit(_NO_ROOM)


@contextmanager
def watched_workers() -> Iterator[None]:
    """Say what to do where a worker dies. Torch raises that at whatever point its main process has reached.

    Raises:
        ChildProcessError: A worker died, or there is no room in shared memory. What a worker raises itself comes
            through as it is.

    Example:
        >>> with watched_workers():
        ...     raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
        Traceback (most recent call last):
            ...
        ChildProcessError: a process that prepares batches died (DataLoader worker (pid 7) is killed by signal: ...
    """
    try:
        yield
    except (RuntimeError, OSError) as error:
        words = f"{error} {error.__cause__ or ''}"  # the exit code may stand in the first error only
        if not words.startswith("DataLoader worker (pid"):
            raise
        if f"exit code {_NO_ROOM}" in words or "Bus error" in words:
            raise ChildProcessError(_no_room()) from error
        raise ChildProcessError(
            f"a process that prepares batches died ({words.strip()}), perhaps because the memory of "
            "the machine was used up. Start again with fewer --workers; with --workers 0 this process prepares them. A "
            "run goes on from its last checkpoint with --resume."
        ) from error


def _no_room() -> str:
    room = ""
    if SHARED_MEMORY.is_dir():
        usage = shutil.disk_usage(SHARED_MEMORY)
        room = f" ({SHARED_MEMORY} has {usage.free / 1e6:,.0f} MB free of {usage.total / 1e6:,.0f} MB)"
    return (
        f"the processes that prepare batches have no room to hand them over: shared memory is full{room}. Give the "
        "machine more of it (docker run --shm-size=8g, or mount -o remount,size=8G /dev/shm), or take --workers 0. A "
        "run goes on from its last checkpoint with --resume."
    )
