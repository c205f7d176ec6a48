"""The weights that ship: whole, small, and as good as they say."""

import json

import pytest
import torch

from ris_lib.data import load_dataset
from ris_lib.engine import evaluate
from ris_lib.engine.run import write_json
from ris_lib.models import create_model, list_models, recipe, shipped
from ris_lib.models.shipped import (
    CHECKSUMS,
    SCORES,
    checksums,
    shipped_model,
    shipped_models,
    shipped_scores,
    weights_folder,
)

#: Of the weights of one model, in bytes.
LARGEST = 4_000_000


def test_every_file_has_its_checksum():
    table = json.loads((weights_folder() / CHECKSUMS).read_text(encoding="utf-8"))
    assert table == checksums(weights_folder())


@pytest.mark.parametrize("name", shipped_models())
def test_the_files_are_small(name):
    assert sum(path.stat().st_size for path in shipped_model(name).glob("*.safetensors")) <= LARGEST


def test_every_tiny_model_ships():
    assert shipped_models() == list_models("*_tiny")


def test_all_were_trained_on_the_same_samples():
    assert len({json.dumps(shipped_scores(name)["training"]["samples"]) for name in shipped_models()}) <= 1


@pytest.mark.parametrize("name", shipped_models())
def test_a_recipe_and_its_weights_agree(name):
    """Whoever changes a recipe has to train its weights anew."""
    stored = create_model(name, pretrained=True).config
    assert stored.override(training=recipe(name).training) == recipe(name)


@pytest.mark.slow
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
def shop(tmp_path, monkeypatch):
    """A folder in which one model ships that nobody has trained."""
    folder = tmp_path / "weights" / "baseline_tiny"
    create_model("baseline_tiny").half().save_pretrained(folder)
    (folder / SCORES).write_text("{}")
    write_json(folder.parent / CHECKSUMS, checksums(folder.parent))
    monkeypatch.setattr(shipped, "weights_folder", lambda: folder.parent)
    return folder


def test_shipped_weights_are_found_by_the_name_of_the_model(shop):
    model = create_model("baseline_tiny", pretrained=True)
    assert shipped_models() == ["baseline_tiny"]
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_damage_is_noticed(shop):
    with (shop / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, 2)
        last = weights.read(1)
        weights.seek(-1, 2)
        weights.write(bytes([last[0] ^ 1]))
    with pytest.raises(ValueError, match="not the file that was shipped"):
        create_model("baseline_tiny", pretrained=True)


def test_a_lost_file_is_noticed(shop):
    (shop / "config.json").unlink()
    with pytest.raises(ValueError, match=r"config\.json is missing or not"):
        create_model("baseline_tiny", pretrained=True)


def test_what_does_not_ship_is_said():
    with pytest.raises(ValueError, match="no weights ship with ris_lib for 'lavt_base'"):
        create_model("lavt_base", pretrained=True)
