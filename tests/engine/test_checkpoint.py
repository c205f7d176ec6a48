import json
import os

import pytest
import torch

from ris_lib.data.cache import remove_partial
from ris_lib.engine import checkpoint as checkpoints
from ris_lib.engine.checkpoint import latest_checkpoint, load_checkpoint, load_state, save_checkpoint
from ris_lib.models import ReferringSegmenter, create_model


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model("baseline_tiny")


def test_a_checkpoint_comes_back(tmp_path, model):
    saved = save_checkpoint(tmp_path, 7, model, {"optimizer": {"state": {0: torch.arange(3)}}, "scaler": None})
    assert latest_checkpoint(tmp_path) == saved
    state = load_state(saved)
    assert state["step"] == 7
    assert torch.equal(state["optimizer"]["state"][0], torch.arange(3))
    loaded = ReferringSegmenter.from_pretrained(saved).state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in model.state_dict().items())


def test_the_last_two_stay(tmp_path, model):
    for step in (8, 9, 10, 100):
        save_checkpoint(tmp_path, step, model, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000010", "step_00000100"]
    assert latest_checkpoint(tmp_path).name == "step_00000100"
    assert latest_checkpoint(tmp_path / "nothing") is None


def test_a_failure_while_writing_leaves_the_last_one(tmp_path, model, monkeypatch):
    save_checkpoint(tmp_path, 1, model, {})

    def full(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(tmp_path, 2, model, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001"]


def test_everything_is_forced_to_the_disk_before_the_rename(tmp_path, model, monkeypatch):
    synced = []
    monkeypatch.setattr(checkpoints, "_force_to_disk", lambda path: synced.append((path.name, path.parent.name)))
    save_checkpoint(tmp_path, 1, model, {})
    names = [name for name, parent in synced if parent.startswith(".partial-")]
    assert {"model.safetensors", "state.pt", "config.json"} <= set(names)
    assert synced[-1][0] == tmp_path.name


def test_what_a_killed_process_left_is_removed(tmp_path, model):
    (tmp_path / ".partial-0000aaaa-step_00000002").mkdir()
    save_checkpoint(tmp_path, 1, model, {})
    remove_partial(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001"]


def test_damaged_and_missing_state(tmp_path, model):
    saved = save_checkpoint(tmp_path, 1, model, {"numbers": torch.arange(1000)})
    path = saved / "state.pt"
    path.write_bytes(path.read_bytes()[: os.path.getsize(path) // 2])
    with pytest.raises(
        ValueError, match=r"state.pt is damaged .*To go on: delete .*; the run then continues from its beginning"
    ):
        load_state(saved)
    for other in ([1, 2], {"numbers": 1}):
        torch.save(other, path)
        with pytest.raises(
            ValueError, match=r"state.pt is damaged .*To go on: delete .*; the run then continues from its beginning"
        ):
            load_state(saved)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"state.pt is missing"):
        load_state(saved)


@pytest.mark.parametrize(("name", "what"), [("model.safetensors", "is damaged"), ("config.json", "is not JSON")])
def test_a_model_that_was_cut_short_is_told_with_what_can_be_done(tmp_path, model, name, what):
    for step in (1, 2):
        saved = save_checkpoint(tmp_path, step, model, {})
    path = saved / name
    path.write_bytes(path.read_bytes()[: os.path.getsize(path) // 2])
    with pytest.raises(ValueError, match=f"{what}.*To go on: delete .*step_00000002; .*continues from step_00000001"):
        load_checkpoint(saved, "baseline_tiny")
    assert load_checkpoint(tmp_path / "step_00000001", "baseline_tiny")[1]["step"] == 1
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}.*To go on: delete .*step_00000002"):
        load_checkpoint(saved, "baseline_tiny")


def test_a_checkpoint_of_another_model_is_refused(tmp_path, model):
    saved = save_checkpoint(tmp_path, 1, model, {})
    with pytest.raises(ValueError, match=r"of baseline_tiny, and the run trains lavt_tiny.*To go on: delete"):
        load_checkpoint(saved, "lavt_tiny")
    config = json.loads((saved / "config.json").read_text())
    config["decoder"]["width"] = 7
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"the weights of another model.*To go on: delete"):
        load_checkpoint(saved, "baseline_tiny")


def test_a_checkpoint_of_another_version_is_refused(tmp_path, model, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "VERSION", 0)
        saved = save_checkpoint(tmp_path, 1, model, {})
    with pytest.raises(ValueError, match=r"of version 0; this library reads version 1.*environment\.json.*--start"):
        load_checkpoint(saved, "baseline_tiny")
    torch.save({"step": 5}, saved / "state.pt")  # the first ones did not say their version
    assert load_state(saved) == {"step": 5, "version": 1}
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"blend": 3}))
    with pytest.raises(ValueError, match=r"unknown entry 'blend' of a model configuration.*To go on: delete"):
        load_checkpoint(saved, "baseline_tiny")
