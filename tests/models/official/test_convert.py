"""Official checkpoint files become models, whole and unchanged; what does not fit is named and refused."""

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from ris_lib.cli import main
from ris_lib.engine import Predictor
from ris_lib.models import ReferringSegmenter, create_model, recipe
from ris_lib.models.build import build
from ris_lib.models.official.convert import convert, recognise
from ris_lib.models.official.reader import read_checkpoint
from ris_lib.models.official.rules import left_behind, translate
from tests.models.official.small import checkpoint, make_small, official_weights, save_small, shrink, system

TITLES = ["LAVT", "LAVT-one", "LGFormer", "CRIS", "MagNet"]


@pytest.fixture
def lavt(tmp_path, monkeypatch):
    """Weights of a small LAVT under official names, and a function that saves them with changes and converts."""
    shrink("LAVT", monkeypatch)
    weights = official_weights(make_small("LAVT"), system("LAVT").rules)

    def attempt(**changes):
        """Dots are written as two underscores; None takes a weight away."""
        changed = weights | {name.replace("__", "."): value for name, value in changes.items()}
        content = checkpoint("LAVT", {name: value for name, value in changed.items() if value is not None})
        torch.save(content, tmp_path / "changed.pth")
        return convert(tmp_path / "changed.pth", tmp_path / "out")

    return attempt


