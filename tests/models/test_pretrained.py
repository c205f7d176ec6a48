"""Save and load: the same masks, in this process and in a fresh one; foreign files are refused."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ris_lib.contract import LossTerm
from ris_lib.data.tokenizers import WordTokenizer
from ris_lib.models import ReferringSegmenter, create_model, list_models
from ris_lib.objectives import OBJECTIVES
from tests.tiny_batches import make_batch


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(0)
    model = create_model("baseline_tiny", tokenizer=WordTokenizer([f"word{k}" for k in range(20)])).eval()
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    return model, folder


def test_the_folder_holds_a_whole_model(saved):
    model, folder = saved
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert json.loads((folder / "config.json").read_text()) == model.config.to_dict()
    assert set(load_file(folder / "model.safetensors")) == set(model.state_dict())


@pytest.mark.parametrize("load", [ReferringSegmenter.from_pretrained, lambda f: create_model("baseline_tiny", f)])
def test_loading_gives_the_same_masks(saved, load):
    model, folder = saved
    again = load(folder)
    assert not again.training
    assert again.config == model.config
    assert torch.equal(again(make_batch()).logits, model(make_batch()).logits)


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models("*_tiny"))
def test_a_fresh_process_gives_the_same_masks(name, tmp_path):
    torch.manual_seed(0)
    model = create_model(name).eval()
    model.save_pretrained(tmp_path / "model")
    script = """
import sys, torch
sys.path.insert(0, sys.argv[2])
from tiny_batches import make_batch
from ris_lib.models import ReferringSegmenter
torch.set_num_threads(1)
torch.save(ReferringSegmenter.from_pretrained(sys.argv[1] + "/model")(make_batch()).logits, sys.argv[1] + "/logits.pt")
"""
    tests = str(__import__("pathlib").Path(__file__).parents[1])
    subprocess.run([sys.executable, "-c", script, str(tmp_path), tests], check=True, timeout=120)
    logits = torch.load(tmp_path / "logits.pt", weights_only=True)
    torch.testing.assert_close(logits, model(make_batch()).logits)


def test_changed_settings_keep_the_weights(saved):
    model, folder = saved
    again = create_model("baseline_tiny", pretrained=folder, threshold=0.3)
    assert again.config.threshold == 0.3
    assert torch.equal(again(make_batch()).logits, model(make_batch()).logits)


def test_changed_parts_do_not_fit(saved):
    with pytest.raises(ValueError, match=r"of another shape \(head.kernel.bias \(1,\) for \(2,\)"):
        create_model("baseline_tiny", pretrained=saved[1], head={"classes": 2})


def test_the_weights_of_another_model_are_refused(saved, tmp_path):
    model, _ = saved
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    foreign = {f"backbone.layer.{k}": torch.zeros(1) for k in range(12)}
    save_file({"head.kernel.bias": weights["head.kernel.bias"], **foreign}, tmp_path / "model.safetensors")
    with pytest.raises(
        ValueError, match=f"{len(weights) - 1} missing .*, and .* more.*12 left over.*and 4 more"
    ) as error:
        ReferringSegmenter.from_pretrained(tmp_path)
    assert len(str(error.value)) < 2000


def test_another_recipe_is_refused(saved, tmp_path):
    model, _ = saved
    values = {**model.config.to_dict(), "recipe": "lavt_tiny"}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match="holds a model of recipe 'lavt_tiny', not 'baseline_tiny'"):
        create_model("baseline_tiny", pretrained=tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("config.json", None, FileNotFoundError, "config.json does not exist"),
        ("config.json", b"{", ValueError, "is not JSON"),
        ("config.json", b"[]", ValueError, "holds a list"),
        ("config.json", b"[" * 100_000, ValueError, "config.json is not JSON"),
        ("config.json", b'{"hidden_size": 3}', ValueError, "unknown entry 'hidden_size' of a model configuration"),
        ("model.safetensors", None, FileNotFoundError, "model.safetensors does not exist"),
        ("model.safetensors", b"half a file", ValueError, "is damaged"),
    ],
)
def test_damaged_folders_are_refused(saved, tmp_path, name, content, error, message):
    saved[0].save_pretrained(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        ReferringSegmenter.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("part", "options", "message"),
    [
        ("text_tower", {"heads": 0}, "config.json: no model can be built of it"),
        (
            "text_tower",
            {"layers": [10**9, 0, 0, 0]},
            "config.json: no model can be built of it .it has over 10,000 parts",
        ),
        ("text_tower", {"width": 2**20}, "of another shape"),
        ("preprocess", {"mean": "grey"}, "config.json: no model can be built of it .mean is 'grey'"),
        ("objectives", {"mask_grounding": {"width": 2**14, "feed_forward": 2**15}}, "config.json.* explains at most"),
    ],
)
def test_a_configuration_that_its_weights_do_not_explain_is_refused(saved, tmp_path, part, options, message):
    saved[0].save_pretrained(tmp_path)
    values = saved[0].config.to_dict()
    values[part] = {**values[part], **options}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=message):
        ReferringSegmenter.from_pretrained(tmp_path)


@pytest.mark.parametrize("source", ["no_such_folder", "/no/such/folder", "./a/b", "../weights"])
def test_a_folder_that_does_not_exist_is_refused(source):
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        ReferringSegmenter.from_pretrained(source)


def test_without_a_network_a_hub_name_is_answered_clearly(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither a folder here nor a model that could be fetched"):
        ReferringSegmenter.from_pretrained("nobody/nothing", cache_dir=tmp_path, local_files_only=True)


def test_objectives_travel_in_a_file_of_their_own(tmp_path, monkeypatch):
    class Learned(nn.Module):
        default_weights = {"learned": 1.0}  # noqa: RUF012
        reads = frozenset()

        def __init__(self, dims):
            super().__init__()
            self.layer = nn.Linear(dims.word, 1)

        def forward(self, state, batch):
            return {"learned": LossTerm(self.layer(state.encoded.words).sum(), torch.tensor(1.0))}

    monkeypatch.setitem(OBJECTIVES, "learned", Learned)
    model = create_model("baseline_tiny", objectives=["segmentation", "learned"])
    model.save_pretrained(tmp_path / "small")
    model.save_pretrained(tmp_path / "whole", objectives=True)
    assert not any(key.startswith("objectives") for key in load_file(tmp_path / "small" / "model.safetensors"))
    again = ReferringSegmenter.from_pretrained(tmp_path / "whole")
    assert torch.equal(again.objectives["learned"].layer.weight, model.objectives["learned"].layer.weight)
    fresh = ReferringSegmenter.from_pretrained(tmp_path / "small")
    assert torch.equal(fresh.head.kernel.weight, model.head.kernel.weight)
    assert not torch.equal(fresh.objectives["learned"].layer.weight, model.objectives["learned"].layer.weight)
