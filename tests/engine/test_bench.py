"""Speeds of data and metrics."""

import pytest

from ris_lib.engine.bench import measure


def test_metrics_are_measured():
    entries = measure("metrics", seconds=0.001)
    assert [entry["subject"] for entry in entries] == ["metrics"] * 3
    assert all(entry["value"] > 0 for entry in entries)


def test_data_is_measured():
    entries = measure("data", seconds=0.001)
    assert [entry["unit"] for entry in entries] == ["pictures/s", "samples/s", "samples/s", "samples/s"]
    assert all(entry["value"] > 0 for entry in entries)


def test_an_unknown_subject_is_refused():
    with pytest.raises(ValueError, match="metrics"):
        measure("metric")
