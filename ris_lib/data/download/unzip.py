"""Archives from the internet, unpacked inside their folder or not at all.

A zip file may name files outside of the folder, hold links that lead there, or grow a thousandfold. Names are checked
before anything is written, sizes while it is written. Everything is unpacked beside the folder first and moved into it
when it is complete; a file that stands there already is left alone.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from ris_lib._shown import plain, short
from ris_lib.data.cache import build_once
from ris_lib.data.download.fetch import BLOCK, check_space

#: Photographs do not shrink in an archive and JSON shrinks tenfold; what shrinks more than this is no data of ours.
RATIO = 200
#: Bytes of everything in an archive: COCO's train2014 has 13.5 GB.
LARGEST = 40_000_000_000
#: Files in an archive; train2014 has 82,783.
MOST_FILES = 1_000_000
#: Bytes of one name between slashes, as most systems have it, and of a whole name with its folders: they stop at 4096.
LONGEST_NAME, LONGEST_PATH = 255, 1000
#: How entries may be packed. Python unpacks the others as a whole, however large they grow.
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def unzip(
    archive: str | Path,
    folder: str | Path,
    inside: str = "",
    members: Mapping[str, str] | None = None,
    progress: bool = True,
) -> Path:
    """Unpack one folder of an archive.

    Args:
        archive: A zip file.
        folder: The folder to make or to fill up; what stands there stays as it is.
        inside: The folder of the archive to take, such as ``refcoco``; its name is left out. Empty = all.
        members: Files that must be there, by their path in the archive, with the first digits of their SHA-256 (as
            many as are known).
        progress: Show a bar.

    Returns:
        ``folder``.

    Raises:
        ValueError: The archive is damaged or no zip file, lacks a member, a member is another file than expected, a
            name leads out of the folder, an entry is a link or encrypted, or it is too large. Nothing is left behind.
        DownloadError: There is too little space.

    Example:
        >>> unzip("refcoco.zip", "data/refcoco", inside="refcoco")  # doctest: +SKIP
    """
    archive, folder, members = Path(archive), Path(folder), dict(members or {})
    with _reading(archive):
        opened = zipfile.ZipFile(archive)
    with opened:
        chosen = _chosen(archive, opened, inside)
        if lacking := sorted(members.keys() - {entry.filename for entry, _ in chosen}):
            raise ValueError(f"{archive} holds no {', '.join(lacking)}; is it the right archive?")

        def unpack(partial: Path) -> None:
            check_space(partial, sum(entry.file_size for entry, _ in chosen))
            partial.mkdir()
            for entry, place in tqdm(chosen, desc=f"unpacking {archive.name}", delay=1, disable=not progress):
                _take(archive, opened, entry, partial / place, members.get(entry.filename, ""))

        _move(build_once(folder.with_name(f".{folder.name}.unpacked"), unpack), folder)
    return folder


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Whatever ``zipfile`` raises where an archive is damaged, as one error; a disk that fails stays an ``OSError``."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OverflowError, struct.error) as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a place before the beginning
            raise
        raise _damaged(archive, error) from error


def _damaged(archive: Path, error: Exception) -> ValueError:
    return ValueError(f"{archive} is damaged or no zip file ({plain(error)}); delete it and fetch it again.")


def _chosen(archive: Path, opened: zipfile.ZipFile, inside: str) -> list[tuple[zipfile.ZipInfo, Path]]:
    """The files below ``inside`` with their places below the folder, after a look at all names and sizes."""
    entries = opened.infolist()
    if len(entries) > MOST_FILES:
        raise ValueError(f"{archive} holds {len(entries):,} files; at most {MOST_FILES:,} are expected.")
    chosen = []
    for entry in entries:
        parts = _safe_parts(archive, entry)
        within = PurePosixPath(inside).parts
        if entry.is_dir() or parts[: len(within)] != within:
            continue
        if entry.flag_bits & 1:
            raise ValueError(f"{archive}: {entry.filename} is encrypted; expected an open archive.")
        if entry.compress_type not in PACKED:
            raise ValueError(
                f"{archive}: {entry.filename} is packed in a way that is not read; expected deflate or none."
            )
        if entry.file_size > RATIO * max(entry.compress_size, 1024):
            raise ValueError(
                f"{archive}: {entry.filename} would grow from {entry.compress_size:,} to {entry.file_size:,} bytes, "
                f"more than {RATIO} times; it is not unpacked."
            )
        chosen.append((entry, Path(*parts[len(within) :])))
    if not chosen:
        raise ValueError(f"{archive} holds no file below {inside or 'its top'}; is it the right archive?")
    if (total := sum(entry.file_size for entry, _ in chosen)) > LARGEST:
        raise ValueError(f"{archive} would unpack to {total:,} bytes; at most {LARGEST:,} are expected.")
    places = [str(place).casefold() for _, place in chosen]
    folders = {str(parent).casefold() for _, place in chosen for parent in place.parents}
    if len(set(places)) < len(places) or folders & set(places):
        raise ValueError(f"{archive} names a file twice, or as a file and a folder; it is not unpacked.")
    return chosen


def _safe_parts(archive: Path, entry: zipfile.ZipInfo) -> tuple[str, ...]:
    """The parts of an entry's name, none of which leads elsewhere."""
    name = entry.orig_filename  # zipfile cuts `filename` at a NUL
    parts = PurePosixPath(name).parts
    kind = stat.S_IFMT(entry.external_attr >> 16)
    odd = any(c in name for c in "\\:\0") or not name.isprintable()
    if not parts or name.startswith("/") or ".." in parts or odd or _too_long(parts):
        raise ValueError(
            f"{archive}: the name {short(name)} leads out of the folder or is no plain name; nothing is unpacked."
        )
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ValueError(f"{archive}: {name} is a link or a device; nothing is unpacked.")
    return parts


def _too_long(parts: Sequence[str]) -> bool:
    lengths = [len(part.encode()) for part in parts]
    return max(lengths) > LONGEST_NAME or sum(lengths) + len(lengths) > LONGEST_PATH


def _move(unpacked: Path, folder: Path) -> None:
    """Move files to their places where nothing stands; a call that was killed is gone on with by the next."""
    for path in sorted(path for path in unpacked.rglob("*") if path.is_file()):
        place = folder / path.relative_to(unpacked)
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            os.replace(path, place)
    shutil.rmtree(unpacked)
    unpacked.with_name(f".{unpacked.name}.lock").unlink(missing_ok=True)


def _take(archive: Path, opened: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, expected: str) -> None:
    """Write one file, never more than it announced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, written = hashlib.sha256(), 0
    with _reading(archive):
        packed = opened.open(entry)
    with packed, path.open("xb") as file:
        while block := _block(archive, packed):
            written += len(block)
            if written > entry.file_size:
                raise ValueError(f"{archive}: {entry.filename} is larger than it says; it is not unpacked.")
            file.write(block)
            digest.update(block)
        file.flush()
        os.fsync(file.fileno())
    if not digest.hexdigest().startswith(expected):
        raise ValueError(
            f"{archive}: {entry.filename} is another file than expected: SHA-256 {digest.hexdigest()}, not {expected}."
        )


def _block(archive: Path, packed: IO[bytes]) -> bytes:
    with _reading(archive):
        return packed.read(BLOCK)
