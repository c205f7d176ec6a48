"""Archives: unpacked inside of their folder, or nothing at all is left of them."""

import io
import os
import shutil
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import strategies as some

from ris_lib.data.download import unzip
from tests.hostile.cases import DAMAGE, MEGABYTE, TEXTS, attempt, damaged, fuzz

BOUND = 8 * MEGABYTE

FILES = {"refcoco/refs(unc).p": b"refs" * 30, "refcoco/a/b.json": b"{}" * 300, "other/c": b"c"}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("zips")


def packed(files=None, how: int = zipfile.ZIP_DEFLATED, **attributes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in FILES.items() if files is None else files:
            entry = zipfile.ZipInfo(name)
            entry.compress_type = how
            for attribute, value in attributes.items():
                setattr(entry, attribute, value)
            archive.writestr(entry, content)
    return buffer.getvalue()


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def read(place: Path, data: bytes, inside: str = "", bound: int = BOUND):
    """Unpack into a new folder beside a file that must stay."""
    archive, out = place / "a.zip", place / "out"
    shutil.rmtree(out, ignore_errors=True)
    archive.write_bytes(data)
    (place / "secret").write_bytes(b"mine")
    call = lambda: unzip(archive, out, inside, progress=False)  # noqa: E731
    answer, message = attempt(call, place, names="a.zip", bound=bound)  # temporary names stand beside the folder
    there = {name for name in tree(place) if not name.endswith(".lock")} - {"a.zip", "secret"}
    assert all(name.startswith("out/") for name in there)
    assert message is None or not there, "something was left behind"
    assert (place / "secret").read_bytes() == b"mine"
    assert not [path for path in out.rglob("*") if path.is_symlink() or not (path.is_dir() or path.is_file())]
    return answer, message


@fuzz(30, damage=DAMAGE, inside=some.sampled_from(["", "refcoco"]))
def test_damaged_archives(place, damage, inside):
    files = [packed(), packed(how=zipfile.ZIP_STORED), packed(how=zipfile.ZIP_BZIP2), packed(how=zipfile.ZIP_LZMA)]
    read(place, damaged(files, damage), inside)


NAMES = some.one_of(
    TEXTS,
    some.lists(
        some.sampled_from(["a", "b", "..", ".", "", "refcoco", "con", "c" * 300, "~", "é", " "]), max_size=5
    ).map("/".join),
    some.sampled_from(
        ["/etc/canary", "C:/canary", "..\\canary", "a/../../canary", "out/../../canary", "a\0/../canary"]
    ),
)
KINDS = some.sampled_from([0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR])


@fuzz(
    25,
    names=some.lists(NAMES, max_size=4),
    kind=KINDS,
    mode=some.integers(0, 0o7777),
    content=some.binary(max_size=30),
    how=some.sampled_from([0, 8, 8, 12, 14]),
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_and_kinds_of_entries(place, names, kind, mode, content, how):
    files = [(name.encode(errors="replace").decode().replace("\0", "\1"), content or b"../secret") for name in names]
    data = packed(files, how, external_attr=(kind | mode) << 16)
    read(place, data.replace(b"\1", b"\0"))


FIELDS = [
    (b"PK\1\2", at, size)
    for at, size in [(6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (34, 2), (42, 4)]
]
FIELDS += [(b"PK\3\4", at, size) for at, size in [(4, 2), (6, 2), (8, 2), (18, 4), (22, 4), (26, 2), (28, 2)]]
FIELDS += [(b"PK\5\6", at, size) for at, size in [(4, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)]]


@fuzz(
    20,
    field=some.sampled_from(FIELDS),
    value=some.one_of(some.integers(0, 70_000), some.sampled_from([2**32 - 1, 2**31])),
    how=some.sampled_from([0, 8]),
)
def test_headers_that_lie(place, field, value, how):
    signature, at, size = field
    data = bytearray(packed(how=how))
    start = data.index(signature) + at
    data[start : start + size] = (value % 256**size).to_bytes(size, "little")
    read(place, bytes(data))


# What would fill the memory or the disk.


def lying(content: bytes, how: int, claimed: int) -> bytes:
    """An archive whose one file says that it is smaller than it is."""
    data = packed([("refcoco/zeros", content)], how)
    return data.replace(struct.pack("<I", len(content)), struct.pack("<I", claimed))


@pytest.mark.parametrize("how", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb_that_lies_about_its_size(place, how):
    read(place, lying(bytes(20_000_000), how, 5000))
    _, message = read(place, packed([("refcoco/zeros", bytes(20_000_000))], how))
    assert message is not None


def test_an_entry_that_many_names_share(place):
    """The same bytes under many names: each is small, together they are the archive a thousandfold."""
    data = packed([("refcoco/0000", os.urandom(50_000))], zipfile.ZIP_STORED)
    start = data.index(b"PK\1\2")
    entry, end = data[start : data.index(b"PK\5\6")], data[data.index(b"PK\5\6") :]
    names = [f"refcoco/{k:04d}".encode() for k in range(400)]
    directory = b"".join(entry.replace(b"refcoco/0000", name) for name in names)
    end = end[:8] + struct.pack("<HHII", 400, 400, len(directory), start) + end[20:]
    _, message = read(place, data[:start] + directory + end)
    assert message is not None


def test_a_file_that_is_a_folder_too(place):
    _, message = read(place, packed([("a", b"1"), ("a/b", b"2")]))
    assert message is not None
