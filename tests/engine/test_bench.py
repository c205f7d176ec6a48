"""What ``ris bench`` measures besides models: every number is there, has a spread, and can be kept as JSON."""

import json

import pytest

from ris_lib.engine import bench_data
from ris_lib.engine.bench import SUBJECTS, Settings, measure
from ris_lib.engine.bench_data import measure_data
from ris_lib.engine.bench_timing import ROUNDS
from ris_lib.engine.bench_train import measure_train

pytestmark = pytest.mark.slow


def check(entries):
    """What holds of all entries."""
    assert len({entry["what"] for entry in entries}) == len(entries)
    for entry in entries:
        assert 0 < entry["low"] <= entry["value"] <= entry["high"]
        assert entry["rounds"] == ROUNDS
    assert json.loads(json.dumps(entries)) == entries


def test_metrics_are_measured():
    entries = list(measure("metrics", Settings(seconds=0.001)))
    assert {entry["subject"] for entry in entries} == {"metrics"}
    assert "intersection and union of two masks, 480 x 480" in [entry["what"] for entry in entries]
    check(entries)


def test_samples_are_measured_in_both_storages_and_orders(monkeypatch):
    monkeypatch.setattr(bench_data, "_PICTURES", 4)
    monkeypatch.setattr(bench_data, "_JPEG_SIDE", 64)
    entries = list(measure_data(0.001, sizes=[32]))
    assert [entry["what"] for entry in entries[2:]] == [
        f"{place}, 32 px, {order} order, 0 workers"
        for place in ("scenes cache", "JPEG files")
        for order in ("random", "evaluation")
    ]
    assert [entry["unit"] for entry in entries] == ["pictures/s", "samples/s", *["sentences/s"] * 4]
    check(entries)


def test_evaluation_order_reads_a_picture_once(monkeypatch):
    dataset = bench_data.load_dataset("scenes", "val", size=32, limit=4)
    reads = []
    read = dataset.pictures.read
    monkeypatch.setattr(dataset.pictures, "read", lambda *asked: reads.append(asked) or read(*asked))
    orders = bench_data._orders(dataset, 32, workers=0)
    for order, sentences in (("random order", 4), ("evaluation order", len(dataset.sentences()))):
        reads.clear()
        assert len(next(orders[order])) == sentences
        assert len(reads) == 4


def test_samples_of_worker_processes(monkeypatch):
    monkeypatch.setattr(bench_data, "_PICTURES", 4)
    entries = list(measure_data(0.001, workers=[1], sizes=[32], storages=["cache"]))
    assert [entry["what"][-9:] for entry in entries[2:]] == ["1 workers"] * 2
    check(entries)


def test_photographs_of_refcoco(real_data):
    entries = list(measure_data(0.001, sizes=[32], storages=["jpeg"], root=real_data / "mini_refcoco"))
    assert entries[2]["what"] == "JPEG files of RefCOCO, 32 px, random order, 0 workers"
    check(entries)


def test_a_training_step_is_measured_with_its_optimiser(monkeypatch):
    steps = []
    whole = bench_data.interleave
    monkeypatch.setattr(
        "ris_lib.engine.bench_train.interleave", lambda works, *more: steps.append(works["step"]) or whole(works, *more)
    )
    kept, again = measure_train(["baseline_tiny"], batches=[2], precisions=["fp32", "compiled"], seconds=0.001)
    assert kept["what"] == "baseline_tiny, batch 2, fp32, activations kept"
    assert again["what"] == "baseline_tiny, batch 2, fp32, activations computed again"
    check([kept, again])
    assert [work.args[0].encoder.recompute for work in steps] == [False, True]
    model = steps[0].args[0]
    before = [parameter.detach().clone() for parameter in model.parameters()]
    steps[0]()
    assert all((one != other).any() for one, other in zip(before, model.parameters()) if other.requires_grad)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_long_training_step_is_timed_once():
    for entry in measure_train(["baseline_tiny"], batches=[1], seconds=0.001, patience=1e-9):
        assert entry["rounds"] == 1
        assert entry["value"] == entry["low"] == entry["high"] > 0


def test_what_was_asked_for_is_that_of_the_subjects_alone():
    settings = Settings(scales=(1, 2), workers=(3,))
    assert settings.asked(["index"]) == {"subjects": ["index"], "scales": [1, 2]}
    assert settings.asked(["train"]) == {
        "subjects": ["train"],
        "trained": ["lavt_base"],
        "batches": [1],
        "precisions": ["fp32"],
    }
    assert settings.asked(["data", "metrics"])["workers"] == [3]
    assert {"subjects", "photographs"} < set(settings.asked([*SUBJECTS, "models"]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seconds": 0}, "--seconds 0; expected a positive number"),
        ({"patience": float("inf")}, "--patience inf; expected a positive number"),
        ({"workers": (-1,)}, "--workers -1; expected numbers of at least 0"),
        ({"sizes": (96, 0)}, "--size 96 0; expected numbers of at least 1"),
        ({"scales": ()}, "--scale; expected numbers of at least 1"),
        ({"batches": (0,)}, "--batch 0; expected numbers of at least 1"),
        ({"storages": ("disk",)}, "unknown storage 'disk'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Settings(**settings)


def test_an_unknown_subject_is_refused():
    with pytest.raises(ValueError, match="metrics"):
        next(measure("metric"))
