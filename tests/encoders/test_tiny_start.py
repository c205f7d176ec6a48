"""The weights that tiny towers start from."""

import json

import pytest
import torch
from safetensors.torch import save_file

from ris_lib.data.tokenizers import WordTokenizer
from ris_lib.encoders import TinyImage, TinyText
from ris_lib.encoders.tiny_start import IMAGE, REPORT, SHIPPED, TEXT, load_tiny, shipped_folder, stored_weights
from ris_lib.models import create_model, list_models


def image(**options):
    return TinyImage(widths=(8, 8, 16, 16), attention=(0, 0, 1, 0), heads=2, detail_channels=8, **options)


def text(layers, **options):
    return TinyText(vocabulary_size=9, mask_id=2, length=6, width=8, layers=layers, heads=2, **options)


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    save_file(stored_weights(image()), tmp_path / IMAGE)
    save_file(stored_weights(text((2, 0, 0, 0))), tmp_path / TEXT)
    return tmp_path


def test_what_is_stored_comes_back(folder):
    torch.manual_seed(0)
    written = image()
    tower = image(start=str(folder))
    tower.load_start()
    for name, weight in written.state_dict().items():
        assert torch.equal(tower.state_dict()[name], weight.half().float()), name


def test_layers_may_be_grouped_in_any_way(folder):
    """LAVT runs all text layers first, CoupAlign one at a stage: both start from the same file."""
    ids, mask = torch.tensor([[3, 4, 5, 0]]), torch.tensor([[True, True, True, False]])
    read = []
    for layers in ((2, 0, 0, 0), (1, 1, 0, 0), (0, 0, 0, 2)):
        tower = text(layers, start=str(folder))
        tower.load_start()
        words = tower.embed(ids, mask)
        for k in range(tower.groups):
            words = tower.group(k, words, mask)
        read.append(tower.finish(words))
    assert torch.equal(read[0], read[1])
    assert torch.equal(read[0], read[2])


def test_other_sizes_are_refused(folder):
    with pytest.raises(ValueError, match="do not fit the tower"):
        load_tiny(text((1, 0, 0, 0)), str(folder), TEXT)
    with pytest.raises(ValueError, match="do not fit the tower"):
        load_tiny(TinyImage(), str(folder), IMAGE)


def test_a_missing_or_damaged_file_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere"):
        load_tiny(image(), str(folder / "nowhere"), IMAGE)
    (folder / IMAGE).write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"image\.safetensors is damaged"):
        load_tiny(image(), str(folder), IMAGE)


@pytest.mark.parametrize("name", list_models("*_tiny"))
def test_every_tiny_recipe_has_the_same_start(name):
    model = create_model(name, pretrained="encoders")
    other = create_model("baseline_tiny", pretrained="encoders")
    mine, theirs = (stored_weights(m.encoder.image_tower) for m in (model, other))
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_the_text_tower_may_start_too():
    first, second = (
        create_model(name, pretrained="encoders", text_tower={"start": SHIPPED}).encoder.text_tower
        for name in ("lavt_tiny", "coupalign_tiny")
    )
    mine, theirs = stored_weights(first), stored_weights(second)
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_the_words_of_the_start_are_those_of_the_recipe():
    tokenizer = WordTokenizer(["cup", "red"], length=20)
    with pytest.raises(ValueError, match="numbers of the recipe's tokeniser"):
        create_model("baseline_tiny", pretrained="encoders", text_tower={"start": SHIPPED}, tokenizer=tokenizer)
    assert create_model("baseline_tiny", pretrained="encoders", tokenizer=tokenizer)


def test_the_report_says_what_the_encoders_know():
    report = json.loads((shipped_folder() / REPORT).read_text(encoding="utf-8"))
    assert report["split"] == "train"
    assert report["measured_on"] == "val"
    assert set(report["image"]["accuracy"]) == {"category", "colour", "texture", "size"}
    assert min(report["image"]["accuracy"].values()) > 0.5
    assert report["text"]["accuracy"]["hidden word"] > 0.3
