"""``ris models`` and ``ris bench models``, as a user meets them."""

import json

import pytest
from PIL import Image

from ris_lib.cli import main
from ris_lib.cli.models import origin
from ris_lib.models import list_models

pytestmark = pytest.mark.slow

BENCH = ["bench", "models", "--models", "baseline_tiny", "--seconds", "0.001", "--device", "cpu"]


@pytest.mark.parametrize("name", list_models())
def test_every_recipe_says_what_it_is_and_what_of_it_is_published(name):
    said = origin(name)
    assert 10 < len(said["what"]) < 250
    assert "ours" in said["origin"].lower() or "our decision" in said["origin"]
    assert "``" not in said["origin"] + said["what"]


def test_models_tells_parts_sizes_and_origin(tmp_path, capsys):
    assert main(["models", "lavt_t*", "--json", str(tmp_path / "models.json")]) == 0
    (model,) = json.loads((tmp_path / "models.json").read_text())
    assert model["name"] == "lavt_tiny"
    assert model["parts"]["text"] == "tiny, 2+0+0+0 layers"
    assert model["parts"]["fusion"] == "pwam"
    assert model["parameters_of_objectives"] == 0
    assert "Published" in model["origin"]
    shown = " ".join(capsys.readouterr().out.split())
    assert "what is published and what is ours" in shown


def test_all_models_are_listed(capsys):
    assert main(["models", "--json", "-"]) == 0
    listed = {model["name"]: model for model in json.loads(capsys.readouterr().out)}
    assert sorted(listed) == list_models()
    assert all(listed[name]["parameters"] <= 1.9e6 for name in list_models("*_tiny"))
    assert listed["lavt_base"]["input_size"] == [480, 480]
    assert listed["lavt_base"]["parameters"] == pytest.approx(225.6e6, rel=0.01)


def test_bench_models_in_two_batches_and_precisions(tmp_path, capsys):
    file = tmp_path / "speed.json"
    assert main([*BENCH, "--batch", "1", "2", "--precision", "fp32", "bf16", "--json", str(file)]) == 0
    values = json.loads(file.read_text())
    (model,) = values["models"]
    assert [(run["precision"], run["batch"]) for run in model["runs"]] == [
        ("fp32", 1),
        ("fp32", 2),
        ("bf16", 1),
        ("bf16", 2),
    ]
    assert model["flops"] > 1e8
    assert (values["device"], values["results"]) == ("cpu", [])
    assert values["threads"] >= 1
    captured = capsys.readouterr()
    assert "sizes: one picture, one sentence" in captured.out
    assert "one by one" not in captured.out
    assert "baseline_tiny" in captured.err


def test_bench_of_several_sentences_has_a_table_of_its_own(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main([*BENCH, "--sentences", "1", "2"]) == 0
    shown = capsys.readouterr().out
    table = shown[shown.index("all sentences of a picture at once") :]
    assert "one by one / ours" in table
    assert table.count("baseline_tiny") == 1


def test_bench_beside_an_earlier_file_and_a_function(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")  # a narrow terminal folds the cells of a table
    (tmp_path / "a_peer.py").write_text("def forward(*inputs):\n    return inputs[0].sum()\n")
    first, second = str(tmp_path / "first.json"), str(tmp_path / "second.json")
    arguments = [*BENCH, "--external", "a_peer:forward"]
    assert main([*arguments, "--json", first]) == 0
    assert main([*arguments, "--json", second, "--against", first]) == 0
    values = json.loads((tmp_path / "second.json").read_text())
    assert len(values["against"]["ratios"]) == 2
    assert values["against"]["differences"] == []
    assert values["models"][0]["runs"][0]["external_ratio"] < 1
    shown = capsys.readouterr().out
    assert "now beside before" in shown
    assert "external / ours" in shown
    assert main([*arguments, "--batch", "2", "--against", first]) == 2
    assert "batches: [2] here, [1] there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch", "0"], "--batch 0; expected numbers of at least 1"),
        (["--sentences", "0"], "--sentences 0; expected numbers of at least 1"),
        (["--patience", "0"], "--patience 0.0; expected a positive number"),
        (["--models", "lavt_huge"], "no model fits 'lavt_huge'; there are: "),
        (["--scale", "0"], "--scale 0; expected numbers of at least 1"),
        (["--workers", "-1"], "--workers -1; expected numbers of at least 0"),
        (["--external", "peer"], "--external peer; expected MODULE:FUNCTION"),
        (["--external", "no_peer:forward"], "the module 'no_peer' cannot be imported (ModuleNotFoundError"),
        (["--external", "json:loads", "--models", "*_tiny"], "--external is timed beside one model, and 7 would be"),
        (["--external", "json:loads"], "the function of --external raised TypeError"),
        (["--against", "no.json"], "no file no.json; expected one that `ris bench --json no.json` wrote"),
    ],
)
def test_wrong_flags_are_answered(arguments, message, capsys):
    assert main([*BENCH, *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", list_models("*_tiny"))
def test_each_tiny_model_is_trained_scored_and_asked_by_name(name, tmp_path, capsys):
    run, photo, asked = tmp_path / "run", tmp_path / "photo.png", tmp_path / "asked"
    small = ["--limit", "4", "--size", "32", "--steps", "1", "--images-per-step", "2", "--sentences-per-image", "2"]
    assert main(["train", "--model", name, *small, "--device", "cpu", "--out", str(run)]) == 0
    scores = tmp_path / "scores.json"
    assert main(["eval", "--run", str(run), "--limit", "2", "--device", "cpu", "--json", str(scores)]) == 0
    assert 0 <= json.loads(scores.read_text())["miou"] <= 1
    Image.new("RGB", (50, 40)).save(photo)
    told = ["the left car", "the red person"]
    assert main(["predict", "--run", str(run), str(photo), *told, "--device", "cpu", "--out", str(asked)]) == 0
    masks = [Image.open(file) for file in sorted(asked.glob("*mask*.png"))]
    assert [mask.size for mask in masks] == [(50, 40)] * 2


def test_who_asks_a_shipped_model_is_told_what_it_has_seen(tmp_path, capsys):
    photo = tmp_path / "photo.png"
    Image.new("RGB", (50, 40)).save(photo)
    asked = ["predict", "--model", "baseline_tiny", str(photo), "the cup", "--device", "cpu", "--out", str(tmp_path)]
    assert main(asked) == 0
    assert "baseline_tiny has seen drawn scenes only" in " ".join(capsys.readouterr().out.split())
