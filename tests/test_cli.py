"""The ``ris`` command, as a user meets it."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ris_lib.cli import command, main
from ris_lib.engine.interrupt import Stopped

ROOT = Path(__file__).parents[1]
SMALL = ["--limit=8", "--size=32", "--steps=4", "--images-per-step=2", "--sentences-per-image=2", "--device=cpu"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run that the command has trained; read it only."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    arguments = ["train", "--model", "baseline_tiny", "--data", "scenes", "--seed", "0", "--out", str(folder), *SMALL]
    assert main(arguments) == 0
    return folder


@pytest.fixture
def photo(tmp_path) -> Path:
    path = tmp_path / "my photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(path)
    return path


def complaint(capsys, *arguments: str) -> str:
    """What a refused command says."""
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert captured.err.startswith("ris: ")
    return captured.err


def test_train_then_eval_with_the_numbers_as_json(run, tmp_path, capsys):
    file = tmp_path / "out.json"
    arguments = ["eval", "--run", str(run), "--data", "scenes", "--split", "val", "--limit", "3", "--json", str(file)]
    assert main(arguments) == 0
    values = json.loads(file.read_text())
    assert (values["protocol"], values["split"], values["dataset"], values["seed"]) == ("original", "val", "scenes", 0)
    assert values["counts"]["images"] == 3
    assert values["fixed_by"]["size"] == 32
    for number in (values["miou"], values["oiou"], *(values["prec"][k] for k in ("0.5", "0.6", "0.7", "0.8", "0.9"))):
        assert 0 <= number <= 1
    assert set(values["intervals"]) == {"miou", "oiou", "prec"}
    shown = capsys.readouterr().out
    assert "mIoU" in shown
    assert "protocol original, seed 0" in shown
    assert "95 % interval" in shown


def test_eval_writes_what_each_sentence_scored(run, tmp_path):
    file, numbers = tmp_path / "new" / "sentences.parquet", tmp_path / "out.json"
    arguments = ["eval", "--run", str(run), "--limit", "3", "--sentences", str(file)]
    assert main([*arguments, "--json", str(numbers)]) == 0
    table, values = pq.read_table(file), json.loads(numbers.read_text())
    names = ["image_id", "ref_id", "sentence_id", "sentence", "kind", "intersection", "union", "iou"]
    assert table.column_names == names
    assert table.schema.metadata[b"protocol"] == b"original"
    assert len(table) == values["counts"]["sentences"]
    assert np.mean(table["iou"].to_pylist()) == pytest.approx(values["miou"], abs=1e-12)
    assert "sentences" not in values
    assert main(arguments) == 0  # replaces it
    assert pq.read_table(file).equals(table)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_eval_to_stdout_and_with_shuffled_sentences(run, capsys):
    arguments = ["eval", "--run", str(run), "--limit", "3", "--shuffle-sentences", "--protocol", "cris_035"]
    assert main([*arguments, "--json", "-"]) == 0
    captured = capsys.readouterr()
    values = json.loads(captured.out)
    assert values["shuffle_sentences"] is True
    assert values["protocol"] == "cris_035"
    assert "SHUFFLED" in captured.err


def test_predict_writes_masks_overlays_and_json(run, photo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "--run", str(run), str(photo), "left person", "The big, RED one?"]) == 0
    folder = tmp_path / "predictions" / "my photo"
    assert sorted(path.name for path in folder.iterdir()) == [
        "01_left-person_mask.png",
        "01_left-person_overlay.png",
        "02_the-big-red-one_mask.png",
        "02_the-big-red-one_overlay.png",
        "prediction.json",
    ]
    values = json.loads((folder / "prediction.json").read_text())
    assert (values["height"], values["width"], values["photo"]) == (48, 64, "my photo.jpg")
    for entry in values["predictions"]:
        mask = np.asarray(Image.open(folder / entry["mask"]))
        assert mask.shape == (48, 64)
        assert set(np.unique(mask)) <= {0, 255}
        assert (mask > 0).sum() == entry["pixels"]
        assert np.asarray(Image.open(folder / entry["overlay"])).shape == (48, 64, 3)
    assert "left person" in capsys.readouterr().out


def test_predict_into_a_folder_replaces_its_files(run, photo, tmp_path):
    for sentence in ("left person", "left person"):
        assert main(["predict", "--run", str(run), "--out", str(tmp_path / "out"), str(photo), sentence]) == 0
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_predict_names_unknown_words(run, photo, tmp_path, capsys):
    assert main(["predict", "--run", str(run), "--out", str(tmp_path / "out"), str(photo), "left zeppelin"]) == 0
    assert "ris: warning: 'left zeppelin': the model does not know 'zeppelin'." in capsys.readouterr().err


def test_models_lists_parts(tmp_path, capsys):
    assert main(["models", "baseline*", "--json", str(tmp_path / "models.json")]) == 0
    assert "baseline_tiny" in capsys.readouterr().out
    model = json.loads((tmp_path / "models.json").read_text())[0]
    assert model["name"] == "baseline_tiny"
    assert model["input_size"] == [96, 96]
    assert model["parts"]["decoder"] == "top_down"
    assert 100_000 < model["parameters"] < 2_000_000


def test_bench_says_on_what_it_was_measured(capsys):
    assert main(["bench", "metrics", "--seconds", "0.01", "--json", "-"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert {result["subject"] for result in values["results"]} == {"metrics"}
    assert all(result["value"] > 0 for result in values["results"])
    assert values["versions"]["torch"]
    assert values["threads"] >= 1


@pytest.mark.slow
def test_bench_of_data_and_models(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # a narrow terminal folds the cells of a table
    small = ["--models", "baseline_tiny", "--seconds", "0.01", "--size", "32", "--storage", "cache"]
    assert main(["bench", "data", "models", "train", *small, "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "pictures/s" in shown
    assert "sizes: one picture, one sentence" in shown
    assert "baseline_tiny, batch 1, fp32, activations kept" in shown


@pytest.mark.parametrize("verb", ["train", "eval", "predict", "models", "bench"])
def test_help_has_examples(verb, capsys):
    with pytest.raises(SystemExit) as end:
        main([verb, "--help"])
    assert end.value.code == 0
    assert f"$ ris {verb}" in capsys.readouterr().out


def test_the_flags_that_stay(capsys):
    fixed = {
        "train": "--model --data --root --split-by --split --limit --steps --seed --out --shuffle-sentences",
        "eval": "--model --run --data --root --split-by --split --limit --seed --json --protocol --shuffle-sentences",
        "predict": "--model --run --out --json",
        "models": "--json",
        "bench": "--json",
    }
    for verb, flags in fixed.items():
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        shown = capsys.readouterr().out
        assert [flag for flag in flags.split() if f"{flag} " not in shown] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --out OUT --model baseline_tony", "unknown model 'baseline_tony'; did you mean 'baseline_tiny'"),
        ("train --out OUT", "no model is named; choose one: "),
        ("train --out OUT --resume", "there is no run in "),
        ("train --out OUT --model baseline_tiny --steps 0", "steps=0; expected a whole number of at least 1"),
        ("train --out OUT --model baseline_tiny --split trainn", "did you mean 'train'"),
        ("train --out OUT --model baseline_tiny --data refcoco --root no/folder", "no/folder"),
        ("train --out RUN --model baseline_tiny", "holds a complete run; choose another folder"),
        ("eval", "neither of --run FOLDER and --model NAME given"),
        ("eval --run RUN --model baseline_tiny", "both of --run FOLDER and --model NAME given"),
        ("eval --run no/run", "there is no folder no/run"),
        ("eval --run RUN --split vall", "unknown split 'vall' of scenes; did you mean 'val'"),
        ("eval --run RUN --data refcoc", "unknown data set 'refcoc'; did you mean 'refcoco'"),
        ("eval --run RUN --protocol orig", "unknown protocol 'orig'; did you mean 'original'"),
        ("eval --run RUN --limit 0", "limit=0"),
        ("eval --run RUN --json .", "--json . is a folder"),
        ("eval --run RUN --sentences .", "--sentences . is a folder; name a file"),
        ("eval --run RUN --sentences BELOW", "is a file and no folder; choose another place"),
        ("eval --run RUN --threads 0", "--threads 0; expected at least 1"),
        ("predict --run RUN PHOTO --out OUT", "no sentence given"),
        ("predict --run RUN PHOTO left {} --out OUT", "is empty; say what to find"),
        ("predict --run RUN PHOTO left xyzzy --out OUT", "'xyzzy' has no word that this vocabulary knows"),
        ("predict --run RUN nothing.jpg ball --out OUT", "no picture at nothing.jpg"),
        ("predict --run RUN PHOTO ball --out PHOTO", "is a file; name a folder"),
        ("predict --run RUN PHOTO ball --out BELOW", "is a file and no folder; choose another place"),
        ("predict --run RUN PHOTO ball --out OUT --json BELOW", "is a file and no folder; choose another place"),
        ("train --out BELOW --model baseline_tiny", "is a file and no folder; choose another place"),
        ("eval --run RUN --root PHOTO", "cannot be read or written: "),
        ("eval --run RUN --limit 2 --seed -1", "seed=-1; expected a whole number of at least 0"),
        ("models deaf*", "no model fits 'deaf*'; there are: "),
        ("bench --seconds 0", "--seconds 0.0; expected a positive number"),
    ],
)
def test_wrong_input_is_answered_and_leaves_nothing_behind(run, photo, tmp_path, capsys, arguments, message):
    names = {"OUT": str(tmp_path / "out"), "RUN": str(run), "PHOTO": str(photo), "BELOW": str(photo / "out"), "{}": " "}
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    said = complaint(capsys, *[names.get(word, word) for word in arguments.split()])
    assert message in said.replace("\\", "/")
    assert [path.name for path in tmp_path.iterdir()] == [photo.name]
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_wrong_flags_end_with_code_2(capsys):
    for arguments in (["train"], ["trainn"], ["eval", "--splitt", "val"], ["train", "--out", "a", "--steps", "many"]):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 2
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (Stopped("after step 3", 143), 143)])
def test_being_stopped_has_its_own_code(monkeypatch, capsys, error, code):
    def stopped(*arguments, **options):
        raise error

    monkeypatch.setattr("tyro.extras.subcommand_cli_from_dict", stopped)
    assert main(["models"]) == code
    assert capsys.readouterr().err.startswith("ris: ")


def test_an_error_of_a_worker_is_told_in_one_line():
    error = ValueError("Caught ValueError in worker.\nOriginal Traceback (most recent call last):\nValueError: a: b\n")
    assert command._message(error) == "a: b"
    assert command._message(ValueError("plain")) == "plain"


def test_an_error_of_the_system_is_told_in_words():
    assert command._message(OSError(28, "No space left")) == (
        "a file cannot be read or written: No space left. Choose another place, or mend this one."
    )
    denied = PermissionError(13, "Permission denied", "a.png")
    assert command._message(denied).startswith("a.png cannot be read or written")


@pytest.mark.slow
def test_warnings_are_as_before_after_a_command():
    shown = warnings.showwarning
    main(["models"])
    assert warnings.showwarning is shown


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a program could handle")
def test_a_process_that_gets_sigterm_saves_and_ends_with_143(tmp_path):
    arguments = ["--model", "baseline_tiny", "--out", str(tmp_path / "run"), *SMALL, "--steps=100000"]
    command = [sys.executable, "-m", "ris_lib", "train", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "run" / "metrics.csv"
    while process.poll() is None and not (metrics.exists() and len(metrics.read_text().splitlines()) > 2):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=180)
    assert process.returncode == 143
    assert "--resume" in said
    assert "Traceback" not in said
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 1
