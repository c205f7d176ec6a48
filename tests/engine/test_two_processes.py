"""Two processes on one CPU compute what one computes: gradients, scores, a stop and a resume. One of them speaks."""

import csv
import json
import sys
from pathlib import Path

import pytest
import torch

from ris_lib.engine import load_run
from tests.engine.start_two import start_two
from tests.engine.two_processes import RECIPES, one_step, scores

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="gloo on one machine")]


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> Path:
    return start_two("tests.engine.two_processes", tmp_path_factory.mktemp("two"))


def read(folder: Path, name: str, bits: int) -> list[dict]:
    return [torch.load(folder / f"{name}-{bits}-{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("name", RECIPES)
def test_gradients_are_those_of_one_process_with_the_doubled_batch(answers, name, bits):
    """In float64 to what it rounds, in float32 to a millionth of the gradient's length; negatives of contrastive losses
    come from both processes, which have different numbers of sentences.
    """
    alone, parts = one_step(name, dtype={64: torch.float64, 32: torch.float32}[bits]), read(answers, name, bits)
    assert parts[0]["sentences"] != parts[1]["sentences"]
    assert parts[0]["sentences"] + parts[1]["sentences"] == alone["sentences"]
    torch.testing.assert_close((parts[0]["loss"] + parts[1]["loss"]) / 2, alone["loss"])
    whole = torch.cat([gradient.flatten() for gradient in alone["gradients"].values()])
    for part in parts:
        assert part["gradients"].keys() == alone["gradients"].keys()
        shared = torch.cat([gradient.flatten() for gradient in part["gradients"].values()])
        assert (shared - whole).norm() < {64: 1e-12, 32: 1e-6}[bits] * whole.norm()
        assert (shared - whole).abs().max() < {64: 1e-12, 32: 1e-6}[bits] * max(1, whole.abs().max())


def test_an_evaluation_is_equal_to_the_last_digit(answers):
    """Nine pictures, an odd number: one process has one more, and none is counted twice."""
    alone = json.loads(json.dumps(scores()))
    assert len({row["iou"] for row in alone["sentences"]}) > 5  # else equal scores would say little
    for rank in range(2):
        assert json.loads((answers / f"scores-{rank}.json").read_text()) == alone


def test_a_stop_and_a_resume_end_as_the_whole_run(answers):
    for rank in range(2):
        assert (answers / f"stopped-{rank}.txt").read_text().startswith("stopped after step 2 of 4")
    whole, parted = (load_run(answers / name).state_dict() for name in ("whole", "parted"))
    assert whole.keys() == parted.keys()
    assert all(torch.equal(whole[name], parted[name]) for name in whole)
    rows = [list(csv.DictReader((answers / name / "metrics.csv").open())) for name in ("whole", "parted")]
    assert [{**row, "seconds": ""} for row in rows[0]] == [{**row, "seconds": ""} for row in rows[1]]
    assert len(rows[0]) == 4


def test_one_process_prints_scores_and_writes_them(answers):
    said, silent = ((answers / f"eval-{rank}.txt").read_text() for rank in range(2))
    assert silent == "0\n"
    assert "3 images" in said
    assert json.loads((answers / "scored.json").read_text())["counts"]["images"] == 3


def test_one_process_prints_the_estimate_and_nothing_is_left(answers):
    said, silent = ((answers / f"estimate-{rank}.txt").read_text() for rank in range(2))
    assert silent == "0\n"
    assert said.startswith("0\nbaseline_tiny, 600 steps on cpu, 1 thread, 2 processes")
    assert "MB in each process" in said
    assert "2 of " in said
    assert "device-hours" in said
    assert not (answers / "planned").exists()
