import pytest
import torch
from torch import nn

from ris_lib.engine.optimizer import freeze, learning_rate_at, make_optimizer, parameter_groups, set_learning_rate
from ris_lib.models import create_model, list_models


@pytest.mark.parametrize("name", list_models("*_tiny"))
def test_the_optimiser_holds_every_trainable_parameter_once(name):
    model = create_model(name)
    held = [id(p) for group in make_optimizer(model, 1e-3, 0.01).param_groups for p in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in model.parameters() if p.requires_grad}


def test_only_weight_matrices_decay():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(4, 2)
            self.queries = nn.Parameter(torch.ones(3, 2))
            self.linear = nn.Linear(2, 2)
            self.convolution = nn.Conv2d(2, 2, 1)
            self.norm = nn.LayerNorm(2)
            self.tied = nn.Linear(2, 4, bias=False)
            self.tied.weight = self.embedding.weight
            self.frozen = nn.Linear(2, 2).requires_grad_(False)

    model = Model()
    decayed, plain = parameter_groups(model, 0.1)
    assert decayed["weight_decay"] == 0.1
    assert plain["weight_decay"] == 0
    assert {id(p) for p in decayed["params"]} == {id(model.linear.weight), id(model.convolution.weight)}
    assert len(plain["params"]) == 6  # embedding = tied, queries, two biases, scale and shift


def test_a_frozen_model_cannot_be_trained():
    with pytest.raises(ValueError, match="no trainable parameter"):
        make_optimizer(nn.Linear(2, 2).requires_grad_(False), 1e-3)


def test_learning_rate_by_hand():
    rates = [learning_rate_at(k, 30, 2.0, warmup=3) for k in range(30)]
    assert rates[:4] == pytest.approx([2 / 3, 4 / 3, 2, 2])
    assert rates[3 + 9] == pytest.approx(2 * 0.75)  # a third of the fall: (1 + cos 60 degrees) / 2
    assert rates == sorted(rates[:3]) + sorted(rates[3:], reverse=True)
    assert 0 < rates[-1] < 0.01
    assert learning_rate_at(0, 30, 2.0, warmup=100) == pytest.approx(2 / 3)  # at most a tenth of the run
    assert learning_rate_at(0, 1, 2.0, warmup=5) == 2.0
    with pytest.raises(ValueError, match="unknown schedule 'cosin'; did you mean 'cosine'"):
        learning_rate_at(0, 30, 2.0, schedule="cosin")


def test_schedules_of_the_papers():
    rates = [learning_rate_at(k, 50, 1.0, schedule="step") for k in range(50)]
    assert rates == [1.0] * 35 + [0.1] * 15  # CRIS: a tenth after epoch 35 of 50
    assert learning_rate_at(20, 40, 1.0, schedule="polynomial") == pytest.approx(0.5**0.9)


def test_rate_factors_and_frozen_parameters():
    model = nn.ModuleDict({"tower": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    freeze(model, ["head.bias"])
    optimizer = make_optimizer(model, 1e-2, 0.1, rate_factors={"tower.": 0.1})
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([1e-2, 1e-3, 1e-3])
    set_learning_rate(optimizer, 1.0)
    assert [(g["lr"], g["weight_decay"], len(g["params"])) for g in optimizer.param_groups] == [
        (1.0, 0.1, 1),
        (0.1, 0.1, 1),
        (0.1, 0.0, 1),
    ]


def test_names_that_fit_no_parameter_are_refused():
    with pytest.raises(ValueError, match="no parameter's name begins with 'towr'"):
        parameter_groups(nn.ModuleDict({"tower": nn.Linear(2, 2)}), 0.1, {"towr": 0.1})
    with pytest.raises(ValueError, match="no parameter's name begins with 'towr'"):
        freeze(nn.ModuleDict({"tower": nn.Linear(2, 2)}), ["towr"])
