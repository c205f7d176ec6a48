"""Every tiny recipe learns a few scenes by heart: the proof that its parts and its losses work together.

A model that does not listen cannot: the sentences about one picture mean different objects.
"""

import pytest

from ris_lib.data import load_dataset
from ris_lib.engine import TrainConfig, evaluate, load_run, train
from ris_lib.models import list_models


def learn_by_heart(name, folder, scenes, side, **settings):
    """mIoU (protocol ``original``) on the sentences of the scenes that the model was trained on."""
    config = TrainConfig(folder, name, limit=scenes, size=side, images_per_step=scenes, device="cpu", **settings)
    train(config, progress=False)
    dataset = load_dataset("scenes", "train", size=side, limit=scenes)
    return evaluate(load_run(folder), dataset, progress=False, device="cpu").scores.miou


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models("*_tiny"))
def test_four_small_scenes_are_nearly_learnt_by_heart(name, tmp_path):
    assert learn_by_heart(name, tmp_path / "run", 4, 64, steps=150, sentences_per_image=4) > 0.6


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in list_models("*_tiny") if name != "baseline_tiny"])
def test_eight_scenes_are_learnt_by_heart(name, tmp_path):
    assert learn_by_heart(name, tmp_path / "run", 8, 128, steps=300, sentences_per_image=4) > 0.9
