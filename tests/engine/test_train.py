import csv
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ris_lib.engine import Stopped, evaluate, load_run, train
from ris_lib.engine import train as package_function
from ris_lib.engine.checkpoint import latest_checkpoint, load_state
from ris_lib.models import ReferringSegmenter

ROOT = Path(__file__).parents[2]
module = sys.modules[package_function.__module__]


def same_weights(one, two) -> bool:
    first, second = load_run(one).state_dict(), load_run(two).state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def same_numbers(one, two) -> bool:
    rows = [list(csv.DictReader((run / "metrics.csv").open())) for run in (one, two)]
    return [{**row, "seconds": ""} for row in rows[0]] == [{**row, "seconds": ""} for row in rows[1]]


def stop_after(monkeypatch, step, number=signal.SIGTERM):
    """Send this process a signal while the given step is computed."""
    original = module._optimise

    def optimise(*arguments):
        if arguments[-1] == step - 1:
            signal.raise_signal(number)
        return original(*arguments)

    monkeypatch.setattr(module, "_optimise", optimise)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_ten_steps_a_stop_and_ten_more_are_twenty_bit_for_bit(tmp_path, settings, monkeypatch, number, code):
    whole = train(settings(tmp_path / "whole", steps=20), progress=False)
    parted = settings(tmp_path / "parted", steps=20)
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        stop_after(patch, 10, number)
        with pytest.raises(
            Stopped, match=r"stopped after step 10 of 20; continue with: ris train --out .* --resume"
        ) as stop:
            train(parted, progress=False)
    assert stop.value.code == code
    assert signal.getsignal(number) == before
    assert not (parted.out / "model").exists()
    train(replace(parted, resume=True, workers=1), progress=False)
    assert same_weights(whole, parted.out)
    assert same_numbers(whole, parted.out)
    one, two = (load_state(latest_checkpoint(run / "checkpoints"))["optimizer"]["state"] for run in (whole, parted.out))
    assert all(torch.equal(one[k][name], two[k][name]) for k in one for name in ("exp_avg", "exp_avg_sq"))
    assert [start["from_step"] for start in json.loads((parted.out / "environment.json").read_text())] == [0, 10]


# What a training process imports before its first step, so that starting one takes no seconds.
_PRELOAD = ["pytest", "ris_lib.engine", "ris_lib.data.scenes", "torch._dynamo", "torch.utils.tensorboard"]


def kill_at(moments, config) -> int:
    """Start, and continue, a run in processes of their own; kill each at its moment.

    Args:
        moments: For each process, how many checkpoints it writes and how many seconds then pass. Counted in
            checkpoints, so that a slow machine is not killed before its first step each time.

    Returns:
        How many were killed before they were done.
    """
    landed = 0
    context = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
    context.set_forkserver_preload(_PRELOAD)
    marker, checkpoints = config.out / "environment.json", config.out / "checkpoints"
    for moment in (*moments, None):
        process = context.Process(target=train, args=(config, False))
        began = marker.stat().st_mtime_ns if marker.exists() else 0
        first = latest_step(checkpoints)
        process.start()
        if moment is not None:
            written, seconds = moment
            while process.is_alive() and (not marker.exists() or marker.stat().st_mtime_ns == began):
                time.sleep(0.002)
            while process.is_alive() and latest_step(checkpoints) < first + written:
                time.sleep(0.002)
            time.sleep(seconds)
            process.kill()
        process.join()
        landed += process.exitcode == -getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows terminates
        if moment is None:
            assert process.exitcode == 0
    return landed


def latest_step(checkpoints) -> int:
    return max((int(path.name.removeprefix("step_")) for path in checkpoints.glob("step_*")), default=0)


@pytest.mark.slow
def test_a_run_killed_at_twenty_random_moments_ends_as_one_that_was_not(tmp_path, settings):
    generator = random.Random(0)
    config = settings(tmp_path / "killed", steps=80, checkpoint_every=1, resume=True, threads=1)
    moments = [(generator.randrange(4), generator.random() * 0.05) for _ in range(20)]
    assert kill_at(moments, config) == 20
    starts = [start["from_step"] for start in json.loads((config.out / "environment.json").read_text())]
    assert starts == sorted(starts)
    assert len(set(starts)) > 3  # killed at different places
    whole = train(settings(tmp_path / "whole", steps=80), progress=False)
    assert same_weights(whole, config.out)
    assert same_numbers(whole, config.out)
    assert [path for path in config.out.rglob("*") if ".partial-" in path.name] == []


