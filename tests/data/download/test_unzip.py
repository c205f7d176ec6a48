"""Archives that mean no good, and one that does."""

import hashlib
import os
import signal
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from ris_lib.data.download import DownloadError, unzip
from ris_lib.data.download import fetch as package_fetch

module, fetching = sys.modules[unzip.__module__], sys.modules[package_fetch.__module__]
FILES = {"refcoco/refs(unc).p": b"refs", "refcoco/a/b.json": b"{}" * 300, "other/c": b"c", "__MACOSX/._x": b""}


def make(path: Path, files=FILES, compression=zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(archive: Path, error=ValueError, **options) -> str:
    before = tree(archive.parent)
    with pytest.raises(error) as caught:
        unzip(archive, archive.parent / "out", **options)
    after = {name: content for name, content in tree(archive.parent).items() if not name.endswith(".lock")}
    assert after == before, "something was left behind"
    return str(caught.value)


def test_one_folder_of_an_archive_is_unpacked_and_checked(tmp_path):
    archive = make(tmp_path / "a.zip")
    members = {"refcoco/refs(unc).p": hashlib.sha256(b"refs").hexdigest()[:10], "refcoco/a/b.json": ""}
    assert (
        unzip(archive, tmp_path / "root" / "refcoco", "refcoco", members, progress=False)
        == tmp_path / "root" / "refcoco"
    )
    assert tree(tmp_path / "root") == {"refcoco/refs(unc).p": b"refs", "refcoco/a/b.json": b"{}" * 300}


def test_files_that_are_there_stay_as_they_are(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "refs(unc).p").write_bytes(b"mine")
    (tmp_path / "out" / "notes").write_bytes(b"mine too")
    unzip(make(tmp_path / "a.zip"), tmp_path / "out", "refcoco", progress=False)
    assert tree(tmp_path / "out") == {"refs(unc).p": b"mine", "notes": b"mine too", "a/b.json": b"{}" * 300}


@pytest.mark.parametrize(
    "name", ["../evil", "refcoco/../../evil", "/evil", "C:/evil", "refcoco\\..\\evil", "refcoco/evil\0.txt", "a\nb"]
)
def test_names_that_lead_elsewhere_are_refused_before_anything_is_written(tmp_path, name):
    archive = make(tmp_path / "a.zip", FILES | {name.replace("\0", "#"): b"x"})
    archive.write_bytes(archive.read_bytes().replace(name.replace("\0", "#").encode(), name.encode()))
    message = refused(archive, inside="refcoco")
    assert "nothing is unpacked" in message


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path, kind):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        entry = zipfile.ZipInfo("refcoco/link")
        entry.external_attr = (kind | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    assert "refcoco/link is a link or a device" in refused(tmp_path / "a.zip")


def test_a_bomb_is_refused_before_it_grows(tmp_path):
    assert "more than 200 times" in refused(make(tmp_path / "a.zip", {"refcoco/zeros": bytes(3_000_000)}))


def test_a_bomb_that_lies_about_its_size_is_refused_while_it_grows(tmp_path):
    archive = make(tmp_path / "a.zip", {"refcoco/zeros": bytes(3_000_000)})
    data = archive.read_bytes()
    archive.write_bytes(data.replace(struct.pack("<I", 3_000_000), struct.pack("<I", 1000)))
    message = refused(archive)
    assert "larger than it says" in message or "damaged" in message


@pytest.mark.parametrize(("limit", "value", "words"), [("LARGEST", 300, "at most 300"), ("MOST_FILES", 3, "at most 3")])
def test_there_is_a_limit_on_size_and_number(tmp_path, monkeypatch, limit, value, words):
    monkeypatch.setattr(module, limit, value)
    assert words in refused(make(tmp_path / "a.zip"))


def test_an_encrypted_archive_is_refused(tmp_path):
    archive = make(tmp_path / "a.zip", {"refcoco/a": b"a"})
    data = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    archive.write_bytes(data)
    assert "encrypted" in refused(archive)


def test_a_name_that_comes_twice_is_refused(tmp_path):
    assert "names a file twice" in refused(make(tmp_path / "a.zip", {"refcoco/A": b"a", "refcoco/a": b"b"}))


@pytest.mark.parametrize("how", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_only_what_is_unpacked_bit_by_bit_is_unpacked(tmp_path, how):
    assert "expected deflate or none" in refused(make(tmp_path / "a.zip", compression=how))


def test_names_that_no_disk_can_hold_together_are_refused(tmp_path):
    assert "a file and a folder" in refused(make(tmp_path / "a.zip", {"refcoco/a": b"a", "refcoco/A/b": b"b"}))
    for name in ("é" * 128, "a/" * 2500 + "a"):
        assert "no plain name" in refused(make(tmp_path / "a.zip", {f"refcoco/{name}": b"a"}))


@pytest.mark.parametrize("place", [155, 2**31])
def test_a_directory_that_lies_about_its_place_is_damage(tmp_path, place):
    archive = make(tmp_path / "a.zip")
    data = archive.read_bytes()
    archive.write_bytes(data[:-6] + struct.pack("<I", place) + data[-2:])
    assert "damaged or no zip file" in refused(archive)


def test_what_is_damaged_cut_short_or_no_archive_is_refused(tmp_path):
    archive = make(tmp_path / "a.zip", {"refcoco/a": os.urandom(5000)})
    whole = archive.read_bytes()
    for damaged in (b"", b"<html>", whole[: len(whole) // 2], whole[:60] + b"\0\0\0\0" + whole[64:]):
        archive.write_bytes(damaged)
        assert "damaged or no zip file" in refused(archive)


def test_the_wrong_archive_is_refused(tmp_path):
    archive = make(tmp_path / "a.zip")
    assert "holds no file below refcocog" in refused(archive, inside="refcocog")
    assert "holds no refcoco/instances.json" in refused(archive, members={"refcoco/instances.json": ""})
    assert "another file than expected" in refused(archive, members={"refcoco/a/b.json": "abc"})


def test_a_full_disk_is_seen_before(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda folder: SimpleNamespace(free=fetching.SPARE))
    assert "Make room" in refused(make(tmp_path / "a.zip"), DownloadError)


PROGRAM = """
import sys, time
from ris_lib.data.download import unzip
module = sys.modules[unzip.__module__]
take = module._take
def slow(*arguments):
    take(*arguments)
    print("one", flush=True)
    time.sleep(60)
module._take = slow
unzip(sys.argv[1], sys.argv[2], "refcoco", progress=False)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_killed_process_leaves_nothing_that_looks_whole(tmp_path):
    archive = make(tmp_path / "a.zip")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, archive, tmp_path / "out"], env=environment, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"one\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "out").exists()
    unzip(archive, tmp_path / "out", "refcoco", progress=False)
    assert tree(tmp_path / "out") == {"refs(unc).p": b"refs", "a/b.json": b"{}" * 300}
    assert not [
        path for path in tmp_path.iterdir() if ".partial" in path.name or ("unpacked" in path.name and path.is_dir())
    ]


def test_what_was_unpacked_but_not_moved_is_moved_by_the_next_call(tmp_path):
    archive = make(tmp_path / "a.zip")
    waiting = tmp_path / ".out.unpacked"
    waiting.mkdir()
    (waiting / "refs(unc).p").write_bytes(b"refs")
    unzip(archive, tmp_path / "out", "refcoco", progress=False)
    assert tree(tmp_path / "out") == {"refs(unc).p": b"refs"}
