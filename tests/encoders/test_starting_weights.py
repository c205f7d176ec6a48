"""Published weights: found, not found, damaged, foreign; and no file runs code."""

import pickle

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, SwinConfig, SwinModel

from ris_lib.encoders.bert import BertText
from ris_lib.encoders.starting_weights import check_fit, check_settings, not_here
from ris_lib.encoders.swin import SwinImage
from ris_lib.models import list_models, recipe


def bert(start):
    return BertText(13, 2, length=6, layers=(1, 0, 0, 0), width=8, heads=2, intermediate=16, positions=12, start=start)


def swin(start):
    return SwinImage(embed_dim=8, depths=(1, 1, 1, 1), heads=(1, 2, 2, 4), window=4, start=start)


@pytest.fixture
def bert_folder(tmp_path):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=13, max_position_embeddings=12, **sizes)).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and an empty cache."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize(
    ("make", "start"),
    [
        (bert, "google-bert/bert-base-uncased"),
        (bert, "google/bert_uncased_L-4_H-512_A-8"),
        (swin, "microsoft/swin-base-patch4-window12-384-in22k"),
    ],
)
def test_without_a_network_the_message_says_what_goes_where(make, start, offline, tmp_path):
    tower = make(start)
    with pytest.raises(FileNotFoundError) as caught:
        tower.load_start()
    message = str(caught.value)
    assert message.startswith(f"{type(tower).__name__}: the starting weights {start!r} are not here.")
    assert f"hf download {start}" in message
    assert f"models--{start.replace('/', '--')}" in message
    assert str(tmp_path / "hub") in message
    assert "model.safetensors" in message


#: Trained on ImageNet's classes, on pairs of pictures and texts from the web, on text alone, or on drawn scenes.
CLEAN = {
    "tiny_encoders",
    "microsoft/swin-base-patch4-window12-384-in22k",
    "microsoft/swin-tiny-patch4-window7-224",
    "openai",
    "google-bert/bert-base-uncased",
    "google/bert_uncased_L-4_H-512_A-8",
}


@pytest.mark.parametrize("name", list_models())
def test_no_recipe_starts_from_weights_that_have_seen_the_test_pictures(name):
    """All pictures of RefCOCO, its test parts too, are COCO's: no tower may come from COCO's boxes or masks."""
    config = recipe(name)
    starts = {config.image_tower.get("start"), config.text_tower.get("start")} - {None}
    assert starts <= CLEAN
    assert starts
    assert ("tiny_encoders" in starts) == name.endswith("_tiny")


def test_a_missing_folder_is_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr(BertModel, "from_pretrained", None)
    with pytest.raises(FileNotFoundError, match=r"BertText: no folder .*config\.json and model\.safetensors"):
        bert(str(tmp_path / "a" / "b")).load_start()


def test_a_folder_without_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        bert(str(tmp_path)).load_start()


def test_loading_fills_the_tower(bert_folder):
    tower, expected = bert(str(bert_folder)), BertModel.from_pretrained(bert_folder).state_dict()
    tower.load_start()
    table = "embeddings.word_embeddings.weight"
    assert torch.equal(tower.state_dict()[table], expected[table])
    name = "attention.self.query.weight"
    assert torch.equal(tower.state_dict()[f"layers.0.{name}"], expected[f"encoder.layer.0.{name}"])


def test_a_damaged_file(bert_folder):
    file = bert_folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"BertText: the starting weights .* cannot be read"):
        bert(str(bert_folder)).load_start()


def test_a_model_of_another_kind(bert_folder, tmp_path):
    config = SwinConfig(embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4], window_size=4)
    SwinModel(config).save_pretrained(tmp_path / "swin")
    for tower in (bert(str(tmp_path / "swin")), swin(str(bert_folder))):
        with pytest.raises(ValueError, match=r"another kind|cannot be read"):
            tower.load_start()


def test_a_pickle_cannot_run_code(bert_folder, tmp_path):
    """A file of the older format is read as tensors only."""
    witness = tmp_path / "ran"

    class Bomb:
        def __reduce__(self):
            return (open, (str(witness), "w"))

    (bert_folder / "model.safetensors").unlink()
    (bert_folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Bomb()}, protocol=2))
    with pytest.raises((ValueError, FileNotFoundError)):
        bert(str(bert_folder)).load_start()
    assert not witness.exists()


def test_the_older_format_is_read(bert_folder):
    model = BertModel.from_pretrained(bert_folder)
    (bert_folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), bert_folder / "pytorch_model.bin")
    tower = bert(str(bert_folder))
    tower.load_start()
    assert torch.equal(tower.embeddings.LayerNorm.weight, model.embeddings.LayerNorm.weight)


def test_everything_that_differs_is_said():
    with pytest.raises(ValueError) as caught:
        check_fit(nn.Linear(2, 1), {"weight": torch.zeros(1, 3), "other": torch.zeros(1)}, "example")
    message = str(caught.value)
    assert "weight (1, 3) there, (1, 2) here" in message
    assert "other only there" in message
    assert "bias only here" in message
    check_fit(nn.Linear(2, 1), nn.Linear(2, 1).state_dict(), "example")


def test_a_long_list_is_cut():
    with pytest.raises(ValueError, match=r"w0 only there.*and 7 more"):
        check_fit(nn.Identity(), {f"w{k}": torch.zeros(1) for k in range(11)}, "example")


def test_settings_that_no_shape_shows():
    check_settings({"heads": (1, 2), "else": 3}, {"heads": [1, 2]}, "example", "Tower")
    with pytest.raises(ValueError, match=r"Tower: .*'example' were trained with heads=4; this tower has heads=2"):
        check_settings({"heads": 4}, {"heads": 2}, "example", "Tower")


def test_the_cause_is_kept_short():
    assert str(not_here("Tower", "a/b", "first line\nsecond")).endswith("(The cause: first line)")
    assert "hf download c/d" in str(not_here("Tower", "a/b", "", hub_id="c/d"))
