"""From runs to tables."""

import json

import pytest

from studies.run import result_path
from studies.tables import TABLES, compared, summary, tables


@pytest.fixture
def folder(tmp_path):
    """Runs that nobody has made: with it .5 better at each seed but one, which is .3 better."""
    for name, scores in {"lavt": [0.2, 0.3, 0.1], "lavt_grounding": [0.7, 0.8, 0.4, 0.9]}.items():
        for seed, miou in enumerate(scores):
            result = {"miou": miou, "oiou": miou + 0.1, "prec": {"0.5": miou / 2}}
            report = {"result": result, "training_seconds": 120, "parameters": 7}
            report["environment"] = {"device": "cpu", "cpu": "one"} if seed else {"device": "gpu"}
            report["hidden_words"] = {"accuracy": 0.25} if "grounding" in name else None
            result_path(name, seed, tmp_path).write_text(json.dumps(report))
    return tmp_path


def test_a_pair_is_compared_over_the_seeds_that_both_have(folder):
    row = compared("lavt_grounding", "lavt", folder)
    assert row["seeds"] == [0, 1, 2]
    assert row["gain"] == pytest.approx(0.4333, abs=1e-4)
    assert row["interval"] == pytest.approx([0.4333 - 0.2869, 0.4333 + 0.2869], abs=1e-3)
    assert row["verdict"] == "helps"
    assert compared("lavt", "lavt_grounding", folder)["verdict"] == "hurts"


def test_a_pair_without_runs_is_listed_without_a_verdict(folder):
    row = compared("alignformer", "alignformer_to_pixels", folder)
    assert row == {
        "with_it": "alignformer",
        "without": "alignformer_to_pixels",
        "seeds": [],
        "gain": None,
    }


def test_a_variant_has_its_means(folder):
    found = summary("lavt_grounding", folder)
    assert found["miou"] == [0.7, 0.8, 0.4, 0.9]
    assert found["oiou"] == pytest.approx([0.8, 0.9, 0.5, 1.0])
    assert found["mean_miou"] == pytest.approx(0.7)
    assert found["mean_prec_0.5"] == pytest.approx(0.35)
    assert (found["minutes"], found["hidden_word_accuracy"]) == (2, 0.25)
    assert (found["devices"], found["cpus"]) == (["cpu", "gpu"], ["not noted", "one"])
    assert summary("magnet", folder) == {"title": "MagNet", "seeds": []}


def test_all_of_it_is_json(folder):
    whole = json.loads(json.dumps(tables(folder)))
    assert whole["studies"]["mask_grounding"]["pairs"][1]["verdict"] == "helps"


def test_the_table_of_the_book_is_that_of_the_runs():
    assert json.loads(TABLES.read_text(encoding="utf-8")) == json.loads(json.dumps(tables())), (
        "runs have come or gone; make the table anew with python -m studies.tables"
    )
