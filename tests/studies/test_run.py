"""One run of a study: what is kept of it, and that it can be done again."""

import json

import pytest

from ris_lib.engine.run import METRICS
from studies import run as module
from studies.run import curve, result_path, run


def test_the_curve_is_a_mean_over_the_steps_since_the_last_point(tmp_path):
    rows = ["step,loss,bce,gradient_norm,learning_rate,seconds"]
    rows += [f"{k},{k}.0,{2 * k}.0,9,9,9" for k in range(1, 6)]
    (tmp_path / METRICS).write_text("\n".join(rows) + "\n")
    assert curve(tmp_path / METRICS, points=3) == {"step": [2, 4, 5], "loss": [1.5, 3.5, 5.0], "bce": [3.0, 7.0, 10.0]}


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Runs are made elsewhere, and scored on few pictures."""
    whole = module.load_dataset
    monkeypatch.setattr(module, "load_dataset", lambda *names, **options: whole(*names, **options, limit=3))
    monkeypatch.setattr(module, "RUNS", tmp_path / "runs")
    return tmp_path / "results"


@pytest.mark.slow
def test_a_result_that_was_deleted_comes_again(small):
    path = run("lavt_no_sentence", 1, steps=2, folder=small, progress=False)
    assert path == result_path("lavt_no_sentence", 1, small)
    first = json.loads(path.read_text())
    assert first["config"]["same_sentence"] == "the thing"
    assert first["samples"] == {"pictures": 16, "sentences_at_most": 128}
    assert first["result"]["counts"]["images"] == 3
    assert first["curve"]["step"] == [1, 2]
    path.unlink()
    for folder in (small.parent / "runs").iterdir():
        folder.rename(folder.with_name("gone"))
    second = json.loads(run("lavt_no_sentence", 1, steps=2, folder=small, progress=False).read_text())
    for report in (first, second):
        for name in ("training_seconds", "training_memory_mb"):
            report.pop(name)
        report["result"].pop("seconds")
    assert first == second


def test_what_is_there_is_not_done_again(tmp_path):
    path = result_path("lavt", 0, tmp_path)
    path.write_text("{}")
    assert run("lavt", 0, folder=tmp_path) == path
    assert path.read_text() == "{}"