@pytest.mark.parametrize("title", TITLES)
def test_a_checkpoint_becomes_a_model_with_the_same_weights(title, tmp_path, monkeypatch, capsys):
    model, file = save_small(title, tmp_path, monkeypatch)
    out = tmp_path / "made" / "model"
    assert main(["convert", str(file), str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"{title}: ")
    again = ReferringSegmenter.from_pretrained(out)
    assert again.config == model.config
    state = again.state_dict()
    assert state.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(state[name], value) or name.endswith("num_batches_tracked"), name
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    expected, answer = (
        Predictor(model, "cpu")(picture, ["the left cup"]),
        Predictor(again, "cpu")(picture, ["the left cup"]),
    )
    np.testing.assert_array_equal(answer.probabilities, expected.probabilities)
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("title", "sentence"),
    [
        ("LAVT", "none is stated for the weights (the code is GPL-3.0)"),
        ("CRIS", "none is stated for the weights (the code is MIT)"),
        ("MagNet", "none is stated for the weights (the code is AGPL-3.0)"),
        ("LGFormer", "none is stated, nor is one for the code"),
    ],
)
def test_the_model_card_names_source_and_licence(title, sentence, tmp_path, monkeypatch):
    _, file = save_small(title, tmp_path, monkeypatch)
    convert(file, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"`{title}.pth`, a checkpoint of {system(title).source}" in card
    assert f"Licence of the weights: {sentence}" in card
    assert "license: unknown" in card


def test_the_model_card_counts_what_was_left_behind(tmp_path, monkeypatch, lavt):
    lavt(bert_model__pooler__dense__bias=torch.zeros(3))
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "- 1 tensors: nobody reads BERT's pooled output" in card


def test_a_converted_model_predicts_and_is_scored(tmp_path, monkeypatch, capsys):
    _, file = save_small("LAVT", tmp_path, monkeypatch)
    out, photo, numbers = tmp_path / "model", tmp_path / "photo.png", tmp_path / "numbers.json"
    assert main(["convert", str(file), str(out)]) == 0
    Image.new("RGB", (80, 60), "red").save(photo)
    assert main(["predict", "--run", str(out), "--out", str(tmp_path / "masks"), str(photo), "the left cup"]) == 0
    assert Image.open(tmp_path / "masks" / "01_the-left-cup_mask.png").size == (80, 60)
    assert main(["eval", "--run", str(out), "--limit", "2", "--json", str(numbers)]) == 0
    assert json.loads(numbers.read_text())["model"] == "lavt_base"


@pytest.mark.slow
def test_a_converted_magnet_takes_the_released_language_side_and_can_be_given_the_other(tmp_path, monkeypatch):
    model, file = save_small("MagNet", tmp_path, monkeypatch)
    convert(file, tmp_path / "out")
    released = create_model("magnet_base", pretrained=tmp_path / "out")
    assert [block["language_side"] for block in released.config.fusion] == ["released"] * 4
    mended = create_model("magnet_base", pretrained=tmp_path / "out", fusion={"language_side": "fixed01"})
    assert all(torch.equal(value, mended.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("keys", "title", "expected"),
    [
        ("lavt", "LAVT", recipe("lavt_base")),
        ("lavt_one", "LAVT-one", recipe("lavt_base")),
        (
            "cris_r50",
            "CRIS",
            recipe("cris_base").override(image_tower={"model": "RN50"}, text_tower={"model": "RN50"}),
        ),
        ("cris_r101", "CRIS", recipe("cris_base")),
        ("magnet", "MagNet", recipe("magnet_base").override(fusion={"language_side": "released"})),
        ("lgformer", "LGFormer", recipe("lgformer_base")),
    ],
)
def test_released_files_are_recognised_and_fill_a_model_of_the_released_sizes(golden_folder, keys, title, expected):
    """Names and shapes only, on the meta device: no weight is made."""
    file = golden_folder / f"keys_{keys.removesuffix('_one')}.json"
    listed = json.loads(file.read_text(encoding="utf-8"))["state_dicts"]
    bert = "text_encoder" if keys == "lavt_one" else "bert_model"
    with torch.device("meta"):
        weights = {
            f"{bert}.{name}" if part == "bert_model" else name: torch.empty(entry["shape"])
            for part, entries in listed.items()
            for name, entry in entries.items()
        }
        found = recognise(weights, file)
        model = build(found.config(weights).override(objectives={}))
    assert found.title == title
    assert found.config(weights) == expected
    ours = translate(weights, found.rules)
    counters = {name: value for name, value in model.state_dict().items() if name.endswith("num_batches_tracked")}
    assert {n: v.shape for n, v in (counters | ours).items()} == {n: v.shape for n, v in model.state_dict().items()}
    assert all(left_behind(weights, found.rules).values())


def test_a_missing_and_a_left_over_weight_are_named_as_in_the_file(lavt, tmp_path):
    with pytest.raises(ValueError, match="looks like LAVT and does not fit") as error:
        lavt(backbone__patch_embed__norm__weight=None, backbone__patch_embed__norm__scale=torch.zeros(8))
    assert "1 missing (backbone.patch_embed.norm.weight)" in str(error.value)
    assert "1 left over (backbone.patch_embed.norm.scale)" in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["changed.pth"]


def test_a_weight_of_a_part_that_ours_has_not_is_left_over(lavt):
    name = "backbone.layers.0.blocks.7.norm1.bias"
    with pytest.raises(ValueError, match=rf"0 missing \(none\); 1 left over \({name}\)"):
        lavt(**{name.replace(".", "__"): torch.zeros(8)})


def test_joint_weights_are_missed_once(lavt):
    with pytest.raises(ValueError, match=r"1 missing \(backbone\.layers\.0\.blocks\.0\.attn\.qkv\.bias\); 0 left"):
        lavt(backbone__layers__0__blocks__0__attn__qkv__bias=None)


def test_a_missing_second_state_dict_is_listed(lavt, tmp_path, monkeypatch):
    weights = official_weights(make_small("LAVT"), system("LAVT").rules)
    torch.save({"model": {n: v for n, v in weights.items() if not n.startswith("bert")}}, tmp_path / "half.pth")
    with pytest.raises(ValueError, match=r"looks like LAVT .* missing \(bert_model\.embeddings\..* 0 left over"):
        convert(tmp_path / "half.pth", tmp_path / "out")


def test_other_shapes_are_named(lavt):
    with pytest.raises(ValueError, match=r"1 of another shape \(classifier\.conv1_1\.bias \(3,\) for \(2,\)\)"):
        lavt(classifier__conv1_1__bias=torch.zeros(3))
    with pytest.raises(ValueError, match=r"too few axes \(backbone\.layers\.0\.fusion\.vis_project\.0\.weight \(\)\)"):
        lavt(backbone__layers__0__fusion__vis_project__0__weight=torch.tensor(1.0))


def test_half_precision_and_the_old_file_format_are_read(lavt, tmp_path, monkeypatch):
    weights = official_weights(make_small("LAVT"), system("LAVT").rules)
    half = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    torch.save(checkpoint("LAVT", half), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    convert(tmp_path / "old.pth", tmp_path / "out")
    kernel = ReferringSegmenter.from_pretrained(tmp_path / "out").head.kernel.weight
    assert kernel.dtype == torch.float32
    assert torch.equal(kernel, half["classifier.conv1_1.weight"].float())


def test_a_folder_that_exists_is_not_touched(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match=r"out exists already; choose another folder"):
        convert(tmp_path / "any.pth", tmp_path / "out")


def test_a_missing_file_is_answered_by_the_command(tmp_path, capsys):
    assert main(["convert", str(tmp_path / "no.pth"), str(tmp_path / "out")]) == 2
    assert "no.pth does not exist; expected a checkpoint of LAVT, CRIS, MagNet or LGFormer" in capsys.readouterr().err


def test_a_model_of_this_library_is_not_called_damaged(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"any")
    with pytest.raises(ValueError, match=r"is a safetensors file; .* needs no conversion"):
        read_checkpoint(tmp_path / "model.safetensors")


def test_another_code_base_is_refused(tmp_path):
    torch.save({f"decode_head.conv{k}.weight": torch.zeros(1) for k in range(20)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"of no code base .* 20 weights \(decode_head.conv0.weight, .* and 8 more"):
        convert(tmp_path / "other.pth", tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"net": {"weights": {"a": torch.zeros(1)}}, "epoch": 3}, r"holds the entries 'net' \(dict\), 'epoch' \(int\)"),
        ({"net": {"a": torch.zeros(1)}}, r"holds the entries 'net' \(dict\); expected a state dict"),
        ({"model": {"a": torch.zeros(1), "version": 3}}, r"'model' \(dict\); expected a state dict"),
        ({1: torch.zeros(1)}, r"holds the entries 1 \(Tensor\)"),
        ({}, "holds nothing; expected a state dict"),
        ([torch.zeros(1)], "holds a list; expected a state dict"),
        (torch.zeros(1), "holds a Tensor; expected a state dict"),
    ],
)
def test_what_is_no_state_dict_is_outlined(tmp_path, content, message):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path / "a.pth")


