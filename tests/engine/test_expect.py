"""What is said before the first step, and that saying it changes nothing."""

import re
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from ris_lib.cli import main
from ris_lib.engine import StepBatches, TrainConfig, expect, load_run, train
from ris_lib.engine.expect import StepCost, describe, measure_step, untouched
from ris_lib.models import ReferringSegmenter, create_model

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
module = sys.modules[train.__module__]
SAID = re.compile(
    r"^baseline_tiny, (the last )?(\d+)( of \d+)? steps on cpu, \d+ threads?: about [\d.]+ (second|minute)s? "
    r"\(([\d.e-]+) s a step, measured on 2 steps\)",
    re.MULTILINE,
)


@pytest.fixture
def of_any_length(monkeypatch):
    """Runs of four steps speak too."""
    monkeypatch.setattr(expect, "FEWEST", 1)


def small_model(norm: str = "group") -> ReferringSegmenter:
    torch.manual_seed(0)
    return create_model("baseline_tiny", preprocess={"size": [32, 32]}, decoder={"norm": norm}).train()


def batches_of(model: ReferringSegmenter, scenes, accumulate: int = 1) -> StepBatches:
    return StepBatches(scenes, model.collator(), 0, 2, 2, accumulate)


def same_weights(one, two) -> bool:
    first, second = load_run(one).state_dict(), load_run(two).state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    "changes",
    [{}, {"accumulate": 2, "precision": "bf16"}, {"workers": 1}],
    ids=["plain", "parts in bf16", "workers"],
)
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_a_run_that_was_measured_has_the_same_bits(
    tmp_path, settings, monkeypatch, capsys, of_any_length, norm, changes
):
    fresh = module.new_model

    def new_model(config, dataset):
        known = fresh(config, dataset).config
        torch.manual_seed(config.seed)
        parts = {"preprocess": known.preprocess, "tokenizer": known.tokenizer, "training": known.training}
        return create_model(config.model, **parts, decoder={"norm": norm}).train()

    monkeypatch.setattr(module, "new_model", new_model)
    silent = train(settings(tmp_path / "silent", **changes), progress=False)
    assert capsys.readouterr().err == ""
    told = train(settings(tmp_path / "told", **changes), progress=True)
    assert SAID.search(capsys.readouterr().err)
    assert same_weights(silent, told)
    statistics = [name for name in load_run(told).state_dict() if name.endswith("num_batches_tracked")]
    assert bool(statistics) == (norm == "batch")


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_measuring_leaves_no_trace(scenes, norm):
    model = small_model(norm)
    batches = batches_of(model, scenes, accumulate=2)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters())
    numbers = torch.get_rng_state()
    measure_step(model, batches, 3, CPU)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), numbers)
    assert optimizer.state == {}
    assert all(part.training for part in model.modules())
    assert not torch.are_deterministic_algorithms_enabled()


def test_what_went_wrong_leaves_no_trace_either():
    layer = torch.nn.BatchNorm1d(2)
    numbers = torch.get_rng_state()

    def fail():
        with untouched(layer, CPU):
            layer(torch.randn(3, 2)).sum().backward()
            assert layer.num_batches_tracked == 1
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert layer.num_batches_tracked == 0
    assert torch.equal(layer.running_mean, torch.zeros(2))
    assert layer.weight.grad is None
    assert torch.equal(torch.get_rng_state(), numbers)


def slow_forward(monkeypatch, seconds: float) -> list:
    """Make a forward pass last; the batches that came are listed."""
    forward, seen = ReferringSegmenter.forward, []

    def slow(self, batch, with_losses=False, explain=False):
        seen.append(batch)
        time.sleep(seconds)
        return forward(self, batch, with_losses, explain)

    monkeypatch.setattr(ReferringSegmenter, "forward", slow)
    return seen


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_seconds_lie_between_what_a_step_must_take_and_what_passed(scenes, monkeypatch, accumulate):
    model = small_model()
    batches = batches_of(model, scenes, accumulate)
    seen = slow_forward(monkeypatch, 0.05)
    began = time.perf_counter()
    cost = measure_step(model, batches, 0, CPU)
    passed = time.perf_counter() - began
    assert 0.05 * accumulate < cost.seconds < passed / 2
    assert len(seen) == 3 * accumulate
    first = [batches[part].sentences for part in range(accumulate)]
    assert [batch.sentences for batch in seen] == 3 * first


def test_a_slow_step_is_measured_once(scenes, monkeypatch):
    monkeypatch.setattr(expect, "_PATIENCE", 0.0)
    model = small_model()
    assert measure_step(model, batches_of(model, scenes), 0, CPU).measured == 1


