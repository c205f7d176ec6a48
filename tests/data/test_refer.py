"""The official files: every pitfall of the format, bad input, and the answers of the refer toolkit."""

import io
import json
import pickle
import zlib
from collections import OrderedDict

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from ris_lib.data.refer import photographs_of, read_refer, unpickle_refs
from ris_lib.data.segmentation import to_rle
from ris_lib.data.unpickle import SafeUnpickler, load_pickle


def read(folder):
    return {row["ref_id"]: row for row in read_refer(folder.write(), folder.name, folder.split_by)}


def decode(row):
    return coco_mask.decode({"size": [row["height"], row["width"]], "counts": row["rle"]})


# Pitfalls, numbered as in the protocol's list.


def test_1_pickles_of_python_2_are_read(tmp_path):
    # What Python 2 writes: byte strings, unicode strings, long integers; protocols 0 and 2.
    ascii_file = b"(lp0\n(dp1\nS'ref_id'\np2\nI3\nsS'sent'\np3\nVcaf\\u00e9\np4\nsS'big'\nL12345678901L\nsa."
    (tmp_path / "0.p").write_bytes(ascii_file)
    assert load_pickle(tmp_path / "0.p") == [{"ref_id": 3, "sent": "café", "big": 12345678901}]
    byte_string = lambda data: b"\x80\x02]U" + bytes([len(data)]) + data + b"a."  # noqa: E731
    (tmp_path / "utf8.p").write_bytes(byte_string("café".encode()))
    (tmp_path / "latin1.p").write_bytes(byte_string("café".encode("latin1")))
    assert load_pickle(tmp_path / "utf8.p") == load_pickle(tmp_path / "latin1.p") == ["café"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_1_containers_strings_and_numbers_are_admitted(protocol, tmp_path):
    value = [{"a": 1, "b": (2.5, None, True)}, OrderedDict(x=1), {1, 2}, frozenset([3]), b"bytes", b"", "text", 10**20]
    (tmp_path / "file.p").write_bytes(pickle.dumps(value, protocol=protocol))
    assert load_pickle(tmp_path / "file.p") == value


class _Evil:
    def __reduce__(self):
        return print, ("code of the pickle has run",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_1_foreign_classes_are_refused_and_named(protocol, tmp_path, capsys):
    (tmp_path / "file.p").write_bytes(pickle.dumps([_Evil()], protocol=protocol))
    with pytest.raises(ValueError, match=r"file\.p: the pickle names (__builtin__|builtins)\.print"):
        unpickle_refs(tmp_path / "file.p")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "name", [b"os\nsystem", b"builtins\neval", b"numpy\nndarray", b"collections\nOrderedDict.__init__"]
)
def test_1_no_way_round_the_list_of_names(name):
    for program in (b"c" + name + b"\n.", b"\x80\x04\x8c" + name.replace(b"\n", b"\x8c", 1) + b"\x93."):
        with pytest.raises((ValueError, pickle.UnpicklingError)):
            SafeUnpickler(io.BytesIO(program)).load()


def test_1_a_pickle_cannot_change_the_library():
    # BUILD on an admitted name: sets attributes of whatever find_class returned.
    program = b"c_codecs\nencode\n}(X\x05\x00\x00\x00proofI1\nub."
    SafeUnpickler(io.BytesIO(program)).load()
    assert not hasattr(SafeUnpickler(io.BytesIO(b"c_codecs\nencode\n.")).load(), "proof")


def test_2_refs_and_annotations_are_joined_by_id(refer_folder):
    rows = read(refer_folder)
    assert rows[1]["box"] == [2, 2, 8, 8]
    assert rows[2]["box"] == [20, 5, 28, 13]
    assert rows[1]["referent_id"] == 71
    assert rows[1]["category"] == "cup"
    assert not rows[1]["crowd"]
    mask = decode(rows[1])
    assert mask.sum() == 36
    assert mask[2:8, 2:8].all()
    refer_folder.annotations.reverse()
    refer_folder.images.reverse()
    assert read(refer_folder) == rows


def test_3_the_file_name_is_the_image_s(refer_folder):
    assert read(refer_folder)[7]["file_name"] == "COCO_train2014_000000000009.jpg"
    refer_folder.images[0]["file_name"] = "../../secret.jpg"
    with pytest.raises(ValueError, match="plain name"):
        read(refer_folder)


def test_4_splits_keep_their_exact_names(refer_folder):
    for ref, split in zip(refer_folder.refs, ("testA", "testB", "test")):
        ref["split"] = split
    assert {number: row["split"] for number, row in read(refer_folder).items()} == {2: "testA", 7: "testB", 1: "test"}


def test_5_polygons_are_united(refer_folder):
    mask = decode(read(refer_folder)[7])
    parts = [to_rle([polygon], 20, 30) for polygon in refer_folder.annotations[1]["segmentation"]]
    decoded = [coco_mask.decode(part) for part in parts]
    assert (decoded[0] + decoded[1]).max() == 2
    assert (mask == ((decoded[0] + decoded[1]) > 0)).all()
    assert mask[7, 7] == 1


def test_6_run_lengths_compressed_or_not_and_crowds(refer_folder):
    want = np.zeros((20, 30), dtype=np.uint8, order="F")
    want[3:9, 4:11] = 1
    want[15, 29] = 1
    compressed = coco_mask.encode(want)
    flat = want.flatten(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    plain = {"size": [20, 30], "counts": np.diff(np.concatenate([[0], edges])).tolist()}
    text = {"size": [20, 30], "counts": compressed["counts"].decode()}
    for segmentation in (plain, text, [plain, text]):
        refer_folder.annotations[0] |= {"segmentation": segmentation, "iscrowd": 1}
        row = read(refer_folder)[1]
        assert row["crowd"]
        assert (decode(row) == want).all()


@pytest.mark.parametrize("seed", range(5))
def test_6_many_runs_survive(seed):
    mask = np.asfortranarray(np.random.default_rng(seed).random((61, 47)) < 0.3 * (seed + 1) / 2, dtype=np.uint8)
    rle = coco_mask.encode(mask)
    assert to_rle({"size": [61, 47], "counts": rle["counts"].decode()}, 61, 47) == rle


def test_10_duplicate_sentences_are_kept(refer_folder):
    rows = read(refer_folder)
    assert rows[2]["sentences"] == ["right cup", "Right cup", "the cup on the right"]
    assert rows[2]["sentence_ids"] == [200, 201, 202]


def test_a_kind_of_sentence_is_read_where_there_is_one(refer_folder):
    sentences = refer_folder.refs[0]["sentences"]
    sentences[0]["kind"], sentences[1]["kind"] = "location", 7
    assert read(refer_folder)[2]["kinds"] == ["location", "", ""]
    assert read(refer_folder)[7]["kinds"] == [""]


def test_a_sentence_that_cleaning_emptied_is_taken_raw(refer_folder):
    refer_folder.refs[0]["sentences"][0]["sent"] = ""
    assert read(refer_folder)[2]["sentences"][0] == "right cup"


def test_an_empty_segmentation_is_no_mask(refer_folder):
    refer_folder.annotations[0]["segmentation"] = []
    refer_folder.images[1] |= {"height": None, "width": None}
    refer_folder.annotations[2]["segmentation"] = None
    rows = read(refer_folder)
    assert rows[1]["rle"] is None
    assert rows[1]["height"] is None
    assert rows[7]["rle"] is not None


# Bad input.


def spoil(folder, where, number, **changes):
    getattr(folder, where)[number].update(changes)


@pytest.mark.parametrize(
    ("where", "number", "changes", "message"),
    [
        ("refs", 0, {"ann_id": 5}, "ref 2 .* ann_id 5 is not in instances.json"),
        ("refs", 0, {"image_id": 9}, "it is on image 9, but its annotation 62 is on image 4"),
        ("refs", 0, {"ref_id": 7}, "ref_id 7 occurs twice"),
        ("refs", 0, {"ref_id": "two"}, "expected a whole number"),
        ("refs", 0, {"split": ["val"]}, "has split .'val'.; expected a name"),
        ("refs", 0, {"sentences": []}, "no sentence"),
        ("refs", 0, {"sentences": [{"sent": None, "sent_id": 1}]}, "no text"),
        ("images", 1, {"id": 5}, "image_id 4 is not in instances.json"),
        ("images", 1, {"id": 9}, "two records of kind image have the same id"),
        ("images", 1, {"height": None}, "has a mask, but its image has no height and width"),
        ("images", 1, {"height": -20}, "positive whole numbers"),
        ("images", 1, {"height": 10**6, "width": 10**6}, "at most 100 megapixels"),
        ("annotations", 0, {"id": [62]}, "has no whole number as id"),
        ("annotations", 0, {"category_id": [1]}, "has category_id .1.; expected a whole number"),
        ("annotations", 0, {"bbox": [1, 2]}, "four numbers"),
        ("annotations", 0, {"bbox": [1, 2, 3, float("inf")]}, "four numbers"),
        ("annotations", 0, {"bbox": [1, 2, 3, 10**400]}, "four numbers"),
        ("annotations", 0, {"segmentation": [[1, 2, 3, 4]]}, "three corners"),
        ("annotations", 0, {"segmentation": [1, 2, 3, 4, 5, 6]}, "expected a polygon"),
        ("annotations", 0, {"segmentation": [[1, 2, 3, float("nan"), 5, 6]]}, "no finite number"),
        ("annotations", 0, {"segmentation": [[1, 2, 3, 1e300, 5, 6]]}, "far out of its picture"),
        ("annotations", 0, {"segmentation": [[1, 2, 3, 10**400, 5, 6]]}, "far out of its picture"),
        ("annotations", 0, {"segmentation": {"size": [30, 20], "counts": [600]}}, "another|but the picture has"),
        ("annotations", 0, {"segmentation": {"size": [20, 30], "counts": [10, 20]}}, "add up to 30 pixels"),
        ("annotations", 0, {"segmentation": {"size": [20, 30], "counts": [-1, 601]}}, "at least 0"),
        ("annotations", 0, {"segmentation": {"size": [20, 30], "counts": "0oooooo0"}}, "negative|add up|middle"),
        ("annotations", 0, {"segmentation": {"size": [20, 30], "counts": "\n"}}, "does not belong"),
        ("annotations", 0, {"segmentation": {"size": [20, 30], "counts": "o"}}, "middle of a number"),
        ("annotations", 0, {"segmentation": {"size": [20, 30], "counts": None}}, "expected a list or a string"),
        ("annotations", 0, {"segmentation": {"size": [20, 30], "counts": "o" * 99 + "0"}}, "longer than any picture"),
        ("annotations", 0, {"segmentation": [[0, 0, 29, 19] * 50_000]}, "at most 2,000,000 are read"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_together_are_refused(refer_folder, where, number, changes, message):
    spoil(refer_folder, where, number, **changes)
    with pytest.raises(ValueError, match=message):
        read(refer_folder)


def test_the_list_of_photographs_names_the_file_of_a_bad_record(refer_folder):
    spoil(refer_folder, "images", 0, file_name=None)
    with pytest.raises(ValueError, match=r"instances\.json: image 9 has file_name None"):
        photographs_of(refer_folder.write(pictures=None), "refcoco", "unc")


@pytest.mark.parametrize("value", [{"a": 1}, [], "refs", [1], [{"ref_id": 1}]])
def test_a_pickle_of_something_else_is_refused(value, refer_folder):
    refer_folder.refs = value
    with pytest.raises(ValueError, match="refs"):
        read(refer_folder)


def test_truncated_files_are_refused_at_every_length(refer_folder):
    refer_folder.write()
    whole = refer_folder.refs_file.read_bytes()
    for length in range(0, len(whole) - 1, 13):
        refer_folder.refs_file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="truncated"):
            unpickle_refs(refer_folder.refs_file)
    refer_folder.refs_file.write_bytes(whole)
    text = refer_folder.instances_file.read_text()
    for content in (text[:-5], "", text[: len(text) // 2]):
        refer_folder.instances_file.write_text(content)
        with pytest.raises(ValueError, match="no readable JSON, perhaps truncated"):
            read_refer(refer_folder.root, "refcoco", "unc")


def test_a_string_that_is_no_utf_8_is_refused_with_words(tmp_path):
    (tmp_path / "file.p").write_bytes(pickle.dumps(["café"], protocol=2).replace("é".encode(), b"\xff\xff"))
    with pytest.raises(ValueError, match=r"file\.p is no readable pickle, .*Compare its size"):
        load_pickle(tmp_path / "file.p")


def test_random_bytes_never_do_more_than_raise(tmp_path):
    rng = np.random.default_rng(0)
    whole = pickle.dumps([{"ref_id": k, "sentences": ["a" * k]} for k in range(20)], protocol=2)
    outcomes = set()
    for _ in range(200):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), size=3):
            damaged[place] = rng.integers(0, 128)
        (tmp_path / "file.p").write_bytes(damaged)
        try:
            outcomes.add(type(load_pickle(tmp_path / "file.p")))
        except ValueError as error:
            outcomes.add(type(error))
    assert ValueError in outcomes


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"images": []}', '{"images": 3, "annotations": [], "categories": []}']
)
def test_json_of_something_else_is_refused(content, refer_folder):
    refer_folder.write()
    refer_folder.instances_file.write_text(content)
    with pytest.raises(ValueError, match="expected COCO's instances format"):
        read_refer(refer_folder.root, "refcoco", "unc")


def test_missing_files_and_wrong_names(refer_folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no .*refcoco\. data_scripts.download\.py"):
        read_refer(tmp_path / "nowhere", "refcoco", "unc")
    refer_folder.write()
    with pytest.raises(
        FileNotFoundError, match=r"expected .*refs\(google\)\.p, but .*holds instances\.json, refs\(unc\)"
    ):
        read_refer(refer_folder.root, "refcoco", "google")
    with pytest.raises(ValueError, match="unknown split_by 'umd' of refcoco"):
        read_refer(refer_folder.root, "refcoco", "umd")
    with pytest.raises(ValueError, match="did you mean 'refcoco"):
        read_refer(refer_folder.root, "refcocco", "unc")
    with pytest.raises(FileNotFoundError, match="expected a pickle"):
        load_pickle(tmp_path / "none.p")


# Reference: what the refer toolkit answers.


@pytest.mark.parametrize(
    ("case", "folder", "name", "split_by"),
    [
        ("mini_refcoco", "mini_refcoco", "refcoco", "unc"),
        ("mini_refcocoplus", "mini_refcoco", "refcoco+", "unc"),
        ("mini_refcocog", "mini_refcoco", "refcocog", "umd"),
        ("synthetic", None, "refcoco", "unc"),
    ],
)
def test_same_answers_as_the_refer_toolkit(case, folder, name, split_by, golden_folder, request):
    root = golden_folder / "refer_synthetic" if folder is None else request.getfixturevalue("real_data") / folder
    want = json.loads((golden_folder / f"refer_{case}_expected.json").read_text())
    rows = read_refer(root, name, split_by)
    assert [row["ref_id"] for row in rows] == want["all_ref_ids_in_order"]
    assert sum(len(row["sentences"]) for row in rows) == want["n_sents"]
    for split in ("train", "val", "testA", "testB"):
        inside = [row for row in rows if row["split"] == split]
        assert [row["ref_id"] for row in inside] == want["ref_ids"].get(split, [])
        assert sorted({row["image_id"] for row in inside}) == want["image_ids"].get(split, [])
    overlapping = raised = 0
    for row in rows:
        key = str(row["ref_id"])
        if key in want["sentences"]:
            assert list(zip(row["sentence_ids"], row["sentences"])) == [(s[0], s[1]) for s in want["sentences"][key]]
        x, y, width, height = want["boxes"][key]
        assert row["box"] == [x, y, x + width, y + height]
        expected, mask = want["masks"][key], decode(row)
        assert [row["height"], row["width"]] == expected["image_hw"]
        assert mask.sum() == expected["pixels_union"]
        assert zlib.crc32(np.packbits(mask.astype(bool)).tobytes()) == expected["crc32_union_packbits"]
        overlapping += expected.get("max_value", 1) > 1
        raised += "refer_raises" in expected
    assert case != "synthetic" or (overlapping > 0 and raised > 0)
