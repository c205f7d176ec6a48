"""One file from the network: resumed where it broke off, checked before it is used, whole or not there.

What has arrived stands beside the final place as ``NAME.part``; a killed process loses nothing but the last block, and
the next call asks the server for the rest (RFC 9110, ranges with ``If-Range``). Only a file with the right length and
checksum gets its name. Addresses are tried in order; one that answers nonsense is left at once, one that is silent or
busy is asked again after a while.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from filelock import FileLock
from tqdm import tqdm

from ris_lib.data.cache import check_place, is_full
from ris_lib.data.download.sources import Source

#: Bytes that are read at a time, and how often an address is asked in vain before the next one is.
BLOCK, ATTEMPTS = 1 << 20, 6
#: Seconds: to connect, between two blocks, and at most between two attempts.
CONNECT, SILENCE, PAUSE = 20.0, 60.0, 120.0
#: Free space that is left to the rest of the machine.
SPARE = 200_000_000


class DownloadError(OSError):
    """A file could not be had; the message says what each address answered."""


class _RefusedError(Exception):
    """This address will not give the file, however often it is asked."""


class _BrokenOffError(Exception):
    """Worth another attempt, after a pause of ``wait`` seconds where the server asked for one."""

    def __init__(self, reason: str, wait: float | None = None):
        super().__init__(reason)
        self.wait = wait


@contextmanager
def client(connections: int = 1) -> Iterator[httpx.Client]:
    """An HTTP client with this module's time-outs; it follows at most ten redirects and checks certificates."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    timeout = httpx.Timeout(SILENCE, connect=CONNECT, pool=None)
    with httpx.Client(follow_redirects=True, max_redirects=10, timeout=timeout, limits=limits) as made:
        made.headers["Accept-Encoding"] = "identity"  # lengths and ranges count the file's own bytes
        yield made