def test_batches_count_where_nobody_makes_them_ahead(scenes, monkeypatch):
    model = small_model()
    batches = batches_of(model, scenes)
    get = StepBatches.__getitem__
    monkeypatch.setattr(StepBatches, "__getitem__", lambda self, part: time.sleep(0.5) or get(self, part))
    assert measure_step(model, batches, 0, CPU).seconds > 0.5
    calls = []
    monkeypatch.setattr(StepBatches, "__getitem__", lambda self, part: calls.append(part) or get(self, part))
    measure_step(model, batches, 5, CPU, workers=2)
    assert calls == [5]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process")
def test_the_memory_holds_weights_moments_and_gradients(scenes):
    model = small_model()
    weights = sum(parameter.nbytes for parameter in model.parameters())
    memory = measure_step(model, batches_of(model, scenes), 0, CPU).memory
    assert 3 * weights < memory < 3 * weights + 1e9


def test_a_short_run_says_nothing_and_measures_nothing(tmp_path, settings, monkeypatch, capsys):
    monkeypatch.setattr(expect, "measure_step", None)
    train(settings(tmp_path / "run", steps=4))
    assert "about" not in capsys.readouterr().err


@pytest.mark.parametrize(("left", "main_process", "said"), [(20, True, 1), (19, True, 0), (20, False, 0)])
def test_the_steps_that_are_left_count_and_one_process_speaks(monkeypatch, capsys, left, main_process, said):
    measured = []
    monkeypatch.setattr(expect, "measure_step", lambda *given: measured.append(given) or StepCost(1.0, 2, None))
    accelerator = SimpleNamespace(device=CPU, is_main_process=main_process, num_processes=2)
    expect.announce(accelerator, None, None, config_of(steps=600), 600 - left)
    assert len(measured) == (left == 20)
    assert capsys.readouterr().err.count("the last 20 of 600 steps on cpu") == said


def test_without_progress_nothing_is_measured(tmp_path, settings, monkeypatch, capsys, of_any_length):
    monkeypatch.setattr(expect, "measure_step", None)
    train(settings(tmp_path / "run", steps=1), progress=False)
    assert capsys.readouterr().err == ""


def test_a_continued_run_speaks_of_what_is_left(tmp_path, settings, monkeypatch, capsys, of_any_length):
    original = module._optimise

    def optimise(*arguments):
        if arguments[-1] == 2:
            raise ValueError("the power went off")
        return original(*arguments)

    config = settings(tmp_path / "run", steps=6, checkpoint_every=2)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_optimise", optimise)
        with pytest.raises(ValueError, match="the power went off"):
            train(config)
    assert "\nbaseline_tiny, 6 steps on cpu" in "\n" + capsys.readouterr().err
    measured = []
    monkeypatch.setattr(expect, "measure_step", lambda *given: measured.append(given[2]) or measure_step(*given))
    train(replace(config, resume=True))
    said = SAID.search(capsys.readouterr().err)
    assert said[0].startswith("baseline_tiny, the last 4 of 6 steps on cpu")
    assert measured == [2]
    assert same_weights(config.out, train(settings(tmp_path / "whole", steps=6), progress=False))


def test_the_command_says_it_on_stderr(tmp_path, capsys):
    small = ["--limit=8", "--size=32", "--images-per-step=2", "--sentences-per-image=2", "--device=cpu"]
    run = ["--model=baseline_tiny", f"--steps={expect.FEWEST}", "--out", str(tmp_path / "run")]
    assert main(["train", *run, *small]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    said = SAID.search(captured.err)
    assert int(said[2]) == expect.FEWEST
    assert 0 < float(said[5]) < 60
    assert captured.err.index("about") < captured.err.index("loss")


def config_of(**changes) -> TrainConfig:
    return TrainConfig(**{"out": "runs/a", "model": "lavt_tiny", "steps": 600, **changes})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0004, "about 1 second (0.0004 s a step"),
        (0.1, "about 60 seconds (0.1 s a step"),
        (0.38, "about 4 minutes (0.38 s a step"),
        (0.449, "about 4.5 minutes (0.45 s a step"),
        (3.0, "about 30 minutes (3 s a step"),
        (12.04, "about 2 hours (12 s a step"),
        (150.0, "about 25 hours (150 s a step"),
        (1234.0, "about 8.5 days (1200 s a step"),
    ],
)
def test_a_time_is_said_in_its_unit(seconds, text):
    assert text in describe(config_of(), 0, StepCost(seconds, 2, None), CPU)


def test_the_whole_sentence(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert describe(config_of(evaluate_every=100), 250, StepCost(2.0, 1, 1_234_567_890), CPU, processes=2) == (
        "lavt_tiny, the last 350 of 600 steps on cpu, 1 thread, 2 processes: about 12 minutes "
        "(2 s a step, measured on 1 step) and 4 evaluations; the model needs 1,235 MB in each process"
    )
    assert describe(config_of(evaluate_every=601), 0, StepCost(2.0, 2, 9e7), torch.device("cuda", 0)) == (
        "lavt_tiny, 600 steps on cuda: about 20 minutes (2 s a step, measured on 2 steps); the model needs 90 MB"
    )