def test_killed_before_anything_was_saved(tmp_path, settings, complete_run):
    run = shutil.copytree(complete_run, tmp_path / "run")
    shutil.rmtree(run / "model")
    for checkpoint in (run / "checkpoints").iterdir():
        shutil.rmtree(checkpoint)
    (run / "checkpoints" / ".partial-0000aaaa-step_00000002").mkdir()
    train(settings(run, resume=True), progress=False)
    assert same_weights(run, complete_run)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        "step_00000002",
        "step_00000004",
    ]


def test_killed_between_the_last_checkpoint_and_the_model(tmp_path, settings, complete_run):
    run = shutil.copytree(complete_run, tmp_path / "run")
    shutil.rmtree(run / "model")
    train(settings(run, resume=True), progress=False)
    assert same_weights(run, complete_run)


def test_resume_of_a_complete_run_changes_nothing(settings, complete_run):
    before = {path: path.stat().st_mtime_ns for path in complete_run.rglob("*")}
    assert train(settings(complete_run, resume=True), progress=False) == complete_run
    assert {path: path.stat().st_mtime_ns for path in complete_run.rglob("*")} == before


def test_resume_needs_the_folder_only_and_refuses_other_settings(tmp_path, settings, complete_run):
    run = shutil.copytree(complete_run, tmp_path / "run")
    shutil.rmtree(run / "model")
    with pytest.raises(ValueError, match=r"the run in .* has steps=4, and 9 was asked for"):
        train(settings(run, steps=9, resume=True))
    train(type(settings(run))(out=run, resume=True), progress=False)
    assert same_weights(run, complete_run)
    with pytest.raises(FileNotFoundError, match=r"there is no run in .* to continue"):
        train(type(settings(run))(out=tmp_path / "none", resume=True))


def test_workers_do_not_change_the_result(tmp_path, settings, complete_run):
    assert same_weights(train(settings(tmp_path / "run", workers=2), progress=False), complete_run)


def test_the_seed_decides(tmp_path, settings, complete_run):
    assert same_weights(train(settings(tmp_path / "same"), progress=False), complete_run)
    assert not same_weights(train(settings(tmp_path / "other", seed=1), progress=False), complete_run)


def test_every_parameter_is_trained(tmp_path, settings, complete_run):
    started = train(settings(tmp_path / "run", steps=1, learning_rate=1e-30), progress=False)
    before, after = load_run(started).state_dict(), load_run(complete_run).state_dict()
    assert [name for name in before if torch.equal(before[name], after[name])] == []


@pytest.mark.slow
def test_forty_steps_lower_the_loss(tmp_path, settings):
    run = train(settings(tmp_path / "run", steps=40, limit=2, sentences_per_image=4), progress=False)
    losses = [float(row["loss"]) for row in csv.DictReader((run / "metrics.csv").open())]
    assert len(losses) == 40
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])


def test_the_learning_rate_of_each_step_is_used_and_recorded(complete_run, settings):
    rates = [float(row["learning_rate"]) for row in csv.DictReader((complete_run / "metrics.csv").open())]
    peak = load_run(complete_run).config.training["learning_rate"]
    assert rates == pytest.approx([peak * 0.5 * (1 + math.cos(math.pi * k / 4)) for k in range(4)])


def test_parts_of_a_step_add_up(tmp_path, settings):
    """Pictures with the same number of sentences each: then two halves are the whole."""
    shared = {"steps": 2, "images_per_step": 4, "sentences_per_image": 1}
    whole = train(settings(tmp_path / "whole", **shared), progress=False)
    parts = train(settings(tmp_path / "parts", accumulate=2, **shared), progress=False)
    one, two = (list(csv.DictReader((run / "metrics.csv").open())) for run in (whole, parts))
    for name in ("loss", "gradient_norm"):
        assert float(one[0][name]) == pytest.approx(float(two[0][name]), rel=1e-4)
    assert float(one[1]["loss"]) == pytest.approx(float(two[1]["loss"]), rel=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="gloo on one machine")
