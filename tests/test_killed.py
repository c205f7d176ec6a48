"""kill -9 before every change on the disk: nothing is lost, nothing half-made looks whole, the next start mends it."""

import itertools
import json
import shutil
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from ris_lib.cli.predict import write_prediction
from ris_lib.data import load_index
from ris_lib.data.cache import remove_partial
from ris_lib.data.download import Source, fetch, fetch_photographs, unzip
from ris_lib.data.refer import refer_index
from ris_lib.data.scenes import build_scenes
from ris_lib.engine.checkpoint import latest_checkpoint, load_state, save_checkpoint
from ris_lib.models import create_model
from ris_lib.models.pretrained import read_weights
from tests.data.conftest import ReferFolder
from tests.data.download.server import server
from tests.injected import forks, killed_before, leftovers

pytestmark = [forks, pytest.mark.slow]


def kill_everywhere(folder, begin, job, half, whole) -> int:
    """Kill a job before each of its changes in turn.

    Args:
        folder: Where it works.
        begin: Called before each start, in the empty folder.
        job: What is killed, and then started again.
        half: Called after a kill: asserts that nothing is lost and nothing half-made looks whole.
        whole: Called after the next start: asserts that all is there.

    Returns:
        How often it was killed.
    """
    for change in itertools.count():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        begin()
        killed = killed_before(change, folder, job)
        if not killed:
            whole()
            return change
        half()
        job()
        whole()
        assert leftovers(folder) == []


