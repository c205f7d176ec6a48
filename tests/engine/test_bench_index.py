"""The made-up RefCOCO, and what is measured of it in fresh processes."""

import json
import os
import subprocess
import sys
from itertools import pairwise

import pytest

from ris_lib.data import load_dataset
from ris_lib.data.refer import read_refer, refer_index
from ris_lib.data.verify.counts import OFFICIAL
from ris_lib.engine import bench_index
from ris_lib.engine.bench_index import measure_index
from ris_lib.engine.bench_refcoco import ANNOTATIONS, write_refcoco

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refcoco") / "root"
    write_refcoco(folder, divide=200)
    return folder


def test_the_full_size_is_that_of_refcoco():
    splits = OFFICIAL["refcoco", "unc"].values()
    assert [sum(column) for column in zip(*splits)] == [19_994, 50_000, 142_210]


def test_each_split_holds_what_was_asked_for(root):
    index = refer_index(root, "refcoco").index
    for split, (images, refs, sentences) in OFFICIAL["refcoco", "unc"].items():
        counted = index.filter(split=split).counts()
        assert counted == {"images": images // 200, "refs": refs // 200, "sentences": sentences // 200}
    instances = json.loads((root / "refcoco" / "instances.json").read_text())
    assert len(instances["annotations"]) == ANNOTATIONS // 200


def test_objects_have_masks_in_their_boxes(root):
    expressions = load_dataset("refcoco", "val", root=root).expressions(0)
    for expression in expressions:
        mask = expression.mask()
        left, top, right, bottom = expression.box
        rows, columns = mask.nonzero()
        assert mask.shape == (480, 640)
        assert (left - 1, top - 1) <= (columns.min(), rows.min())
        assert columns.max() <= right
        assert rows.max() <= bottom


def test_the_same_call_writes_the_same_bytes_and_scale_multiplies(root, tmp_path):
    write_refcoco(tmp_path / "again", divide=200)
    for name in ("refs(unc).p", "instances.json"):
        assert (tmp_path / "again" / "refcoco" / name).read_bytes() == (root / "refcoco" / name).read_bytes()
    counts = write_refcoco(tmp_path / "twice", scale=2, divide=400)
    assert counts["train"].sentences == OFFICIAL["refcoco", "unc"]["train"].sentences // 200


def test_refs_of_a_split_and_an_image_are_apart_in_the_file_and_together_in_the_index(root):
    rows, index = read_refer(root, "refcoco", "unc"), refer_index(root, "refcoco").index
    for values in ([row["split"] for row in rows], [row["image_id"] for row in rows]):
        assert sum(one != other for one, other in pairwise(values)) >= len(set(values))
    for name in ("split", "image_id"):
        values = index.column(name)
        assert sum(one != other for one, other in pairwise(values)) == len(set(values)) - 1
    assert sorted(index.column("ref_id")) == sorted(row["ref_id"] for row in rows)
    train = load_dataset("refcoco", "train", root=root)
    assert train.index.column("ref_id") == index.filter(split="train").column("ref_id")


@pytest.mark.parametrize("wrong", [{"scale": 0}, {"divide": 0}, {"divide": 1000}])
def test_sizes_that_leave_nothing_are_refused(wrong, tmp_path):
    with pytest.raises(ValueError, match=r"at least 1|no picture"):
        write_refcoco(tmp_path, **wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_full_folder_is_refused(root):
    with pytest.raises(ValueError, match="not an empty folder"):
        write_refcoco(root)


def test_opening_a_set_imports_no_pandas(root):
    """It takes a second, and Arrow imports it without being asked."""
    refer_index(root, "refcoco")  # building it is another matter
    program = (
        "import sys; from ris_lib.data import load_dataset\n"
        f"dataset = load_dataset('refcoco', 'train', root={str(root)!r})\n"
        "dataset.counts(); dataset.sentences(); dataset.expressions(0)\n"
        "print('pandas' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"


def test_each_step_is_measured(root):
    refer_index(root, "refcoco")
    names = [name for name, *_ in bench_index._steps("open", str(root))]
    assert names[:2] == ["open the index", "open the training split"]
    assert len(names) == 4
    ((name, seconds, *_),) = bench_index._steps("build", str(root))
    assert name == "build the index from the official files"
    assert seconds > 0


def test_every_number_comes_from_a_fresh_process(monkeypatch):
    monkeypatch.setattr(bench_index, "ROUNDS", 2)
    entries = list(measure_index(scales=[2], divide=1000))
    assert len({entry["what"] for entry in entries}) == 5
    assert [entry["rounds"] for entry in entries] == [1, 2, 2, 2, 2]
    assert entries[1]["what"] == "open the index, 2/1000 x RefCOCO (283 sentences)"
    for entry in entries:
        assert entry["value"] > 0
        assert entry["peak_bytes"] is None or entry["peak_bytes"] >= 0
    assert json.loads(json.dumps(entries)) == entries


def test_a_process_that_fails_is_said_to():
    with pytest.raises(RuntimeError, match=r"measuring an index \(open\) failed: (.|\n)*there is no nowhere"):
        bench_index._in_fresh_process("open", "nowhere")
