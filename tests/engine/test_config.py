import json

import pytest

from ris_lib.engine.config import FREE_ON_RESUME, TrainConfig


def test_settings_survive_json():
    config = TrainConfig(out="runs/a", root="data", model="baseline_tiny", learning_rate=1e-3, limit=3)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("steps", 0, "steps=0; expected a whole number of at least 1"),
        ("steps", 2.5, "steps=2.5; expected a whole number"),
        ("seed", -1, "seed=-1"),
        ("workers", True, "workers=True"),
        ("learning_rate", 0.0, "expected a positive number"),
        ("seed", 2**64, "seed=18446744073709551616; expected a whole number of at most 18446744073709551615"),
        ("learning_rate", float("nan"), "expected a positive number"),
        ("learning_rate", float("inf"), "expected a positive number"),
        ("learning_rate", 1e300, "expected a positive number of at most 1000"),
        ("precision", "fp8", "unknown precision 'fp8'; did you mean"),
    ],
)
def test_wrong_values_are_refused(setting, value, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(out="runs/a", **{setting: value})


def test_what_cannot_be_compiled_is_refused():
    with pytest.raises(ValueError, match=r"compile and recompute were both asked for.*Choose one"):
        TrainConfig(out="runs/a", compile=True, recompute=True)


def test_unknown_and_missing_settings_are_refused():
    with pytest.raises(ValueError, match="unknown setting 'step' of a training run; did you mean 'steps'"):
        TrainConfig.from_dict({"out": "a", "step": 3})
    with pytest.raises(ValueError, match="lack 'out'"):
        TrainConfig.from_dict({"steps": 3})


def test_a_run_is_continued_as_it_was_started():
    saved = TrainConfig(out="a", model="baseline_tiny", steps=20)
    TrainConfig(out="a", resume=True).check_same_run(saved)
    TrainConfig(out="a", steps=20, workers=2, resume=True).check_same_run(saved)
    with pytest.raises(ValueError, match=r"has steps=20, and 30 was asked for.*start another run"):
        TrainConfig(out="a", steps=30, resume=True).check_same_run(saved)
    assert set(TrainConfig.__dataclass_fields__) >= FREE_ON_RESUME
