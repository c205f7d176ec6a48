import pytest
import torch
from torch import nn

from ris_lib.engine.device import deterministic, inference, pick_device


def test_devices_by_name():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        pick_device("gpu")
    with pytest.raises(ValueError, match=r"'cuda:99' is not on this machine, which has: cpu"):
        pick_device("cuda:99")


def test_inference_restores_the_mode_of_every_module():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    model[1].eval()
    with inference(model, torch.device("cpu")):
        assert not model.training
        assert model[0](torch.ones(1, 2)).is_inference()
    assert (model.training, model[0].training, model[1].training) == (True, True, False)


def test_inference_restores_the_mode_after_an_error():
    model = nn.Dropout()
    with pytest.raises(ZeroDivisionError), inference(model, torch.device("cpu")):
        _ = 1 / 0
    assert model.training


def test_deterministic_is_undone():
    before = torch.are_deterministic_algorithms_enabled()
    with deterministic():
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.are_deterministic_algorithms_enabled() == before
