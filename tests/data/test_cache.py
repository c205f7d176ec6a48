"""The cache: whole or not at all, once or never again."""

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ris_lib.data import refer
from ris_lib.data.cache import (
    DiskFullError,
    atomic_files,
    atomic_write,
    build_once,
    cache_folder,
    check_place,
    is_full,
)
from ris_lib.data.scenes import build
from tests.data.conftest import ReferFolder
from tests.injected import child, forks, leftovers


def test_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("RIS_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("RIS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "ris_lib"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "ris_lib"


def _stop_half_way(target: Path) -> None:
    with atomic_write(target) as partial:
        assert partial.suffix == target.suffix
        assert partial.parent == target.parent
        partial.mkdir() if target.is_dir() else partial.write_text("half")
        raise RuntimeError("stop")


def test_a_file_replaces_the_old_one_only_when_it_is_whole(tmp_path):
    target = tmp_path / "new" / "a.txt"
    with atomic_write(target) as partial:
        partial.write_text("old")
    with pytest.raises(RuntimeError, match="stop"):
        _stop_half_way(target)
    assert target.read_text() == "old"
    assert os.listdir(target.parent) == ["a.txt"]
    with atomic_write(target) as partial:
        partial.write_text("new")
    assert target.read_text() == "new"


def test_a_folder_is_replaced_or_removed_whole(tmp_path):
    for text in ("one", "two"):
        with atomic_write(tmp_path / "folder") as partial:
            partial.mkdir()
            (partial / text).write_text(text)
    with pytest.raises(RuntimeError, match="stop"):
        _stop_half_way(tmp_path / "folder")
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(tmp_path / "folder") == ["two"]


def test_a_place_that_cannot_be_written_is_refused_beforehand(tmp_path, monkeypatch):
    check_place(tmp_path / "new" / "folder" / "a.txt")
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a.txt", tmp_path / "file" / "folder" / "a.txt"):
        with pytest.raises(ValueError, match="file is a file and no folder; choose another place"):
            check_place(path)
    monkeypatch.setattr(os, "access", lambda folder, mode: folder != tmp_path)
    with pytest.raises(ValueError, match="may not be written in; choose another place, or change its permissions"):
        check_place(tmp_path / "a.txt")
    assert os.listdir(tmp_path) == ["file"]


def test_writing_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing was written"), atomic_write(tmp_path / "a"):
        pass


def test_a_failed_build_is_tried_again_and_a_good_one_is_kept(tmp_path):
    calls = []

    def build(partial):
        calls.append(partial)
        partial.mkdir()
        if len(calls) == 1:
            raise RuntimeError("full disk")

    with pytest.raises(RuntimeError, match="full disk"):
        build_once(tmp_path / "data", build)
    assert not (tmp_path / "data").exists()
    assert build_once(tmp_path / "data", build) == tmp_path / "data"
    build_once(tmp_path / "data", build)
    assert len(calls) == 2


def test_what_a_killed_build_left_is_cleared_away(tmp_path):
    stale, others = tmp_path / ".partial-0123abcd-data", tmp_path / ".partial-0123abcd-other-data"
    inside = tmp_path / ".partial-0123abcd-.partial-89abcdef-data"  # of an atomic write within a build
    for folder in (stale, others, inside):
        folder.mkdir()
    build_once(tmp_path / "data", Path.mkdir)
    assert not stale.exists()
    assert not inside.exists()
    assert others.exists(), "another name's build may be running"


def test_all_who_ask_at_once_wait_for_one(tmp_path):
    calls = []

    def build(partial):
        calls.append(partial)
        time.sleep(0.1)
        partial.write_text("made")

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: build_once(tmp_path / "data.txt", build).read_text(), range(4)))
    assert made == ["made"] * 4
    assert len(calls) == 1


@forks
@pytest.mark.parametrize("cache", ["an index", "drawn scenes"])
def test_two_processes_that_build_the_same_at_once_build_it_once(tmp_path, monkeypatch, cache):
    monkeypatch.setenv("RIS_CACHE", str(tmp_path / "cache"))
    root = ReferFolder(tmp_path / "root").write(pictures=None)
    owner, name = (refer, "read_refer") if cache == "an index" else (build, "_draw_range")
    real = getattr(owner, name)

    def slow(*arguments):
        with (tmp_path / "calls").open("a") as calls:
            calls.write("built\n")
        time.sleep(0.3)
        return real(*arguments)

    monkeypatch.setattr(owner, name, slow)

    def job():
        if cache == "an index":
            assert len(refer.refer_index(root, "refcoco").index) == 3
        else:
            assert np.load(build.build_scenes("val", 32, limit=2, progress=False) / build.PICTURES).any()

    both = [child(job) for _ in range(2)]
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    assert (tmp_path / "calls").read_text() == "built\n"
    assert leftovers(tmp_path) == []


def as_torch_does():
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError:
        raise RuntimeError("unexpected pos 576 vs 534")  # noqa: B904  (in its own words, and nothing else)


def test_a_full_disk_is_seen_behind_other_errors():
    with pytest.raises(RuntimeError) as caught:
        as_torch_does()
    assert is_full(caught.value)
    assert is_full(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert is_full(DiskFullError("a"))
    assert not is_full(RuntimeError("unexpected pos 576 vs 534"))
    assert not is_full(FileNotFoundError(errno.ENOENT, "No such file or directory"))


def test_files_of_one_writing_come_together_or_not_at_all(tmp_path):
    (tmp_path / "notes").write_text("mine")
    for text in ("one", "two"):
        with atomic_files(tmp_path, "list") as partial:
            for name in ("a", "list"):
                (partial / name).write_text(text)
    with pytest.raises(OSError), atomic_files(tmp_path, "list") as partial:
        [path.write_text("three") for path in (partial / "a", partial)]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"notes": "mine", "a": "two", "list": "two"}
