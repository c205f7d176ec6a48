"""Files that are made once and found again: where they live, and how they come into being whole or not at all.

Everything that this library writes for later goes through here. A file or folder is made under a temporary name beside
its final place and renamed: a reader never sees half of it, and a killed process leaves nothing that looks whole.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

_PARTIAL = ".partial-"

# What a system answers where a disk is full, a quota is used up, or a file would be larger than is allowed.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskFullError(OSError):
    """A file or folder could not be written for want of space; what was there before is unchanged."""

    def __init__(self, path: str | Path):
        super().__init__(
            f"{path} cannot be written, because its disk is full (or the quota is used up). Make room and start again; "
            "what was there before is unchanged."
        )
        self.errno = errno.ENOSPC


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or what led to it, is a full disk: libraries raise words of their own in its place.

    Example:
        >>> is_full(OSError(errno.ENOSPC, "No space left on device")), is_full(ValueError("no number"))
        (True, False)
    """
    while error is not None:
        words = str(error)
        if getattr(error, "errno", None) in _FULL or any(os.strerror(number) in words for number in _FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


def cache_folder() -> Path:
    """The folder of everything that can be made again: indices, drawn scenes. It is not created here.

    Returns:
        ``$RIS_CACHE`` where that is set, else ``$XDG_CACHE_HOME/ris_lib``, else ``~/.cache/ris_lib``.

    Example:
        >>> cache_folder().is_absolute()
        True
    """
    if chosen := os.environ.get("RIS_CACHE"):
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser().absolute() if base else Path.home() / ".cache") / "ris_lib"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_place(path: str | Path) -> None:
    """Refuse a name at which nothing can be written, before work is done for it.

    Args:
        path: Of a file or folder to be made; its parents may be missing.

    Raises:
        ValueError: A file stands where a folder is needed, or the folder may not be written in.
    """
    path = Path(path).absolute()
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir():
        raise ValueError(f"{path} cannot be written, because {folder} is a file and no folder; choose another place.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(
            f"{path} cannot be written, because the folder {folder} may not be written in; choose another place, or "
            "change its permissions."
        )


def check_new_folder(out: str | Path) -> None:
    """Refuse a name at which no new folder can be made, before work is done for it.

    Raises:
        ValueError: Something is there that would be lost, or the place may not be written in.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists and is not an empty folder; choose another folder.")
    check_place(out)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Write a file or a folder so that it appears whole or not at all.

    Args:
        path: The final name. Missing parents are created; what stands there already is replaced.

    Yields:
        A free temporary name in the same folder, with the same suffix; make the file or folder there. On success it is
        renamed to ``path``, on any exception it is removed.

    Raises:
        FileNotFoundError: The block ended without making anything.
        DiskFullError: The disk is full.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "numbers.txt"
        >>> with atomic_write(target) as partial:
        ...     _ = partial.write_text("1 2 3")
        ...     target.exists()
        False
        >>> target.read_text()
        '1 2 3'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    with _removed_on_failure(partial, path):
        yield partial
        if not partial.exists():
            raise FileNotFoundError(f"nothing was written to {partial}; write the content of {path} to the name given.")
        if path.is_dir():  # a folder cannot be renamed over another one
            old = _partial(path)
            path.rename(old)
            partial.rename(path)
            _remove(old)
        else:
            os.replace(partial, path)


@contextmanager
def atomic_files(folder: str | Path, last: str) -> Iterator[Path]:
    """Write several files of a folder that belong together; other files of the folder stay.

    Nothing is changed before all are written. Then ``last``, the file that names the others, is taken away, the others
    are replaced, and it comes back: where it stands, all are there and of one writing.

    Args:
        folder: Made where it does not exist. What a killed process has left in it is removed.
        last: Name of one of the files.

    Yields:
        A folder to write the files in.

    Raises:
        DiskFullError: The disk is full.

    Example:
        >>> import tempfile
        >>> with atomic_files(Path(tempfile.mkdtemp()) / "out", "list.txt") as partial:
        ...     _ = (partial / "a.txt").write_text("one"), (partial / "list.txt").write_text("a.txt")
        >>> sorted(path.name for path in partial.parent.iterdir())
        ['a.txt', 'list.txt']
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    remove_partial(folder, [last])
    partial = _partial(folder / last)
    with _removed_on_failure(partial, folder):
        partial.mkdir()
        yield partial
        (folder / last).unlink(missing_ok=True)
        for path in sorted(partial.iterdir(), key=lambda path: (path.name == last, path.name)):
            os.replace(path, folder / path.name)
        partial.rmdir()


def remove_partial(folder: Path, names: Collection[str] | None = None) -> None:
    """Remove what killed processes have left half-written in a folder.

    Args:
        folder: No other process may be writing in it, or none of these names.
        names: Final names of what was being written; None = whatever it was.
    """
    final = ".*" if names is None else "|".join(map(re.escape, names))
    ours = re.compile(f"({re.escape(_PARTIAL)}[0-9a-f]{{8}}-)+({final})")  # a name in a name: written within a build
    for stale in [path for path in folder.iterdir() if ours.fullmatch(path.name)]:
        _remove(stale)


def _partial(path: Path) -> Path:
    return path.with_name(f"{_PARTIAL}{secrets.token_hex(4)}-{path.name}")


@contextmanager
def _removed_on_failure(partial: Path, path: Path) -> Iterator[None]:
    """Take away what was begun under a temporary name, and say of a full disk what it was for."""
    try:
        yield
    except BaseException as error:
        _remove(partial)
        if is_full(error):
            raise DiskFullError(path) from error
        raise


def build_once(path: str | Path, build: Callable[[Path], None]) -> Path:
    """Make a file or folder if it is not there yet; other processes wait instead of making it too.

    Args:
        path: The final name. It must say everything that the content depends on (version, size, ...): what exists is
            taken as it is.
        build: Called with a temporary name at which it makes the file or folder.

    Returns:
        ``path``, which now exists.

    Raises:
        DiskFullError: The disk is full.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "v1"
        >>> build_once(target, Path.mkdir) == build_once(target, Path.mkdir) == target
        True
    """
    path = Path(path)
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if path.exists():
            return path
        remove_partial(path.parent, [path.name])
        with atomic_write(path) as partial:
            build(partial)
    return path
