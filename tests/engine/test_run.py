import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from ris_lib.engine import load_run
from ris_lib.engine.record import MetricsFile
from ris_lib.engine.run import add_environment, check_free, read_run_config


def test_a_run_holds_everything(complete_run):
    names = {path.name for path in complete_run.iterdir()}
    assert names == {"config.json", "environment.json", "metrics.csv", "tensorboard", "checkpoints", "model"}
    assert list((complete_run / "tensorboard").iterdir())
    config = read_run_config(complete_run)
    assert (config.model, config.steps, config.seed, config.learning_rate) == (
        "baseline_tiny",
        4,
        0,
        config.learning_rate,
    )
    assert config.learning_rate is not None  # the recipe's value is written down
    start = json.loads((complete_run / "environment.json").read_text())[0]
    assert start["from_step"] == 0
    assert start["versions"]["torch"]
    assert start["threads"] >= 1
    lines = (complete_run / "metrics.csv").read_text().splitlines()
    assert lines[0].startswith("step,loss,bce,dice,gradient_norm,learning_rate")
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3", "4"]


def test_the_vocabulary_is_that_of_the_training_sentences(complete_run, scenes):
    vocabulary = load_run(complete_run).tokenizer.vocabulary
    words = {word for text in scenes.sentences() for word in text.lower().replace(",", " ").split()}
    assert words <= set(vocabulary)
    assert "helicopter" not in vocabulary


def test_a_run_can_be_moved_and_its_parts_loaded(complete_run, tmp_path):
    moved = shutil.copytree(complete_run, tmp_path / "elsewhere")
    expected = load_run(complete_run).state_dict()
    for folder in (moved, moved / "model", moved / "checkpoints" / "step_00000004"):
        model = load_run(folder)
        assert not model.training
        assert all((value == expected[key]).all() for key, value in model.state_dict().items())


def test_an_incomplete_run_gives_its_last_checkpoint_and_says_so(complete_run, tmp_path, caplog):
    run = shutil.copytree(complete_run, tmp_path / "run")
    shutil.rmtree(run / "model")
    load_run(run)
    assert "not complete; its model is that of step 4" in caplog.text
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no checkpoint yet; continue it with: ris train --out .* --resume"):
        load_run(run)


def test_missing_and_foreign_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nothing"):
        load_run(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=r"holds no run: config\.json or checkpoints is missing"):
        load_run(tmp_path)


def test_a_checkpoint_of_another_model(complete_run, tmp_path):
    run = shutil.copytree(complete_run, tmp_path / "run")
    path = run / "model" / "model.safetensors"
    tensors = {key: tensor.clone() for key, tensor in load_file(path).items()}  # older versions map the file
    name = next(iter(tensors))
    more = tensors | {"other": tensors[name].clone()}
    fewer = {key: tensor for key, tensor in tensors.items() if key != name}
    both = {key: tensor for key, tensor in more.items() if key != name}
    for others, missing, left_over in ((fewer, 1, 0), (more, 0, 1), (both, 1, 1)):
        save_file(others, path)
        with pytest.raises(ValueError, match=rf"weights of another model: {missing} missing.*; {left_over} left over"):
            load_run(run)
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="is damaged or no safetensors file"):
        load_run(run)


def test_a_taken_folder_is_refused_with_what_can_be_done(complete_run, tmp_path):
    with pytest.raises(ValueError, match="holds a complete run; choose another folder"):
        check_free(complete_run)
    run = shutil.copytree(complete_run, tmp_path / "run")
    shutil.rmtree(run / "model")
    with pytest.raises(ValueError, match=r"not complete; continue it with: ris train --out .* --resume"):
        check_free(run)
    (tmp_path / "photos").mkdir()
    check_free(tmp_path / "photos")
    check_free(tmp_path / "new")
    (tmp_path / "photos" / "a.jpg").touch()
    for taken in (tmp_path / "photos", tmp_path / "photos" / "a.jpg"):
        with pytest.raises(ValueError, match="exists and is not an empty folder"):
            check_free(taken)


def test_damaged_settings(complete_run, tmp_path):
    for text, why in (('{"out": "a", "st', "Unterminated"), ("[]", "it holds a list"), ("", "Expecting value")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match=rf"does not hold the settings of a run \({why}.*another folder"):
            read_run_config(tmp_path)
    with pytest.raises(FileNotFoundError, match="expected the folder of a run"):
        read_run_config(tmp_path / "nothing")


def test_a_damaged_record_of_starts_is_named(tmp_path):
    (tmp_path / "environment.json").write_text('[{"from_step": 0, ')
    with pytest.raises(ValueError, match=r"environment\.json is damaged .*; delete it to go on"):
        add_environment(tmp_path, 3, {})
    (tmp_path / "environment.json").unlink()
    add_environment(tmp_path, 3, {"device": "cpu"})
    assert json.loads((tmp_path / "environment.json").read_text()) == [{"from_step": 3, "device": "cpu"}]


def test_half_a_line_and_lines_to_be_done_again_leave_the_file(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss,miou\n1,0.5,\n2,0.4,0.1\n3,0.3,\n4,0.")
    with MetricsFile(path, ["step", "loss", "miou"], done=2) as metrics:
        metrics.write({"step": 3, "loss": 0.25})
        assert path.read_text() == "step,loss,miou\n1,0.5,\n2,0.4,0.1\n3,0.25,\n"