def files(folder) -> dict[str, bytes]:
    """What a user finds: no locks, nothing hidden."""
    found = [path for path in folder.rglob("*") if path.is_file() and "/." not in path.as_posix()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_a_download_that_is_killed_goes_on(tmp_path):
    content, folder = bytes(range(256)) * 100, tmp_path / "data"
    with server() as host:
        host.files["a.zip"] = content
        source = Source("a.zip", (f"{host.address}/a.zip",), size=len(content))
        kills = kill_everywhere(
            folder,
            begin=lambda: None,
            job=lambda: fetch(source, folder / "a.zip", progress=False),
            half=lambda: files(folder).get("a.zip", content) == content or pytest.fail("half a file has its name"),
            whole=lambda: files(folder) == {"a.zip": content} or pytest.fail(f"{files(folder).keys()}"),
        )
    assert kills >= 4


def test_photographs_that_are_killed_go_on(tmp_path):
    folder = tmp_path / "data" / "images"
    with server() as host:
        expected = {}
        for name in ("a.jpg", "b.jpg"):
            Image.new("RGB", (30, 20), "red").save(tmp_path / name)
            host.files[name] = expected[name] = (tmp_path / name).read_bytes()
        source = Source("{file_name}", (f"{host.address}/{{file_name}}",))
        kills = kill_everywhere(
            tmp_path / "data",
            begin=lambda: None,
            job=lambda: fetch_photographs(source, folder, dict.fromkeys(expected, (20, 30)), 1, progress=False),
            half=lambda: files(folder).items() <= expected.items() or pytest.fail("half a photograph has its name"),
            whole=lambda: files(folder) == expected or pytest.fail(f"{files(folder).keys()}"),
        )
    assert kills >= 5


def test_an_extraction_that_is_killed_leaves_nothing_that_looks_whole(tmp_path):
    folder, expected = tmp_path / "data", {"refs(unc).p": b"refs", "a/b.json": b"{}" * 300}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in expected.items():
            archive.writestr(f"refcoco/{name}", content)
    kills = kill_everywhere(
        folder,
        begin=lambda: None,
        job=lambda: unzip(tmp_path / "a.zip", folder / "refcoco", "refcoco", progress=False),
        half=lambda: files(folder / "refcoco").items() <= expected.items() or pytest.fail("half a file has its name"),
        whole=lambda: files(folder / "refcoco") == expected or pytest.fail(f"{files(folder).keys()}"),
    )
    assert kills >= 8


def test_an_index_that_is_killed_is_built_again(tmp_path, monkeypatch):
    folder, root = tmp_path / "cache", ReferFolder(tmp_path / "root").write(pictures=None)
    monkeypatch.setenv("RIS_CACHE", str(folder))

    def kept():
        return [path for path in folder.rglob("*.arrow") if not path.name.startswith(".")]

    def half():
        assert [len(load_index(path)) for path in kept()] in ([], [3])

    def whole():
        assert [len(load_index(path)) for path in kept()] == [3]

    assert kill_everywhere(folder, lambda: None, lambda: refer_index(root, "refcoco"), half, whole) >= 3


def test_drawn_scenes_that_are_killed_are_drawn_again(tmp_path):
    expected = build_scenes("val", 32, tmp_path / "once", limit=2, progress=False)
    folder = tmp_path / "cache"

    def drawn():
        return [path for path in (folder / "scenes").glob("*") if not path.name.startswith(".")]

    def half():
        assert not drawn() or files(drawn()[0]).keys() == {"pictures.npy", "index.arrow"}

    def whole():
        (found,) = drawn()
        assert files(found)["pictures.npy"] == files(expected)["pictures.npy"]
        assert load_index(found / "index.arrow").table.equals(load_index(expected / "index.arrow").table)

    job = lambda: build_scenes("val", 32, folder, limit=2, progress=False)  # noqa: E731
    assert kill_everywhere(folder, lambda: None, job, half, whole) >= 8


def test_a_checkpoint_that_is_killed_leaves_those_before_it(tmp_path):
    torch.manual_seed(0)
    model, folder = create_model("baseline_tiny"), tmp_path / "checkpoints"
    once = save_checkpoint(tmp_path / "once", 1, model, {})
    weights = read_weights(once / "model.safetensors").keys()

    def begin():
        shutil.copytree(once, folder / "step_00000001")
        shutil.copytree(once, folder / "step_00000002")

    def save():
        remove_partial(folder)  # as a run does that is continued
        save_checkpoint(folder, 3, model, {"numbers": torch.arange(3)})

    def half():
        latest = latest_checkpoint(folder)
        assert read_weights(latest / "model.safetensors").keys() == weights
        assert ("numbers" in load_state(latest)) == (latest.name == "step_00000003")

    def whole():
        assert [path.name for path in sorted(folder.iterdir())] == ["step_00000002", "step_00000003"]
        half()

    assert kill_everywhere(folder, begin, save, half, whole) >= 8


def prediction(level: int) -> tuple[np.ndarray, list[np.ndarray], dict]:
    """A picture, masks, and what prediction.json says; all of it tells which prediction it is of."""
    masks = [np.full((4, 6), bool(level))] * 2
    entries = [{"mask": f"{k}_mask.png", "overlay": f"{k}_overlay.png", "level": level} for k in range(2)]
    return np.full((4, 6, 3), 200, np.uint8), masks, {"predictions": entries}


def test_a_prediction_that_is_killed_is_the_old_one_or_none(tmp_path):
    folder = tmp_path / "out"

    def begin():
        (folder / "notes.txt").write_text("mine")
        write_prediction(folder, *prediction(0))

    def half():
        assert (folder / "notes.txt").read_text() == "mine"
        if (folder / "prediction.json").is_file():
            for entry in json.loads((folder / "prediction.json").read_text())["predictions"]:
                assert np.asarray(Image.open(folder / entry["mask"])).max() == 255 * entry["level"]
                assert Image.open(folder / entry["overlay"]).size == (6, 4)

    def whole():
        half()
        assert json.loads((folder / "prediction.json").read_text())["predictions"][0]["level"] == 1
        assert len(list(folder.iterdir())) == 6

    assert kill_everywhere(folder, begin, lambda: write_prediction(folder, *prediction(1)), half, whole) >= 10
