"""What is looked at beside the runs: single sentences, hidden words, choices without reading."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from ris_lib import create_model, evaluate, load_dataset
from studies import controls
from studies.controls import any_of_them, largest, score
from studies.hidden_words import naming_accuracy
from studies.sentences import save_with_targets, target_of


@pytest.fixture
def val():
    return load_dataset("scenes", "val", size=96, limit=4)


def test_targets_are_what_the_data_set_says(val):
    for k in range(len(val)):
        for expression in val[k].expressions:
            target = target_of(expression.ref_id)
            assert target["category"] == expression.category
            assert 0 <= target["same_category"] < target["objects"] <= 10


def test_single_sentences_are_kept_with_their_targets(val, tmp_path):
    torch.manual_seed(0)
    result = evaluate(create_model("baseline_tiny"), val, progress=False, device="cpu")
    save_with_targets(result, tmp_path / "sentences.parquet")
    table = pq.read_table(tmp_path / "sentences.parquet")
    assert table.schema.metadata[b"protocol"] == b"original"
    rows = table.to_pylist()
    assert len(rows) == result.counts["sentences"]
    assert {"sentence", "kind", "iou", "category", "size", "same_category", "objects"} <= set(rows[0])
    assert np.mean([row["iou"] for row in rows]) == pytest.approx(result.scores.miou)


def test_naming_is_measured_on_the_same_words_each_time(val):
    torch.manual_seed(0)
    model = create_model("magnet_tiny")
    first, second = naming_accuracy(model, val), naming_accuracy(model, val)
    assert first == second
    assert first["words"] > 40
    assert 0 <= first["accuracy"] < first["most_frequent"] + 0.2, "it has learnt nothing"
    with pytest.raises(ValueError, match="lavt_tiny has no objective 'mask_grounding'"):
        naming_accuracy(create_model("lavt_tiny"), val)


def test_choices_see_sizes_alone():
    sizes, random = np.array([0, 4, 0, 9, 1]), np.random.default_rng(0)
    assert largest(sizes, random) == 3
    assert {any_of_them(sizes, random) for _ in range(60)} == {1, 3, 4}


def test_a_choice_is_scored_like_a_model(monkeypatch, val):
    monkeypatch.setattr(controls, "load_dataset", lambda *names, **options: val)
    scores = score("val", largest)
    assert scores["count"] == sum(len(val[k].expressions) for k in range(len(val)))
    assert set(np.unique(score("val", lambda sizes, random: 200)["miou"])) == {0.0}, "nothing is chosen"
    by_chance = [score("val", any_of_them, seed)["miou"] for seed in range(3)]
    assert 0 < min(by_chance) < max(by_chance) < 0.6
    assert scores["prec"]["0.5"] == scores["prec"]["0.9"], "an object is met as a whole or not at all"
