"""The weights that ship: whole, small, and as good as they say."""

import json
import shutil

import pytest

from ris_lib.data import load_dataset
from ris_lib.engine import evaluate
from ris_lib.models import create_model, list_models, recipe, shipped
from ris_lib.models.shipped import CHECKSUMS, checksums, shipped_model, shipped_models, shipped_scores, weights_folder

#: Of the weights of one model, in bytes.
LARGEST = 4_000_000


def test_all_tiny_models_ship():
    assert shipped_models() == list_models("*_tiny")


def test_every_file_has_its_checksum():
    table = json.loads((weights_folder() / CHECKSUMS).read_text(encoding="utf-8"))
    assert table == checksums(weights_folder())


@pytest.mark.parametrize("name", shipped_models())
def test_the_files_are_small(name):
    assert sum(path.stat().st_size for path in shipped_model(name).glob("*.safetensors")) <= LARGEST


def test_all_were_trained_on_the_same_samples():
    assert len({json.dumps(shipped_scores(name)["training"]["samples"]) for name in shipped_models()}) == 1


@pytest.mark.parametrize("name", shipped_models())
def test_a_recipe_and_its_weights_agree(name):
    """Whoever changes a recipe has to train its weights anew."""
    stored = create_model(name, pretrained=True).config
    assert stored.override(training=recipe(name).training) == recipe(name)


@pytest.mark.parametrize("name", shipped_models())
def test_the_numbers_are_reproduced_on_some_pictures(name):
    promised = shipped_scores(name)["quick"]
    model = create_model(name, pretrained=True)
    test = load_dataset("scenes", "test", size=model.config.preprocess["size"][0])
    found = evaluate(model, test, limit=promised["counts"]["images"], intervals=False, progress=False, device="cpu")
    assert found.counts == promised["counts"]
    assert found.scores.miou == pytest.approx(promised["miou"], abs=0.002)
    assert found.scores.oiou == pytest.approx(promised["oiou"], abs=0.002)


@pytest.fixture
def a_copy(tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    folder.mkdir()
    shutil.copytree(weights_folder() / "baseline_tiny", folder / "baseline_tiny")
    shutil.copy(weights_folder() / CHECKSUMS, folder)
    monkeypatch.setattr(shipped, "weights_folder", lambda: folder)
    return folder / "baseline_tiny"


def test_damage_is_noticed(a_copy):
    assert create_model("baseline_tiny", pretrained=True)
    with (a_copy / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x00")
    with pytest.raises(ValueError, match="not the file that was shipped"):
        create_model("baseline_tiny", pretrained=True)


def test_a_lost_file_is_noticed(a_copy):
    (a_copy / "config.json").unlink()
    with pytest.raises(ValueError, match=r"config\.json is missing or not"):
        create_model("baseline_tiny", pretrained=True)


def test_what_does_not_ship_is_said():
    with pytest.raises(ValueError, match="no weights ship with ris_lib for 'lavt_base'"):
        create_model("lavt_base", pretrained=True)
