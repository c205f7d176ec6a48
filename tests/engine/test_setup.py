"""What a run begins with."""

from dataclasses import replace

import pytest
import torch

from ris_lib.data.tokenizers import WordTokenizer
from ris_lib.engine import load_run, train
from ris_lib.engine.setup import new_model, settle
from ris_lib.models import create_model, recipe


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and an empty cache."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize(
    ("model", "start"), [("baseline_tiny", "fresh"), ("magnet_tiny", "fresh"), ("lavt_small", "encoders")]
)
def test_a_run_begins_with_the_encoders_that_the_recipe_names(model, start, tmp_path, settings):
    config = settings(tmp_path / "run", model=model)
    assert settle(config).start == start
    assert settle(replace(config, start="fresh")).start == "fresh"


def test_fresh_weights_follow_the_seed_alone(tmp_path, settings, scenes):
    one, two, other = (new_model(settle(settings(tmp_path / "run", seed=seed)), scenes) for seed in (1, 1, 2))
    first = next(iter(one.state_dict()))
    assert torch.equal(one.state_dict()[first], two.state_dict()[first])
    assert not torch.equal(one.state_dict()[first], other.state_dict()[first])


def test_training_goes_on_from_a_trained_model_with_its_words(tmp_path, settings, complete_run, scenes):
    before = load_run(complete_run)
    config = settle(settings(tmp_path / "more", start=str(complete_run / "model"), limit=2, learning_rate=1e-4))
    model = new_model(config, scenes)
    assert model.training
    assert model.config.tokenizer == before.config.tokenizer
    assert model.config.training["learning_rate"] == 1e-4
    assert all(torch.equal(value, before.state_dict()[key]) for key, value in model.state_dict().items())


def test_objectives_go_on_too(tmp_path, settings, scenes):
    model = create_model("magnet_tiny")
    model.save_pretrained(tmp_path / "model", objectives=True)
    more = new_model(settle(settings(tmp_path / "run", model="magnet_tiny", start=str(tmp_path / "model"))), scenes)
    learnt = model.objectives.state_dict()
    assert learnt
    assert all(torch.equal(value, learnt[key]) for key, value in more.objectives.state_dict().items())


def test_weights_that_are_not_there_leave_nothing_behind(tmp_path, settings, offline):
    for changes, message in (
        ({"start": str(tmp_path / "none")}, "is not a folder"),
        ({"model": "lavt_small", "size": 64}, "the starting weights .* are not here"),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            train(settings(tmp_path / "run", **changes), progress=False)
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("encoders", "TinyImage and TinyText name no published weights to start from"),
        ("RUN", "holds a model of recipe 'baseline_tiny', not 'lavt_tiny'"),
    ],
)
def test_weights_that_do_not_fit_are_refused(start, message, tmp_path, settings, complete_run, scenes):
    start = str(complete_run / "model") if start == "RUN" else start
    with pytest.raises(ValueError, match=message):
        new_model(settle(settings(tmp_path / "run", model="lavt_tiny", start=start)), scenes)


def test_a_fresh_model_learns_the_words_of_its_sentences(tmp_path, settings, scenes):
    model = new_model(settle(settings(tmp_path / "run")), scenes)
    length = recipe("baseline_tiny").tokenizer["length"]
    assert model.config.tokenizer == WordTokenizer.from_sentences(scenes.sentences(), length).to_config()