def fetch(source: Source, path: str | Path, progress: bool = True, sleep: Callable[[float], None] = time.sleep) -> Path:
    """Download one file.

    Args:
        source: Where it is and how it is recognised.
        path: The final name. A file that stands there is taken as it is: it was checked when it came.
        progress: Show a bar with the remaining time, and say why there will be another attempt.
        sleep: Waits between attempts.

    Returns:
        ``path``.

    Raises:
        DownloadError: No address gave the file, or there is too little space; what has arrived is kept.
        ValueError: Nothing can be written at ``path``.
    """
    path = Path(path)
    check_place(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if path.is_file():
            return path
        reasons = []
        with client() as connection:
            for address in source.addresses:
                try:
                    _from(connection, address, source, path, progress, sleep)
                    return path
                except _RefusedError as reason:
                    reasons.append(f"{address}: {reason}")
    listed = "\n  ".join(reasons)
    raise DownloadError(
        f"{source.file} could not be fetched:\n  {listed}\nTry again later: what has arrived is kept. Or fetch it on "
        f"another machine and put it at {path}."
    )


def _from(
    connection: httpx.Client, address: str, source: Source, path: Path, progress: bool, sleep: Callable[[float], None]
) -> None:
    """The file from one address, at its final place."""
    part, notes = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")
    attempt, most, mixed = 0, _length(part), _length(part) > 0
    while True:
        try:
            _continue(connection, address, source, part, notes, progress)
        except _BrokenOffError as reason:
            grown, most = _length(part) > most, max(most, _length(part))
            attempt = 1 if grown else attempt + 1  # a server that gives something is worth waiting for
            if attempt >= ATTEMPTS:
                raise _RefusedError(f"{reason} ({attempt} attempts)") from reason
            mixed = mixed or most > 0
            wait = min(PAUSE, 2.0**attempt if reason.wait is None else reason.wait)
            if progress:
                said = f"{source.file}: {reason}; attempt {attempt + 1} of {ATTEMPTS} in {wait:.0f} s"
                tqdm.write(said, file=sys.stderr)
            sleep(wait)
            continue
        fault = unlike(source, part, progress)
        if not fault:
            break
        _forget(part, notes)
        if not mixed:
            raise _RefusedError(fault)
        mixed = False  # the pieces did not belong together: once more, in one piece
    notes.unlink(missing_ok=True)  # first, as nobody comes back for them once the file is there
    os.replace(part, path)


def _continue(connection: httpx.Client, address: str, source: Source, part: Path, notes: Path, progress: bool) -> None:
    """Ask for what is missing, and write it."""
    have, version = _length(part), _version(notes, address)
    if have and version is None and not (source.sha256 or source.md5):  # nothing would tell whether pieces fit
        _forget(part, notes)
        have = 0
    if have and have == source.size:
        return
    asked = {"Range": f"bytes={have}-"} if have else {}
    if have and version is not None:
        asked["If-Range"] = version
    try:
        with connection.stream("GET", address, headers=asked) as answer:
            start, whole = _accepted(answer, have, source)
            if start is None:  # 416: nothing is missing, or what we have belongs to something else
                if whole != have:
                    _forget(part, notes)
                    raise _BrokenOffError("what had arrived does not belong to the file that is there now")
                return
            if whole is not None:
                check_space(part, whole - start)
            _note(notes, address, answer)
            _write(answer, part, start, whole, source.file, progress)
    except (httpx.TooManyRedirects, httpx.UnsupportedProtocol, httpx.DecodingError) as error:
        raise _RefusedError(f"{type(error).__name__}: {error}") from error
    except httpx.ConnectError as error:
        if "CERTIFICATE_VERIFY" in str(error).upper():
            raise _RefusedError(f"its certificate is not valid ({error})") from error
        raise _BrokenOffError(f"no connection ({error})") from error
    except httpx.HTTPError as error:
        raise _BrokenOffError(f"the connection broke ({type(error).__name__}: {error})") from error
    except OSError as error:
        if not is_full(error):
            raise
        raise DownloadError(f"the disk of {part.parent} is full; make room and start again: {part} goes on.") from error


def is_passing(answer: httpx.Response) -> bool:
    """Whether a server says that it is busy or broken for now, so that another attempt may help."""
    return answer.status_code in (408, 425, 429) or answer.status_code >= 500


def _accepted(answer: httpx.Response, have: int, source: Source) -> tuple[int | None, int | None]:
    """Where the answer's bytes begin, and how long the whole file is: (None, length) where nothing is left to send."""
    if answer.status_code == 416:
        whole = answer.headers.get("Content-Range", "").rpartition("/")[2]
        return None, int(whole) if whole.isdecimal() else None
    if is_passing(answer):
        wait = answer.headers.get("Retry-After", "")
        raise _BrokenOffError(f"it answers {answer.status_code}", float(wait) if wait.isdecimal() else None)
    if answer.status_code not in (200, 206):
        raise _RefusedError(f"it answers {answer.status_code} {answer.reason_phrase}".rstrip())
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        raise _RefusedError("it answers with a web page instead of the file")
    start = have if answer.status_code == 206 else 0
    if answer.status_code == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        raise _RefusedError(f"it sent other bytes than asked for ({answer.headers.get('Content-Range')})")
    length = answer.headers.get("Content-Length", "")
    whole = start + int(length) if length.isdecimal() else source.size
    if source.size is not None and whole != source.size:
        raise _RefusedError(f"its file has {whole:,} bytes; expected {source.size:,}")
    return start, whole


def _write(answer: httpx.Response, part: Path, start: int, whole: int | None, name: str, progress: bool) -> None:
    bar = {"total": whole, "initial": start, "unit": "B", "unit_scale": True, "unit_divisor": 1000}
    with part.open("ab") as file, tqdm(desc=name, disable=not progress, delay=0.5, **bar) as shown:
        file.truncate(start)
        for block in answer.iter_bytes():
            if whole is not None and file.tell() + len(block) > whole:
                raise _RefusedError(f"it sends more than the {whole:,} bytes that it announced")
            file.write(block)
            shown.update(len(block))
    if whole is not None and _length(part) < whole:
        raise _BrokenOffError(f"it stopped after {_length(part):,} of {whole:,} bytes")


def unlike(source: Source, path: Path, progress: bool = False) -> str:
    """In what a file differs from what its source says, in words; empty = in nothing that is known."""
    if source.size is not None and _length(path) != source.size:
        return f"the file has {_length(path):,} bytes; expected {source.size:,}"
    for kind, expected in (("sha256", source.sha256), ("md5", source.md5)):
        if not expected:
            continue
        digest = hashlib.new(kind, usedforsecurity=False)
        with (
            path.open("rb") as file,
            tqdm(
                desc=f"checking {source.file}",
                total=_length(path),
                unit="B",
                unit_scale=True,
                delay=1,
                disable=not progress,
            ) as shown,
        ):
            while block := file.read(BLOCK):
                digest.update(block)
                shown.update(len(block))
        if not digest.hexdigest().startswith(expected):
            return f"the file is another one: {kind} {digest.hexdigest()}, expected {expected}"
    return ""


def check_space(path: Path, needed: int) -> None:
    """Refuse to begin what cannot be finished.

    Args:
        path: Where it will be written.
        needed: Bytes.

    Raises:
        DownloadError: The disk has less than that and ``SPARE``.
    """
    free = shutil.disk_usage(path.parent).free
    if free < needed + SPARE:
        raise DownloadError(
            f"{path.parent} has {free / 1e9:.1f} GB free; {path.name} needs {needed / 1e9:.1f} GB and "
            f"{SPARE / 1e9:.1f} GB are left to others. Make room, or choose another folder."
        )


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _note(notes: Path, address: str, answer: httpx.Response) -> None:
    """Remember which version of the file this is: its tag where that is a strong one, or its date."""
    tag = answer.headers.get("ETag", "")
    version = tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified")
    notes.write_text(json.dumps({"address": address, "version": version}), encoding="utf-8")


def _version(notes: Path, address: str) -> str | None:
    """The version that the beginning belongs to, where it came from this address."""
    try:
        known = json.loads(notes.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return known.get("version") if isinstance(known, dict) and known.get("address") == address else None


def _forget(part: Path, notes: Path) -> None:
    part.unlink(missing_ok=True)
    notes.unlink(missing_ok=True)
