"""What a run begins with."""

from dataclasses import replace

import pytest
import torch

from ris_lib.data.tokenizers import WordTokenizer
from ris_lib.engine import TrainConfig, load_run, train
from ris_lib.engine.setup import load_split, new_model, settle
from ris_lib.models import create_model, recipe


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and an empty cache."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize(
    ("model", "start"), [("baseline_tiny", "encoders"), ("magnet_tiny", "encoders"), ("lavt_small", "encoders")]
)
def test_a_run_begins_with_the_encoders_that_the_recipe_names(model, start, tmp_path, settings):
    config = settings(tmp_path / "run", model=model)
    assert settle(config).start == start
    assert settle(replace(config, start="fresh")).start == "fresh"


def test_fresh_weights_follow_the_seed_alone(tmp_path, settings, scenes):
    one, two, other = (
        new_model(settle(settings(tmp_path / "run", seed=seed, start="fresh")), scenes) for seed in (1, 1, 2)
    )
    first = next(iter(one.state_dict()))
    assert torch.equal(one.state_dict()[first], two.state_dict()[first])
    assert not torch.equal(one.state_dict()[first], other.state_dict()[first])


def test_what_was_learnt_before_learns_slowly_and_what_starts_at_random_does_not(tmp_path, settings, scenes):
    factors = {"encoder.image_tower.": 0.1}
    for start, expected in (("encoders", factors), ("fresh", {})):
        model = new_model(settle(settings(tmp_path / "run", start=start)), scenes)
        assert model.config.training["rate_factors"] == expected
    asked = {"training": {"rate_factors": {"encoder.text_tower.": 0.5}}}
    model = new_model(settle(settings(tmp_path / "run", start="fresh", changes=asked)), scenes)
    assert model.config.training["rate_factors"] == asked["training"]["rate_factors"], "what was asked for stays"


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
    ("changes", "message"),
    [
        (
            {"start": "encoders", "data": "refcoco", "changes": '{"text_tower": {"start": "tiny_encoders"}}'},
            "knows the words of the drawn scenes, not those of refcoco",
        ),
        ({"start": "RUN"}, "holds a model of recipe 'baseline_tiny', not 'lavt_tiny'"),
    ],
)
def test_weights_that_do_not_fit_are_refused(changes, message, tmp_path, settings, complete_run, scenes):
    changes = {name: value.replace("RUN", str(complete_run / "model")) for name, value in changes.items()}
    with pytest.raises(ValueError, match=message):
        new_model(settle(settings(tmp_path / "run", model="lavt_tiny", **changes)), scenes)


@pytest.mark.parametrize("start", ["fresh", "encoders"])
def test_a_text_tower_without_a_start_learns_the_words_of_its_sentences(start, tmp_path, settings, scenes):
    model = new_model(settle(settings(tmp_path / "run", start=start)), scenes)
    length = recipe("baseline_tiny").tokenizer["length"]
    assert model.config.tokenizer == WordTokenizer.from_sentences(scenes.sentences(), length).to_config()


def test_a_text_tower_with_a_start_keeps_its_words(tmp_path, settings, scenes):
    changes = {"text_tower": {"start": "tiny_encoders"}}
    model = new_model(settle(settings(tmp_path / "run", changes=changes)), scenes)
    assert model.config.tokenizer == recipe("baseline_tiny").tokenizer
    tower = create_model("baseline_tiny", pretrained="encoders", **changes).encoder.text_tower
    assert all(torch.equal(w, tower.state_dict()[k]) for k, w in model.encoder.text_tower.state_dict().items())


@pytest.mark.parametrize("changes", [{"head": "sentence_kernel"}, '{"head": "sentence_kernel"}'])
def test_a_run_may_change_entries_of_its_recipe(changes, tmp_path, settings, scenes):
    config = settle(settings(tmp_path / "run", changes=changes))
    assert TrainConfig.from_dict(config.to_dict()) == config
    assert new_model(config, scenes).config.head["name"] == "sentence_kernel"


def test_changes_decide_what_a_run_begins_with_and_how_large_its_pictures_are(tmp_path, settings):
    swin = {"image_tower": {"name": "swin", "start": "somewhere"}, "preprocess": {"size": [48, 48]}}
    config = settle(settings(tmp_path / "run", changes=swin, size=None))
    assert config.start == "encoders"
    assert load_split(config, "train", 1)[0].image.shape[:2] == (48, 48)


@pytest.mark.parametrize(("changes", "message"), [("{head", "is not JSON"), ("[1]", "expected entries of a model's")])
def test_changes_that_are_none_are_refused(changes, message, tmp_path, settings):
    with pytest.raises(ValueError, match=message):
        settings(tmp_path / "run", changes=changes)


def test_precision_is_that_of_the_launch_unless_it_is_named(tmp_path, settings, monkeypatch):
    config = settings(tmp_path / "run")
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    assert settle(config).precision == "no"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert settle(config).precision == "bf16"
    assert settle(replace(config, precision="no")).precision == "no"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp8")
    with pytest.raises(ValueError, match="unknown precision 'fp8'"):
        settle(config)
