"""Two measurements, one beside the other; and functions that somebody else supplies."""

import json

import pytest
import torch

from ris_lib.engine.bench_against import check_asked, compare, entries_of, read_bench
from ris_lib.engine.bench_external import load_external, try_external


def bench(**changes):
    results = [
        {"subject": "data", "what": "draw", "unit": "pictures/s", "value": 6.0},
        {"subject": "index", "what": "open", "unit": "s", "value": 2.0, "memory_bytes": 30},
    ]
    run = {"precision": "fp32", "batch": 1, "sentences": 1, "forward_s": 4.0, "forward_bytes": 8, "training_s": None}
    models = [{"name": "a_tiny", "runs": [run | {"training_bytes": None}]}]
    same = {"device": "cpu", "threads": 1, "versions": {"torch": "2", "numpy": "2"}, "asked": {"subjects": []}}
    return {**same, "results": results, "models": models, **changes}


def test_a_ratio_above_one_is_faster_whatever_the_unit():
    now = bench()
    now["results"] = [now["results"][0] | {"value": 12.0}, now["results"][1] | {"value": 1.0, "memory_bytes": 15}]
    found = compare(now, bench())
    assert [(ratio["times_as_fast"], ratio["memory_ratio"]) for ratio in found["ratios"]] == [
        (2.0, None),
        (2.0, 0.5),
        (1.0, 1.0),
        (None, None),  # not measured
    ]
    assert found["ratios"][2]["what"] == "a_tiny, fp32, batch 1: forward"
    assert found["differences"] == []


def test_what_else_differs_is_said():
    other = bench(device="H200", threads=2, versions={"torch": "3", "numpy": "2", "timm": "1"})
    assert compare(bench(), other)["differences"] == [
        "device cpu here, H200 there",
        "threads 1 here, 2 there",
        "timm None here, 1 there",
        "torch 2 here, 3 there",
    ]


def test_other_entries_are_refused():
    fewer = bench(models=[])
    with pytest.raises(ValueError, match=r"only here: models: a_tiny, fp32, batch 1: forward.*only there: nothing"):
        compare(bench(), fewer)
    with pytest.raises(ValueError, match="only here: nothing"):
        compare(fewer, bench())


def test_other_questions_are_refused_before_anything_is_measured():
    check_asked({"scales": (1, 2)}, {"scales": [1, 2]})
    with pytest.raises(ValueError, match=r"scales: \[1\] here, \[1, 2\] there; sizes: None here, \[9\] there"):
        check_asked({"scales": (1,)}, {"scales": [1, 2], "sizes": [9]})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no readable JSON"),
        ("[]", "was not written by"),
        ('{"results": [], "models": {}}', "was not written by"),
        ('{"results": [], "models": []}', "older version"),
    ],
)
def test_other_files_are_refused(content, message, tmp_path):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_bench(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError, match="no file"):
        read_bench(tmp_path / "b.json")


def test_a_file_is_read_back(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(bench()))
    assert entries_of(read_bench(tmp_path / "a.json")) == entries_of(bench())


def test_a_function_of_a_module_in_this_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [])
    (tmp_path / "peer_of_this_test.py").write_text(
        "def forward(images, token_ids, word_mask):\n    return len(images)\n"
    )
    assert load_external("peer_of_this_test:forward")(torch.ones(2, 1), None, None) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("peer", "expected MODULE:FUNCTION"),
        (":forward", "expected MODULE:FUNCTION"),
        ("peer:for ward", "expected MODULE:FUNCTION"),
        ("no_such_module:forward", r"cannot be imported \(ModuleNotFoundError"),
        ("json:lods", "'lods' is not there; json has"),
        ("json:__name__", "'__name__' is no function"),
    ],
)
def test_a_function_that_cannot_be_had_is_a_clear_error(name, message):
    with pytest.raises(ValueError, match=message):
        load_external(name)


def test_a_function_that_fails_is_a_clear_error():
    with pytest.raises(ValueError, match=r"raised TypeError.* the shapes \(2, 3\), \(4,\)"):
        try_external(lambda images: None, torch.ones(2, 3), torch.ones(4))
