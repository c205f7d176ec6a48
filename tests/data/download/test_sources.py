"""The table of addresses."""

import json

import pytest

from ris_lib.data.download import Source, source, sources
from ris_lib.data.refer import SPLIT_BY


def test_every_data_set_has_its_files_in_the_table():
    table = sources()
    assert set(table) == {*SPLIT_BY, "train2014", "photographs"}
    for name, cuts in SPLIT_BY.items():
        expected = {f"{name}/instances.json", *(f"{name}/refs({cut}).p" for cut in cuts)}
        assert set(table[name].members) == expected
        assert len(table[name].sha256) == 64
        assert table[name].addresses[0].endswith(f"/{table[name].file}")
    assert len(table["train2014"].md5) == 32


def test_one_photograph():
    one = source("photographs").of("COCO_train2014_000000000009.jpg")
    assert one.file == "COCO_train2014_000000000009.jpg"
    assert one.addresses == ("http://images.cocodataset.org/train2014/COCO_train2014_000000000009.jpg",)


def test_another_table_is_taken_where_the_variable_names_one(tmp_path, monkeypatch):
    (tmp_path / "mirror.json").write_text(
        json.dumps({"refcoco": {"file": "a.zip", "addresses": ["https://a.org/a.zip"]}})
    )
    monkeypatch.setenv("RIS_SOURCES", str(tmp_path / "mirror.json"))
    assert sources() == {"refcoco": Source("a.zip", ("https://a.org/a.zip",))}
    with pytest.raises(ValueError, match="unknown source 'train2014'"):
        source("train2014")


@pytest.mark.parametrize(
    "entry",
    ["[]", "{", '{"a": 3}', '{"a": {"file": "a"}}', '{"a": {"file": "a", "addresses": [], "colour": 1}}'],
)
def test_a_damaged_table_is_refused(tmp_path, entry):
    (tmp_path / "table.json").write_text(entry)
    with pytest.raises(ValueError, match=r"table\.json is no table of sources"):
        sources(tmp_path / "table.json")


@pytest.mark.parametrize(
    "wrong",
    [{"addresses": ()}, {"addresses": ("ftp://a.org/a",)}, {"addresses": ("https://a.org",), "sha256": "XYZ"}],
)
def test_a_source_needs_an_address_and_true_checksums(wrong):
    with pytest.raises(ValueError, match=r"expected"):
        Source("a", **wrong)
