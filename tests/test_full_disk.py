"""A disk that fills up in the middle of a write: the message says so, what was there stays, with room it goes on."""

import json
import os
import sys
import zipfile

import pytest
import torch
from PIL import Image

from ris_lib.cli.command import run_command
from ris_lib.cli.predict import write_prediction
from ris_lib.data import load_index
from ris_lib.data.cache import DiskFullError
from ris_lib.data.download import Source, fetch_photographs, unzip
from ris_lib.data.download import fetch as package_fetch
from ris_lib.data.refer import refer_index
from ris_lib.data.scenes import build, build_scenes
from ris_lib.engine.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from ris_lib.models import create_model
from tests.data.conftest import ReferFolder
from tests.data.download.server import server
from tests.injected import leftovers, small_disk
from tests.test_killed import files, prediction

KB = 1024


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A disk of 64 MB; downloads do not ask beforehand whether there is room."""
    monkeypatch.setattr(sys.modules[package_fetch.__module__], "SPARE", -(10**12))
    with small_disk(tmp_path / "disk", 64 * KB * KB) as made:
        yield made


def refused(disk, room: int, job, capsys) -> str:
    """What the command line says of a job for which there is not enough room; nothing half-written stays."""
    with disk.room(room):
        assert run_command(job, "ris") == 2
        assert leftovers(disk.folder) == []
    said = capsys.readouterr().err
    assert said.startswith("ris: ")
    assert "Traceback" not in said
    assert "ull" in said
    return said


def test_a_download(disk, capsys):
    content = os.urandom(300 * KB)
    with server() as host:
        host.files["a.zip"] = content
        source = Source("a.zip", (f"{host.address}/a.zip",), size=len(content))
        job = lambda: package_fetch(source, disk.folder / "a.zip", progress=False)  # noqa: E731
        assert "a.zip.part goes on" in refused(disk, 100 * KB, job, capsys)
        kept = (disk.folder / "a.zip.part").stat().st_size
        job()
    assert (disk.folder / "a.zip").read_bytes() == content
    assert host.asked[-1] == ("a.zip", f"bytes={kept}-" if kept else "")


def test_photographs(disk, tmp_path, capsys):
    folder, names = disk.folder / "train2014", [f"{k}.jpg" for k in range(20)]
    Image.effect_noise((60, 60), 90).convert("RGB").save(tmp_path / "a.jpg", quality=95)
    with server() as host:
        host.files |= dict.fromkeys(names, (tmp_path / "a.jpg").read_bytes())
        source = Source("{file_name}", (f"{host.address}/{{file_name}}",))
        job = lambda: fetch_photographs(source, folder, dict.fromkeys(names, (60, 60)), 2, False)  # noqa: E731
        said = refused(disk, 2 * KB, job, capsys)
        assert ".jpg cannot be written, because its disk is full" in said
        assert set(files(folder)) < set(names)
        job()
    assert set(files(folder)) == set(names)


def test_an_extraction(disk, capsys):
    content = os.urandom(300 * KB)
    with zipfile.ZipFile(disk.folder / "a.zip", "w") as archive:
        archive.writestr("refcoco/a", b"first")
        archive.writestr("refcoco/b", content)
    job = lambda: unzip(disk.folder / "a.zip", disk.folder / "refcoco", "refcoco", progress=False)  # noqa: E731
    assert "cannot be written, because its disk is full" in refused(disk, 100 * KB, job, capsys)
    assert set(files(disk.folder)) == {"a.zip"}
    job()
    assert files(disk.folder / "refcoco") == {"a": b"first", "b": content}


def test_an_index(disk, tmp_path, capsys, monkeypatch):
    root = ReferFolder(tmp_path / "root").write(pictures=None)
    monkeypatch.setenv("RIS_CACHE", str(disk.folder))
    said = refused(disk, 0, lambda: refer_index(root, "refcoco"), capsys)
    assert "refcoco-unc-" in said
    assert "disk is full" in said
    assert len(refer_index(root, "refcoco").index) == 3


@pytest.mark.parametrize("room", [8 * KB, 57 * KB], ids=["for no picture", "for pictures only"])
def test_drawn_scenes(disk, capsys, room):
    if room > 8 * KB and not disk.mounted:
        pytest.skip("only a mounted disk counts all files together")
    job = lambda: build_scenes("val", 96, disk.folder, limit=2, progress=False)  # noqa: E731
    said = refused(disk, room, job, capsys)
    assert "scenes-v1" in said
    assert files(disk.folder) == {}
    assert len(load_index(job() / "index.arrow").by_image()) == 2


def test_a_drawing_process_says_it_in_its_own_words(monkeypatch, tmp_path):
    def failed(*arguments):
        raise ChildProcessError("drawing val failed: OSError: [Errno 28] No space left on device")

    monkeypatch.setattr(build, "_SCENES_PER_WORKER", 1)
    monkeypatch.setattr(build, "_draw_in_processes", failed)
    with pytest.raises(DiskFullError, match=r"scenes-v1-.*-val-32px-2 cannot be written, because its disk is full"):
        build_scenes("val", 32, tmp_path, workers=2, limit=2, progress=False)


@pytest.mark.parametrize("part", ["weights", "state"])
def test_a_checkpoint(disk, capsys, part):
    torch.manual_seed(0)
    model, state = create_model("baseline_tiny"), {"numbers": torch.arange(2_000_000)}
    size = sum(value.nbytes for value in model.state_dict().values())
    save_checkpoint(disk.folder / "checkpoints", 1, model, {})
    job = lambda: save_checkpoint(disk.folder / "checkpoints", 2, model, state)  # noqa: E731
    room = size // 2 if part == "weights" else size + KB * KB
    said = refused(disk, room, job, capsys)
    assert "step_00000002 cannot be written, because its disk is full" in said
    assert load_checkpoint(latest_checkpoint(disk.folder / "checkpoints"), "baseline_tiny")[1]["step"] == 1
    job()
    assert load_checkpoint(latest_checkpoint(disk.folder / "checkpoints"), "baseline_tiny")[1]["step"] == 2


def test_a_prediction(disk, capsys):
    folder = disk.folder / "out"
    write_prediction(folder, *prediction(0))
    before = files(folder)
    said = refused(disk, 0, lambda: write_prediction(folder, *prediction(1)), capsys)
    assert "out cannot be written, because its disk is full" in said
    assert files(folder) == before
    write_prediction(folder, *prediction(1))
    assert json.loads((folder / "prediction.json").read_text())["predictions"][0]["level"] == 1
