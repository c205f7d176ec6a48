"""Files that are made once and found again: where they live, and how they come into being whole or not at all.

Everything that this library writes for later goes through here. A file or folder is made under a temporary name beside
its final place and renamed: a reader never sees half of it, and a killed process leaves nothing that looks whole.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

_PARTIAL = ".partial-"


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
    partial = path.with_name(f"{_PARTIAL}{secrets.token_hex(4)}-{path.name}")
    try:
        yield partial
        if not partial.exists():
            raise FileNotFoundError(f"nothing was written to {partial}; write the content of {path} to the name given.")
        if path.is_dir():  # a folder cannot be renamed over another one
            old = path.with_name(f"{_PARTIAL}{secrets.token_hex(4)}-{path.name}")
            path.rename(old)
            partial.rename(path)
            _remove(old)
        else:
            os.replace(partial, path)
    except BaseException:
        _remove(partial)
        raise


def build_once(path: str | Path, build: Callable[[Path], None]) -> Path:
    """Make a file or folder if it is not there yet; other processes wait instead of making it too.

    Args:
        path: The final name. It must say everything that the content depends on (version, size, ...): what exists is
            taken as it is.
        build: Called with a temporary name at which it makes the file or folder.

    Returns:
        ``path``, which now exists.

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
        ours = re.compile(f"({re.escape(_PARTIAL)}[0-9a-f]{{8}}-)+{re.escape(path.name)}")
        for stale in filter(lambda entry: ours.fullmatch(entry.name), list(path.parent.iterdir())):
            _remove(stale)  # left by a killed process; a name in a name where ``build`` wrote atomically, too
        with atomic_write(path) as partial:
            build(partial)
    return path
