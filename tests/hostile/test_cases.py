"""The watch itself: a test that sees nothing would pass for ever."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.hostile.cases import MEGABYTE, attempt, damaged, is_clean, replaced


class OursError(ValueError):
    """As ris_lib could define one."""


OursError.__module__ = "ris_lib.data.somewhere"


def write(path: Path) -> None:
    path.write_text("x")


def remove_relative(path: Path) -> None:
    number = os.open(path.parent, os.O_RDONLY)
    try:
        os.remove(path.name, dir_fd=number)
    finally:
        os.close(number)


@pytest.mark.skipif(sys.platform == "win32", reason="signals, folders by number")
def test_the_watch_sees_what_it_is_for(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir(), outside.mkdir()
    attempt(lambda: write(inside / "file"), inside)
    deeds = [
        lambda: write(outside / "file"),
        lambda: write(inside / ".." / "out" / "file"),
        lambda: os.mkdir(outside / "folder"),
        lambda: os.replace(inside / "file", outside / "moved"),
        lambda: remove_relative(outside / "moved"),
        lambda: os.symlink("/", outside / "link"),
        lambda: os.system("true"),
        lambda: subprocess.run(["true"], check=True),
        lambda: socket.create_connection(("127.0.0.1", 9), timeout=0.1),
    ]
    for deed in deeds:
        with pytest.raises(AssertionError, match=r"outside of the folder|code of the input"):
            attempt(suppressed(deed), inside)
    attempt(lambda: write(inside / "again"), inside)


def suppressed(deed):
    def call():
        try:
            deed()
        except OSError:
            return

    return call


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measured on Linux only")
def test_the_watch_sees_what_a_case_takes():
    attempt(lambda: np.ones(2 * MEGABYTE, dtype=np.uint8), bound=8 * MEGABYTE)
    with pytest.raises(AssertionError, match=r"the process grew by .* at most 8,000,000"):
        # much, because the system may take other pages of the process back at the same moment
        attempt(lambda: np.ones(400 * MEGABYTE, dtype=np.uint8), bound=8 * MEGABYTE)


def refuse(error: Exception):
    def call():
        raise error

    return call


@pytest.mark.parametrize(
    "error",
    [
        KeyError("a.json is damaged"),
        UnicodeDecodeError("utf-8", b"", 0, 1, "a.json"),
        RuntimeError("a.json is damaged"),
    ],
)
def test_other_errors_are_crashes(error):
    assert not is_clean(error)
    with pytest.raises(type(error)):
        attempt(refuse(error), names="a.json")


def test_a_refusal_names_what_came_and_is_short_and_printable():
    for good in (ValueError("a.json is damaged"), FileNotFoundError("no file a.json"), OursError("a.json is damaged")):
        assert attempt(refuse(good), names="a.json") == (None, str(good))
    for bad in ("something is damaged", "a.json " * 1000, "a.json is \x1b[2J damaged", "a.json \ud800 is damaged"):
        with pytest.raises((AssertionError, UnicodeEncodeError)):
            attempt(refuse(ValueError(bad)), names="a.json")


def test_damage_and_changes_do_what_they_say():
    whole = bytes(range(100))
    assert damaged([whole], (0, [("cut", 10, 0)])) == whole[:10]
    assert damaged([whole], (0, [("bit", 3, 2)])) == whole[:3] + b"\x07" + whole[4:]
    assert damaged([whole], (0, [("take out", 5, 9)])) == whole[:5] + whole[15:]
    assert damaged([whole], (0, [("double", 5, 1)])) == whole[:7] + whole[5:]
    assert damaged([whole, b"other"], (0, [("foreign", 2, 1)])) == whole[:2] + b"her"
    assert replaced({"a": [1, 2]}, [([0, 1], "set", "x")]) == {"a": [1, "x"]}
    assert replaced({"a": [1, 2]}, [([0, 0], "remove", None), ([0], "add", 3)]) == {"a": [2, 3]}
    assert replaced([1], [([], "set", None)]) is None
