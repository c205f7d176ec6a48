"""Reading pickles that came from the internet: containers, strings and numbers, and nothing else.

A pickle is a program: loading one with ``pickle.load`` runs whatever its author wrote. The split files of RefCOCO,
RefCOCO+ and RefCOCOg are pickles (written under Python 2) of lists of dictionaries; everything that a program would
need beyond that is refused by name.

Source: "Restricting globals" in the documentation of Python's ``pickle``; the list of what is admitted is our decision.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any


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


class SafeUnpickler(pickle.Unpickler):
    """An unpickler that admits lists, dictionaries, tuples, sets, ``OrderedDict``, strings, bytes and numbers only.

    Example:
        >>> import io
        >>> SafeUnpickler(io.BytesIO(pickle.dumps([{"ref_id": 1}], protocol=2))).load()
        [{'ref_id': 1}]
        >>> SafeUnpickler(io.BytesIO(pickle.dumps(print))).load()
        Traceback (most recent call last):
            ...
        ris_lib.data.unpickle.ForeignClassError: the pickle names builtins.print; ...
    """

    def find_class(self, module: str, name: str) -> Any:
        """Answer the pickle's request for a class or function: a harmless stand-in, or an error."""
        if (module, name) not in _ADMITTED:
            raise ForeignClassError(
                f"the pickle names {module}.{name}; only containers, strings and numbers are read, because any other "
                "name could run code. Take the file from its official source."
            )
        stand_in = _ADMITTED[module, name]
        return lambda *arguments: stand_in(*arguments)  # a new one each time: the pickle can change nothing of ours


class ForeignClassError(ValueError):
    """A pickle asks for a class or function that is not admitted."""


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of containers, strings and numbers.

    Strings of Python 2 are taken as UTF-8 and, where that fails, as latin1.

    Args:
        path: The file.

    Returns:
        What the file holds.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The pickle names a foreign class, is truncated, or is no pickle at all.
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
        f"{path} is no readable pickle, perhaps truncated ({type(error).__name__}: {error}). "
        "Compare its size and checksum with the official file and fetch it again."
    )
