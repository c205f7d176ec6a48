"""What models cost: beside official code, and on this machine."""

import json

import pytest
import torch

from ris_lib.engine import bench_models
from ris_lib.engine.bench_models import (
    FLOP_BOUND,
    PARAMETER_BOUND,
    Subject,
    count_model,
    find_subjects,
    measure_model,
)
from ris_lib.engine.bench_timing import ROUNDS
from ris_lib.models import list_models

pytestmark = pytest.mark.slow

OFFICIAL = [subject for subject in find_subjects() if subject.official]


def test_subjects_are_all_recipes_and_the_variants_of_official_code():
    names = [subject.name for subject in find_subjects()]
    assert set(list_models()) < set(names)
    assert names == sorted(names)
    assert {subject.name for subject in OFFICIAL} == set(bench_models._OFFICIAL)
    with pytest.raises(ValueError, match="no model fits 'lavt_huge'; there are: alignformer_base"):
        find_subjects("lavt_huge")


def test_a_model_without_official_code_is_compared_with_nothing():
    values = count_model(find_subjects("eavl_tiny")[0])
    assert values["official"] is None
    assert json.loads(json.dumps(values)) == values


def test_a_model_that_needs_more_than_official_code_is_said_to():
    subject = find_subjects("baseline_tiny")[0]
    fits = count_model(subject)
    for parameters, flops, within in ((1, 1, True), (0.98, 1, False), (1, 0.97, False)):
        official = bench_models.Official("official", parameters * fits["parameters"], flops * fits["flops"])
        values = count_model(Subject(subject.name, subject.recipe, official=official))["official"]
        assert values["within_bounds"] is within
        assert values["flop_ratio"] == pytest.approx(1 / flops)


@pytest.mark.parametrize("subject", OFFICIAL, ids=lambda subject: subject.name)
def test_no_more_parameters_and_flops_than_official_code(subject):
    values = count_model(subject)["official"]
    assert values["parameter_ratio"] <= PARAMETER_BOUND
    assert values["flop_ratio"] <= FLOP_BOUND
    assert values["within_bounds"]


def test_runs_of_a_tiny_model():
    subject = find_subjects("baseline_tiny")[0]
    runs = list(measure_model(subject, batches=(1, 2), precisions=("fp32", "bf16"), seconds=0.001))
    assert [(run["precision"], run["batch"]) for run in runs] == [("fp32", 1), ("fp32", 2), ("bf16", 1), ("bf16", 2)]
    for run in runs:
        assert run["note"] is None
        assert run["pictures_per_s"] == pytest.approx(run["batch"] / run["forward_s"])
        assert run["training_samples_per_s"] == pytest.approx(run["batch"] / run["training_s"])
        assert run["forward_low_s"] <= run["forward_s"] <= run["forward_high_s"]
        assert run["training_low_s"] <= run["training_s"] <= run["training_high_s"]
        assert (run["rounds"], run["training_rounds"]) == (ROUNDS, ROUNDS)
        assert run["product_flop_per_s"] > 0
        assert run["share_of_product"] is None
        assert "external_s" not in run
    assert json.loads(json.dumps(runs)) == runs


def test_the_share_is_of_a_product_in_the_same_rounds():
    subject = find_subjects("baseline_tiny")[0]
    (run,) = measure_model(subject, batches=(2,), seconds=0.001, flops=1e9)
    assert run["flop_per_s"] == pytest.approx(2e9 / run["forward_s"])
    assert run["share_of_product"] == pytest.approx(run["flop_per_s"] / run["product_flop_per_s"])


def test_several_sentences_are_timed_beside_the_same_ones_one_by_one(monkeypatch):
    asked = []
    whole = bench_models.ReferringSegmenter.forward

    def note(model, batch, **options):
        asked.append((len(batch.images), batch.image_index.tolist()))
        return whole(model, batch, **options)

    monkeypatch.setattr(bench_models.ReferringSegmenter, "forward", note)
    subject = find_subjects("baseline_tiny")[0]
    one, three = measure_model(subject, batches=(2,), sentences=(1, 3), seconds=0.001, flops=1e9)
    assert [run["sentences"] for run in (one, three)] == [1, 3]
    assert "one_by_one_s" not in one
    assert three["share_of_product"] is None
    assert three["one_by_one_ratio"] == pytest.approx(three["one_by_one_s"] / three["forward_s"])
    assert three["one_by_one_low_s"] <= three["one_by_one_s"] <= three["one_by_one_high_s"]
    assert three["pictures_per_s"] == pytest.approx(2 / three["forward_s"])
    assert {tuple(index) for _, index in asked} == {(0, 1), (0, 0, 0, 1, 1, 1)}
    assert all(images == 2 for images, _ in asked)


def test_an_external_function_is_timed_beside_the_model_on_the_same_inputs():
    calls = []

    def peer(images, token_ids, word_mask):
        calls.append((tuple(images.shape), tuple(token_ids.shape), word_mask.all().item(), torch.is_grad_enabled()))

    (run,) = measure_model(find_subjects("baseline_tiny")[0], batches=(2,), seconds=0.001, external=peer)
    assert set(calls) == {((2, 3, 96, 96), (2, 20), True, False)}
    assert len(calls) >= ROUNDS + 2
    assert run["external_low_s"] <= run["external_s"] <= run["external_high_s"]
    assert run["external_ratio"] == pytest.approx(run["external_s"] / run["forward_s"])


def test_an_external_function_that_fails_is_an_error_and_no_note():
    with pytest.raises(ValueError, match=r"the function of --external raised TypeError"):
        next(measure_model(find_subjects("baseline_tiny")[0], external=lambda images: None))


def test_a_training_step_that_takes_too_long_is_left_out():
    (run,) = measure_model(find_subjects("baseline_tiny")[0], seconds=0.001, patience=1e-9)
    assert run["forward_s"] > 0
    assert run["training_s"] is None
    assert run["note"].startswith("training step left out: about ")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("x"), ValueError("batch norm\nof one")])
def test_what_cannot_be_measured_is_noted(error, monkeypatch):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(bench_models, "interleave", fail)
    (run,) = measure_model(find_subjects("baseline_tiny")[0])
    assert run["forward_s"] is None
    assert run["training_s"] is None
    assert run["note"] in ("out of memory", "batch norm")


def test_without_a_compiler_the_note_says_so(monkeypatch):
    def refuse(model):
        raise torch._dynamo.exc.TorchDynamoException("no compiler\nhere")

    monkeypatch.setattr(torch, "compile", lambda model: lambda *arguments, **options: refuse(model))
    (run,) = measure_model(find_subjects("baseline_tiny")[0], precisions=("compiled",))
    assert (run["forward_s"], run["note"]) == (None, "no compiler")
