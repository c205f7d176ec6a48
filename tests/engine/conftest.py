"""Small runs on small scenes: 32 pixels, 8 pictures, the real model."""

import pytest
import torch

from ris_lib.contract import MaskOutput
from ris_lib.data import load_dataset
from ris_lib.engine import TrainConfig, train
from ris_lib.models import create_model


def make_settings(out, **changes) -> TrainConfig:
    small = {
        "model": "baseline_tiny",
        "limit": 8,
        "size": 32,
        "steps": 4,
        "images_per_step": 2,
        "sentences_per_image": 2,
        "device": "cpu",
    }
    return TrainConfig(out=out, **{**small, **changes})


@pytest.fixture(scope="session")
def settings():
    """Makes the settings of a run of seconds."""
    return make_settings


@pytest.fixture(scope="session")
def scenes():
    return load_dataset("scenes", "train", size=32, limit=8)


@pytest.fixture(scope="session")
def complete_run(tmp_path_factory):
    """A run of four steps that came to its end; read it only."""
    return train(make_settings(tmp_path_factory.mktemp("runs") / "complete", checkpoint_every=2), progress=False)


@pytest.fixture
def left_half():
    """A model of input size 32 that answers the left half of the picture to everything."""
    torch.manual_seed(0)
    model = create_model("baseline_tiny", preprocess={"size": [32, 32]})

    def forward(batch, with_losses=False, explain=False):
        logits = torch.full((len(batch), 1, 32, 32), -20.0)
        logits[..., :16] = 20.0
        return MaskOutput(logits=logits)

    model.forward = forward
    return model
