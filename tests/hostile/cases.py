"""What all hostile tests share: how many cases there are, what is watched while one runs, and how files are damaged.

A case passes when the call answers, or refuses **cleanly**: with a ``ValueError`` or ``FileNotFoundError`` (or an error
of ours made of one) whose message names what came, is short, can be printed, and drives no terminal. Meanwhile

- no file or folder is made, changed, renamed or removed outside of the target folder,
- no other program is started and no connection opened,
- the process grows by no more than the stated bound.
"""

import gc
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as some

#: How many times as many cases as in `make test`; `make fuzz` sets it, and draws other cases every time.
TIMES = int(os.environ.get("RIS_FUZZ", "1"))

#: Characters of the longest message.
LONGEST = 2000

MEGABYTE = 1_000_000


def fuzz(cases: int, **strategies: some.SearchStrategy) -> Callable[[Callable], Callable]:
    """A test of so many drawn cases: the same ones in `make test`, ``TIMES`` as many new ones in `make fuzz`."""
    chosen = settings(
        max_examples=cases * TIMES,
        derandomize=TIMES == 1,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: chosen(given(**strategies)(test))


# What a case does to the world.

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.chown", "os.utime", "os.mkfifo"}
_MOVES = {"os.rename", "os.link", "os.symlink"}
_PROGRAMS = {"os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "subprocess.Popen"}
_PROGRAMS |= {"socket.connect", "socket.getaddrinfo", "pty.spawn"}

_seen: list[tuple[str, Any]] | None = None


def _listen(event: str, details: tuple) -> None:
    """Python's audit hook: it sees what any code does, a pickle's too. It cannot be removed, only deafened."""
    if _seen is None:
        return
    if event == "open":
        path, _, flags = details
        if isinstance(flags, int) and flags & _WRITES and not isinstance(path, int):
            _seen.append((event, path))
    elif event in _CHANGES:
        _seen.append((event, _place(details[0], details[-1])))
    elif event in _MOVES:
        _seen.extend((event, _place(path, details[-1])) for path in details[:2])
    elif event in _PROGRAMS:
        _seen.append((event, None))


def _place(path: str | bytes, folder: object) -> str:
    """The path of an event, which may be relative to a folder that is open under a number."""
    path = os.fsdecode(path)
    number = Path(f"/proc/self/fd/{folder}")
    return os.path.join(os.readlink(number), path) if not os.path.isabs(path) and os.path.islink(number) else path


sys.addaudithook(_listen)


@contextmanager
def watched(*folders: Path):
    """Fail where the block writes outside of ``folders``, starts a program or opens a connection."""
    global _seen
    _seen, bytecode, sys.dont_write_bytecode = [], sys.dont_write_bytecode, True
    try:
        yield
    finally:
        done, _seen, sys.dont_write_bytecode = _seen, None, bytecode
    inside = [Path(os.path.realpath(folder)) for folder in folders]
    for event, path in done:
        assert path is not None, f"{event}: code of the input was run"
        place = Path(os.path.realpath(os.fsdecode(path)))
        assert any(place.is_relative_to(folder) for folder in inside), f"{event} outside of the folder: {path!r}"


# What a case takes.

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _kilobytes(name: str) -> int:
    return next(int(line.split()[1]) for line in _STATUS.read_text().splitlines() if line.startswith(name))


@contextmanager
def at_most(size: int):
    """Fail where the process, at its largest, holds over ``size`` bytes more than before. Measured on Linux only."""
    if not _RESET.exists():
        yield
        return
    gc.collect(0)
    _RESET.write_text("5")  # the largest size so far becomes the present one
    before = _kilobytes("VmRSS")
    yield
    grown = (_kilobytes("VmHWM") - before) * 1024
    assert grown <= size, f"the process grew by {grown:,} bytes; at most {size:,} were expected"


# What a case answers.


def is_clean(error: Exception) -> bool:
    """Whether an error is of the kinds that this library raises on purpose."""
    ours = type(error).__module__.startswith("ris_lib.") and isinstance(error, ValueError | OSError)
    return ours or type(error) in (ValueError, FileNotFoundError)


def attempt(
    call: Callable[[], Any], *folders: Path, names: object = "", bound: int = 64 * MEGABYTE
) -> tuple[Any, str | None]:
    """Run one case.

    Args:
        call: What is done with the input.
        folders: Where it may write.
        names: What a message must name, such as the file.
        bound: Bytes by which the process may grow.

    Returns:
        What came out and None, or None and the message of a clean refusal.
    """
    result = message = None
    with at_most(bound), watched(*folders):
        try:
            result = call()
        except Exception as error:
            if not is_clean(error):
                raise
            message = str(error)
    if message is not None:
        assert str(names) in message, f"{message!r} does not name {names}"
        assert 10 < len(message) <= LONGEST, f"a message of {len(message):,} characters: {message[:300]!r}"
        message.encode()  # can be printed
        odd = {character for character in message if not character.isprintable() and character not in "\n\t"}
        assert not odd, f"{message!r} holds {odd!r}"
    return result, message


# How files are damaged.

_BYTES = [0x00, 0x01, 0x20, 0x2E, 0x30, 0x7F, 0x80, 0xFF]
_EDITS = some.lists(
    some.tuples(
        some.sampled_from(["bit", "byte", "number", "cut", "take out", "double", "foreign", "insert"]),
        some.integers(0, 2**20),
        some.integers(0, 2**20),
    ),
    min_size=1,
    max_size=6,
)

#: Which of several files is damaged, and how; for ``damaged``.
DAMAGE = some.tuples(some.integers(0, 63), _EDITS)


def damaged(files: Sequence[bytes], damage: tuple[int, list[tuple[str, int, int]]]) -> bytes:
    """One of some files after changed bits and bytes, cuts, and slices taken out, doubled or brought from another."""
    which, edits = damage
    data = bytearray(files[which % len(files)])
    for kind, place, more in edits:
        at, length = place % (len(data) + 1), 1 + more % 64
        here = min(at, max(len(data) - 1, 0))
        if kind == "cut":
            del data[at:]
        elif kind == "take out":
            del data[at : at + length]
        elif kind == "double":
            data[at:at] = data[at : at + length]
        elif kind == "insert":
            data[at:at] = bytes([_BYTES[more % 8]]) * (more % 5 + 1)
        elif kind == "foreign":
            other = files[more % len(files)]
            data[at:] = other[place % (len(other) + 1) :]
        elif kind == "bit" and data:
            data[here] ^= 1 << more % 8
        elif kind == "byte" and data:
            data[here] = _BYTES[more % 8]
        elif kind == "number":  # a length or a count
            data[here : here + 4] = [b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\xff\xff\xff\x7f", b"\0\0\0\0"][more % 4]
    return bytes(data)


# Values of every shape.

NUMBERS = some.one_of(
    some.integers(-3, 30),
    some.integers(),
    some.sampled_from([2**31, -(2**31) - 1, 2**63, -(2**63) - 1, 10**9, 10**30, 10**400]),
    some.floats(),
)
#: Text with control characters, marks that combine, both directions, halves of surrogate pairs.
TEXTS = some.one_of(
    some.text(max_size=12),
    some.text(some.sampled_from("ab\0\n\x1b\x7f\u0301\u200f\u202e\u2066\ud800\U0001f600\u05d0\u0627/.:\\"), max_size=8),
    some.sampled_from(["", " ", "..", "../../canary", "\x1b[2J", "a" * 300, "\ud83d", "é" * 3000]),
)
VALUES = some.recursive(
    some.one_of(some.none(), some.booleans(), NUMBERS, TEXTS),
    lambda inner: some.one_of(some.lists(inner, max_size=4), some.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=8,
)
#: Where in a nest of lists and dictionaries a value is put; for ``replaced``.
CHANGES = some.lists(
    some.tuples(
        some.lists(some.integers(0, 15), max_size=6), some.sampled_from(["set", "set", "remove", "add"]), VALUES
    ),
    min_size=1,
    max_size=3,
)


def replaced(value: Any, changes: list[tuple[list[int], str, Any]]) -> Any:
    """A nest of lists and dictionaries (changed in place) with values replaced, removed and added."""
    for path, how, new in changes:
        parent, key, found = None, None, value
        for step in path:
            keys = (
                list(found) if isinstance(found, dict) else list(range(len(found))) if isinstance(found, list) else []
            )
            if not keys:
                break
            parent, key = found, keys[step % len(keys)]
            found = found[key]
        if how == "add" and isinstance(found, list):
            found.append(new)
        elif how == "add" and isinstance(found, dict):
            found["another"] = new
        elif parent is None:
            value = new if how == "set" else value
        elif how == "remove":
            del parent[key]
        else:
            parent[key] = new
    return value
