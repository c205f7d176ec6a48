"""The index: a table that gives back what it got, and refuses what is not whole."""

import numpy as np
import pyarrow as pa
import pytest

from ris_lib.data.index import SCHEMA, Index, load_index, save_index


def row(**changes):
    return {
        "dataset": "d", "split": "val", "split_by": "unc", "image_id": 7, "file_name": "7.png", "height": 2, "width": 3,
        "ref_id": 1, "referent_id": 11, "category": "cup", "crowd": False, "box": [0.0, 0.0, 1.5, 1.0], "rle": b"06",
        "sentences": ["a", "b"], "sentence_ids": [5, 6], "kinds": ["", "x"],
    } | changes  # fmt: skip


def write(table, path):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def test_what_is_saved_is_loaded(tmp_path):
    rows = [
        row(),
        row(ref_id=2, rle=None, height=None, width=None),
        row(image_id=10**13, sentences=["ü"], sentence_ids=[1], kinds=[""]),
    ]
    index = load_index(save_index(rows, tmp_path / "new" / "index.arrow"))
    assert [index.row(k) for k in range(3)] == rows == index.rows([0, 1, 2])
    assert index.table.schema.equals(SCHEMA)
    assert len(index) == 3
    assert index.without_mask() == 1
    assert index.counts() == {"images": 2, "refs": 3, "sentences": 5}
    assert index.sentences() == ["a", "b", "a", "b", "ü"]
    assert index.rows([2, 0]) == [rows[2], rows[0]] == [index.take([2, 0]).row(k) for k in (0, 1)]
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["index.arrow"]


def test_filter_and_columns():
    index = Index.from_rows([row(), row(split="testA", ref_id=2), row(split="testB", ref_id=3, image_id=8)])
    assert index.filter(split="testA").column("ref_id") == [2]
    assert index.filter(split=["testA", "testB"]).column("ref_id") == [2, 3]
    assert index.filter(split=["testA", "testB"], image_id=8).column("ref_id") == [3]
    empty = index.filter(split="test")
    assert empty.counts() == {"images": 0, "refs": 0, "sentences": 0}
    assert empty.by_image() == []
    assert empty.sentences() == []
    for ask in (lambda: index.filter(spilt="val"), lambda: index.column("spilt")):
        with pytest.raises(ValueError, match="did you mean 'split'"):
            ask()


def test_neighbours_are_not_copied_and_others_are():
    index = Index.from_rows([row(image_id=k, ref_id=k) for k in range(6)])
    where = [index.take(numbers).table["image_id"].chunk(0).buffers()[1].address for numbers in ([2, 3, 4], [2, 4])]
    assert where[0] == index.table["image_id"].chunk(0).buffers()[1].address != where[1]
    part = index.take([2, 3, 4])
    assert part.column("ref_id") == [2, 3, 4]
    assert part.filter(ref_id=(3, 4)).column("image_id") == [3, 4]
    assert [group.tolist() for group in part.by_image()] == [[0], [1], [2]]
    assert index.take([]).column("ref_id") == []
    for outside in ([5, 6], [-1, 0]):
        with pytest.raises(IndexError):
            index.take(outside)


def test_columns_that_are_null_or_lists():
    index = Index.from_rows([row(), row(rle=None, height=None, width=None, ref_id=2)])
    assert index.filter(height=None).column("ref_id") == [2]
    assert index.filter(crowd=False, width=3).column("ref_id") == [1]
    with pytest.raises(ValueError, match="'sentences' holds lists"):
        index.filter(sentences=["a", "b"])


def test_images_come_in_order_of_first_appearance():
    index = Index.from_rows([row(image_id=k) for k in (9, 2, 9, 5, 2, 9)])
    assert [group.tolist() for group in index.by_image()] == [[0, 2, 5], [1, 4], [3]]
    assert all(isinstance(group, np.ndarray) for group in index.by_image())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"category": None}, "has no category"),
        ({"sentences": [], "sentence_ids": [], "kinds": []}, "at least one"),
        ({"kinds": [""]}, "same number of each"),
        ({"height": None}, "size of its picture is not known"),
        ({"image_id": "seven"}, "wrong type"),
        ({"extra": 1}, "extra"),
    ],
)
def test_bad_rows_are_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        save_index([row(**changes)], tmp_path / "index.arrow")
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_lacks_a_column_is_refused():
    incomplete = row()
    del incomplete["rle"]
    with pytest.raises(ValueError, match="rle"):
        Index.from_rows([incomplete])


def test_missing_damaged_and_foreign_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no index at"):
        load_index(tmp_path / "none.arrow")
    path = save_index([row()], tmp_path / "index.arrow")
    (tmp_path / "cut.arrow").write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="no readable index"):
        load_index(tmp_path / "cut.arrow")
    (tmp_path / "empty.arrow").write_bytes(b"")
    with pytest.raises(ValueError, match="no readable index"):
        load_index(tmp_path / "empty.arrow")
    table = load_index(path).table
    write(table.replace_schema_metadata({b"ris_lib.index": b"0"}), tmp_path / "older.arrow")
    with pytest.raises(ValueError, match="version 0; this library reads version 2"):
        load_index(tmp_path / "older.arrow")
    write(pa.table({"a": [1]}), tmp_path / "other.arrow")
    with pytest.raises(ValueError, match="version none"):
        load_index(tmp_path / "other.arrow")
    write(table.drop_columns("kinds"), tmp_path / "fewer.arrow")
    with pytest.raises(ValueError, match="Delete it"):
        load_index(tmp_path / "fewer.arrow")