def test_two_processes_compute_what_one_does(tmp_path, settings):
    shared = {"limit": 8, "size": 32, "steps": 3, "images_per_step": 4, "evaluate_every": 3, "evaluate_limit": 5}
    one = train(settings(tmp_path / "one", evaluate_split="train", **shared), progress=False)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in shared.items()]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    launch += ["-m", "ris_lib", "train", "--out", str(tmp_path / "two")]
    launch += ["--model=baseline_tiny", "--sentences-per-image=2", "--device=cpu", "--evaluate-split=train", *flags]
    done = subprocess.run(
        launch, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    rows = [list(csv.DictReader((run / "metrics.csv").open())) for run in (one, tmp_path / "two")]
    assert len(rows[1]) == 3
    for alone, shared_out in zip(*rows):
        for name in ("loss", "bce", "dice", "gradient_norm", "learning_rate"):
            assert float(shared_out[name]) == pytest.approx(float(alone[name]), rel=1e-3)
    assert float(rows[1][-1]["miou"]) == pytest.approx(float(rows[0][-1]["miou"]), abs=0.02)


def test_evaluation_during_training(tmp_path, settings, scenes):
    run = train(settings(tmp_path / "run", evaluate_every=2, evaluate_split="train", evaluate_limit=3), progress=False)
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert [bool(row["miou"]) for row in rows] == [False, True, False, True]
    result = evaluate(load_run(run), scenes, limit=3, progress=False)
    assert float(rows[3]["miou"]) == result.scores.miou


def test_shuffled_sentences_and_size_reach_the_model(tmp_path, settings, complete_run):
    run = train(settings(tmp_path / "run", shuffle_sentences=True, precision="bf16"), progress=False)
    assert not same_weights(run, complete_run)
    assert load_run(run).config.preprocess["size"] == [32, 32]
    assert json.loads((run / "config.json").read_text())["shuffle_sentences"] is True


@pytest.mark.slow
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_number_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path, settings, monkeypatch, where):
    forward, calls = ReferringSegmenter.forward, []

    def poisoned(self, batch, with_losses=False, explain=False):
        calls.append(batch)
        output = forward(self, batch, with_losses, explain)
        if len(calls) == 4:
            nothing = (output.logits.sum() * 0).sqrt()  # 0, and its gradient is infinite times zero
            output.loss = output.loss * math.nan if where == "loss" else output.loss + nothing
        return output

    config = settings(tmp_path / "run", steps=6, checkpoint_every=2)
    with monkeypatch.context() as patch:
        patch.setattr(ReferringSegmenter, "forward", poisoned)
        with pytest.raises(ValueError, match=f"step 4: the {where}.* is (nan|inf)") as stopped:
            train(config, progress=False)
    message = str(stopped.value)
    assert all(str(number) in message for number in calls[3].image_id.tolist())
    assert all(sentence in message for sentence in calls[3].sentences)
    assert "step_00000002" in message
    checkpoint = latest_checkpoint(config.out / "checkpoints")
    assert load_state(checkpoint)["step"] == 2
    assert all(value.isfinite().all() for value in load_run(config.out).state_dict().values())
    train(replace(config, resume=True), progress=False)
    assert same_weights(config.out, train(settings(tmp_path / "whole", steps=6), progress=False))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": "baseline_tony"}, ValueError, "unknown model 'baseline_tony'; did you mean 'baseline_tiny'"),
        ({"model": None}, ValueError, "no model is named; choose one: alignformer_base, "),
        ({"data": "scene"}, ValueError, "unknown data set 'scene'; did you mean 'scenes'"),
        ({"split": "trainn"}, ValueError, "unknown split 'trainn' of scenes; did you mean 'train'"),
        ({"data": "refcoco"}, ValueError, "refcoco needs root"),
        ({"data": "refcoco", "root": "no/such/folder"}, FileNotFoundError, "no.such.folder"),
        ({"split_by": "unc"}, ValueError, "scenes has one cut into splits"),
        ({"accumulate": 4}, ValueError, "images_per_step=2 cannot be shared out"),
        ({"limit": 1, "shuffle_sentences": True}, ValueError, "Take more pictures"),
        ({"evaluate_every": 1, "evaluate_split": "vall"}, ValueError, "unknown split 'vall' of scenes"),
        ({"size": 4}, ValueError, "expected"),
        ({"device": "tpu"}, ValueError, "unknown device 'tpu'"),
    ],
)
def test_bad_input_leaves_nothing_behind(tmp_path, settings, changes, error, message):
    with pytest.raises(error, match=message):
        train(settings(tmp_path / "runs" / "bad", **changes), progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_not_touched(tmp_path, settings, complete_run):
    with pytest.raises(ValueError, match="holds a complete run"):
        train(settings(complete_run))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists and is not an empty folder"):
        train(settings(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