class Foreign:
    """Makes a folder where somebody unpickles it."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_foreign_object_is_refused_and_never_made(tmp_path, new_format):
    content = {"model": {"a": torch.zeros(1)}, "args": Foreign(str(tmp_path / "made"))}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=new_format)
    with pytest.raises(ValueError, match=r"is not read, because it holds an object of \w+\.mkdir") as error:
        read_checkpoint(tmp_path / "a.pth")
    assert "weights_only" not in str(error.value)
    assert not (tmp_path / "made").exists()


def test_a_whole_pickled_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(1, 1), tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"an object of torch\.nn\.modules\.linear\.Linear"):
        read_checkpoint(tmp_path / "a.pth")


def test_arrays_are_no_numbers(tmp_path):
    torch.save({"model": {"a": torch.zeros(1)}, "scores": np.zeros(2)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"an object of numpy\._core\.multiarray\._reconstruct"):
        read_checkpoint(tmp_path / "a.pth")


def test_every_kind_of_number_is_admitted(tmp_path):
    kinds = "float16 float32 float64 int8 uint8 int16 int32 int64 bool"
    scores = {kind: np.dtype(kind).type(1) for kind in kinds.split()}
    torch.save({"state_dict": {"module.a": torch.ones(1)}, "scores": scores}, tmp_path / "a.pth")
    assert list(read_checkpoint(tmp_path / "a.pth")) == ["a"]


def saved(**options) -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": {"a": torch.arange(999.0)}}, buffer, **options)
    return buffer.getvalue()


def flipped() -> bytes:
    """One byte of a weight is another."""
    content = saved()
    place = content.find(torch.arange(999.0).numpy().tobytes()) + 500
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


def other_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "hello")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><html>Quota exceeded",
        b"hello world" * 100,
        pickle.dumps([1]),
        saved()[:-100],
        saved()[:2000],
        saved(_use_new_zipfile_serialization=False)[:-8],
        saved(_use_new_zipfile_serialization=False)[:300],
        flipped(),
        other_zip(),
    ],
    ids=["empty", "web page", "text", "pickle", "cut", "cut in half", "old cut", "old cut early", "flipped", "zip"],
)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(ValueError, match="is damaged or no PyTorch checkpoint; compare its size"):
        read_checkpoint(tmp_path / "a.pth")
