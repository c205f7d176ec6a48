"""Reading pickles that came from the internet: containers, strings and numbers, and nothing else.

A pickle is a program: loading one with ``pickle.load`` runs whatever its author wrote. The split files of RefCOCO,
RefCOCO+ and RefCOCOg are pickles (written under Python 2) of lists of dictionaries; everything that a program would
need beyond that is refused by name. A few bytes can also ask for gigabytes; so the program is looked through before it
runs.

Source: "Restricting globals" in the documentation of Python's ``pickle``; the list of what is admitted is our decision.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

from ris_lib._shown import plain


def _latin1_bytes(text: str, encoding: str = "latin1") -> bytes:
    """How Python 3 writes bytes in the protocols of Python 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("bytes that are not written as latin1 text")
    return text.encode("latin1")


#: The only classes and functions that a pickle may name. Lists, dictionaries, tuples, strings and numbers need no name.
_ADMITTED = {
    ("collections", "OrderedDict"): lambda *items: OrderedDict(*items),
    ("builtins", "set"): lambda *items: set(*items),
    ("__builtin__", "set"): lambda *items: set(*items),
    ("builtins", "frozenset"): lambda *items: frozenset(*items),
    ("__builtin__", "frozenset"): lambda *items: frozenset(*items),
    ("builtins", "bytes"): lambda: b"",
    ("__builtin__", "bytes"): lambda: b"",
    ("_codecs", "encode"): _latin1_bytes,
}

#: Bytes of an opcode's argument; below 0: it ends with a line, or its own first bytes say how many follow.
_ARGUMENT = {ord(op.code): op.arg.n if op.arg else 0 for op in pickletools.opcodes}
_LINES = {ord("c"): 2, ord("i"): 2}
_COUNTED = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
#: PUT and LONG_BINPUT announce how large the memo is, FRAME how many bytes follow.
_PLACES = {ord("p"), ord("r"), 0x95}

#: Opcodes that name something by a number or a string that means something to a process, and nothing in a file.
_FOREIGN = {ord(op.code) for op in pickletools.opcodes if op.name.startswith("EXT") or op.name.endswith("PERSID")}


class SafeUnpickler(pickle.Unpickler):
    """An unpickler that admits lists, dictionaries, tuples, sets, ``OrderedDict``, strings, bytes and numbers only.

    Args:
        file: Open for reading bytes; it is read to its end.
        options: As for ``pickle.Unpickler``.

    Raises:
        pickle.UnpicklingError: The pickle is cut short, or counts on more than it holds.

    Example:
        >>> SafeUnpickler(io.BytesIO(pickle.dumps([{"ref_id": 1}], protocol=2))).load()
        [{'ref_id': 1}]
        >>> SafeUnpickler(io.BytesIO(pickle.dumps(print))).load()
        Traceback (most recent call last):
            ...
        ris_lib.data.unpickle.ForeignClassError: the pickle names builtins.print; ...
    """

    def __init__(self, file: BinaryIO, **options: Any):
        program = file.read()
        _look_through(program)
        super().__init__(io.BytesIO(program), **options)
        self._to_copy = len(program)

    def find_class(self, module: str, name: str) -> Any:
        """Answer the pickle's request for a class or function: a harmless stand-in, or an error."""
        if (module, name) not in _ADMITTED:
            raise ForeignClassError(
                f"the pickle names {plain(f'{module}.{name}')}; only containers, strings and numbers are read, because "
                "any other name could run code. Take the file from its official source."
            )
        stand_in = _ADMITTED[module, name]

        def call(*arguments: Any) -> Any:  # a new one each time: the pickle can change nothing of ours
            self._to_copy -= sum(len(argument) for argument in arguments)
            if self._to_copy < 0:
                raise pickle.UnpicklingError("it copies the same content again and again")
            return stand_in(*arguments)

        return call


def _look_through(program: bytes) -> None:
    """Refuse a pickle that is cut short, counts on more bytes than follow, or on more places than it has bytes.

    Python's unpickler makes room for what an opcode announces: five bytes can ask for 64 GB.
    """
    place, size = 0, len(program)
    while place < size:
        code = program[place]
        length = _ARGUMENT.get(code)
        if length is None:
            raise pickle.UnpicklingError(f"there is no opcode {code}")
        if code in _FOREIGN:  # Python answers some from a table of the process, past find_class
            raise pickle.UnpicklingError("it asks for something that is not in the file")
        start = place = place + 1
        if length >= 0:
            place += length
        elif length == pickletools.UP_TO_NEWLINE:
            for _ in range(_LINES.get(code, 1)):
                place = program.find(b"\n", place) + 1 or size + 1
        else:
            width = _COUNTED[length]
            place += width + int.from_bytes(program[start : start + width], "little")
        if place > size:
            raise pickle.UnpicklingError("it is cut short, or counts on more bytes than it has")
        if code == ord("."):
            return
        if code in _PLACES:
            announced = program[start:place]
            count = int(announced) if code == ord("p") else int.from_bytes(announced, "little")
            if count > size:
                raise pickle.UnpicklingError(f"it counts on {count} places, but has {size} bytes")
    raise pickle.UnpicklingError("it is cut short")


class ForeignClassError(ValueError):
    """A pickle asks for a class or function that is not admitted."""


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of containers, strings and numbers.

    Strings of Python 2 are taken as UTF-8 and, where that fails, as latin1. What comes out takes at most 300 bytes of
    memory for each byte of the file (an empty set has 216, and one byte in the file).

    Args:
        path: The file.

    Returns:
        What the file holds.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The pickle names a foreign class, is truncated, asks for more memory than its size explains, or is
            no pickle at all.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; expected a pickle.")
    try:
        return _load(path, "utf-8")
    except UnicodeDecodeError:
        pass
    try:
        return _load(path, "latin1")
    except UnicodeDecodeError as error:  # a string of Python 3, which is UTF-8 whatever is asked for
        raise _unreadable(path, error) from error


def _load(path: Path, encoding: str) -> Any:
    try:
        with path.open("rb") as file:
            return SafeUnpickler(file, encoding=encoding).load()
    except UnicodeDecodeError:
        raise
    except ForeignClassError as error:
        raise ForeignClassError(f"{path}: {error}") from None
    except OSError:
        raise
    except (
        Exception
    ) as error:  # a damaged pickle raises nearly anything: EOFError, KeyError, TypeError, MemoryError, ...
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path} is no readable pickle, perhaps truncated ({type(error).__name__}: {plain(error)}). "
        "Compare its size and checksum with the official file and fetch it again."
    )
