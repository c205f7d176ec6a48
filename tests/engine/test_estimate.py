"""What a planned run will need, and that asking leaves nothing behind."""

import re
import shutil
import sys
import time

import pytest
import torch

from ris_lib.cli import main
from ris_lib.engine import estimate, train
from ris_lib.engine.estimate import Estimate
from ris_lib.engine.expect import StepCost
from ris_lib.models import create_model

pytestmark = pytest.mark.slow

module = sys.modules[estimate.__module__]
training = sys.modules[train.__module__]


@pytest.fixture
def few_steps(monkeypatch):
    monkeypatch.setattr(module, "WARM_UP", 1)
    monkeypatch.setattr(module, "MEASURED", 2)


def test_twenty_steps_of_the_run_are_measured_after_some_that_are_not(tmp_path, settings, monkeypatch):
    """The run's own steps: the first numbers, the pictures in its order, the optimiser among them."""
    original, steps = training._optimise, []

    def optimise(*arguments):
        steps.append(arguments[-1])
        time.sleep(0.02)
        return original(*arguments)

    monkeypatch.setattr(training, "_optimise", optimise)
    found = estimate(settings(tmp_path / "run", steps=600), progress=False)
    assert steps == list(range(25))
    assert found.cost.measured == 20
    assert found.cost.seconds > 0.02
    assert found.steps == 600
    assert found.seconds == pytest.approx(600 * found.cost.seconds)
    assert (found.pictures, found.evaluations, found.total) == (2, 0, None)
    assert 2 < found.sentences <= 4  # two pictures with two sentences at most
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_and_leaves_nothing(tmp_path, few_steps, capsys):
    flags = ["--limit=8", "--size=32", "--images-per-step=2", "--sentences-per-image=2", "--device=cpu"]
    flags += ["--model=baseline_tiny", "--steps=600", "--evaluate-every=200", "--evaluate-limit=3", "--price=3.5"]
    assert main(["train", "--estimate", "--out", str(tmp_path / "runs" / "planned"), *flags]) == 0
    said = capsys.readouterr().out.replace("│", " ")
    assert re.search(r"^baseline_tiny, 600 steps on cpu, \d+ threads? *$", said, re.MULTILINE)
    for pattern in (
        r"samples/s +[\d.,]+ pictures, [\d.,]+ sentences",
        r"step +[\d.]+ s, measured on 2 steps",
        r"evaluations +3 of \d",
        r"together +[\d.]+ \w+",
        r"cost +[\d.]+ for [\d.]+ device-hours",
    ):
        assert re.search(pattern, said), (pattern, said)
    if sys.platform == "linux":
        assert re.search(r"memory +[\d,]+ MB\s", said)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_shorter_than_what_is_measured(tmp_path, settings, few_steps, monkeypatch):
    """Steps beyond its end have the last one's learning rate; polynomial decay would know none."""
    rates = []
    monkeypatch.setattr(training, "set_learning_rate", lambda optimizer, rate: rates.append(rate))
    changes = {"training": {"schedule": "polynomial", "warmup_steps": 0}}
    found = estimate(settings(tmp_path / "run", steps=2, changes=changes), progress=False)
    assert found.steps == 2
    assert len(rates) == 3
    assert rates[1] == rates[2] < rates[0]


def test_a_run_to_be_continued_is_left_as_it_is(tmp_path, settings, complete_run, few_steps):
    run = shutil.copytree(complete_run, tmp_path / "run")
    shutil.rmtree(run / "model")
    shutil.rmtree(run / "checkpoints" / "step_00000004")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    found = estimate(settings(run, resume=True), progress=False)
    assert found.steps == 2
    assert found.plan.startswith("baseline_tiny, the last 2 of 4 steps")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    with pytest.raises(ValueError, match="is complete; there is nothing left to estimate"):
        estimate(settings(complete_run, resume=True))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process")
def test_the_memory_holds_weights_moments_and_gradients(tmp_path, settings, few_steps):
    found = estimate(settings(tmp_path / "run"), progress=False)
    weights = sum(parameter.nbytes for parameter in create_model("baseline_tiny").parameters())
    assert 3 * weights < found.cost.memory < 4 * weights + 1e9


def test_money_is_a_device_hour_times_processes():
    cost = StepCost(seconds=2.0, measured=20, memory=None)
    found = Estimate("a run", 16, 20.0, cost, 1800, evaluations=4, evaluation=900.0, processes=8, price=2.0)
    assert found.seconds == 7200
    assert found.total == 2 * 8 * 2.0
    rows = dict(found.rows())
    assert rows["samples/s"] == "8 pictures, 10 sentences"
    assert rows["memory"] == "this system does not tell"
    assert rows["cost"] == "32.00 for 16.00 device-hours"


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf")])
def test_a_price_that_is_none_is_refused(tmp_path, settings, price):
    with pytest.raises(ValueError, match="expected what a device costs for an hour"):
        estimate(settings(tmp_path / "run"), price)


def test_a_price_without_an_estimate_is_refused(tmp_path, capsys):
    assert main(["train", "--model=baseline_tiny", "--out", str(tmp_path / "run"), "--price=2"]) == 2
    assert "--price 2.0 is for --estimate" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_is_compiled_is_measured_compiled(tmp_path, settings, few_steps, monkeypatch):
    compiled = []

    class Compiled(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model
            compiled.append(model)

        def forward(self, *given, **options):
            return self.model(*given, **options)

    monkeypatch.setattr(training, "check_compiler", lambda device: None)
    monkeypatch.setattr(torch, "compile", Compiled)
    ready = training.prepare(training.settle(settings(tmp_path / "run", compile=True)))
    assert compiled == [ready.plain]
    assert ready.alone is ready.model is not ready.plain
    estimate(settings(tmp_path / "run", compile=True), progress=False)
    assert len(compiled) == 2
