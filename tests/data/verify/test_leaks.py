"""Images that one set trains on and another holds out: reported both ways, and left out of the list that is written."""

import json
import pickle

import pytest

from ris_lib.data import load_dataset
from ris_lib.data.refer import unpickle_refs
from ris_lib.data.verify import find_leaks, write_without_leaks
from ris_lib.data.verify.leaks import RECORD
from tests.data.conftest import ReferFolder

TO, FROM = "train of refcoco (unc), scored on refcocog (umd)", "train of refcocog (umd), scored on refcoco (unc)"


def write(root, name, cut, splits):
    """A data set whose refs on images 4, 9 and 4 are in the given splits."""
    folder = ReferFolder(root, name, cut)
    for ref, split in zip(folder.refs, splits, strict=True):
        ref["split"] = split
    return folder.write()


@pytest.fixture
def root(tmp_path):
    """RefCOCO trains on image 4 and 9; RefCOCOg holds 9 out and trains on 4; RefCOCO's val is on image 4 too."""
    write(tmp_path / "root", "refcocog", "umd", ("train", "test", "train"))
    return write(tmp_path / "root", "refcoco", "unc", ("train", "train", "train"))


def by_check(verdicts):
    return {verdict.check: verdict for verdict in verdicts}


def test_leaks_are_found_in_both_directions_and_named(root):
    verdicts = by_check(find_leaks(root, "refcoco", "unc"))
    assert verdicts[TO].state == "leaks"
    assert verdicts[TO].faults == ("image 9 in 'test'",)
    assert "of its 2 images 1 in 'test'. First: image 9" in str(verdicts[TO])
    assert verdicts[FROM].state == "cannot"
    assert "refcoco (unc) has no held-out split" in str(verdicts[FROM])
    write(root, "refcoco", "unc", ("val", "train", "val"))
    verdicts = by_check(find_leaks(root, "refcocog", "umd"))
    assert verdicts[FROM].faults == ("image 4 in 'val'",)
    assert verdicts[TO].state == "leaks"
    write(root, "refcoco", "unc", ("train", "test", "train"))
    assert by_check(find_leaks(root, "refcoco", "unc"))[TO].state == "ok"


def test_another_cut_of_the_same_set_leaks_too(root):
    write(root, "refcocog", "google", ("val", "train", "val"))
    verdicts = by_check(find_leaks(root, "refcocog", "umd"))
    assert verdicts["train of refcocog (umd), scored on refcocog (google)"].faults == ("image 4 in 'val'",)
    assert verdicts["train of refcocog (google), scored on refcocog (umd)"].faults == ("image 9 in 'test'",)


def test_sets_that_are_not_there_or_damaged_are_said(root):
    (root / "refcocog" / "refs(umd).p").write_bytes(b"no pickle")
    verdicts = find_leaks(root, "refcoco", "unc")
    assert {verdict.state for verdict in verdicts} == {"cannot"}
    text = " ".join(map(str, verdicts))
    assert "refs(umd).p is no readable pickle" in text
    assert text.count("the latter is not there") == 3
    with pytest.raises(ValueError, match="no readable pickle"):
        write_without_leaks(root, "refcoco", "unc", root.parent / "out")
    assert not (root.parent / "out").exists()
    with pytest.raises(FileNotFoundError, match=r"refs\(unc\)\.p"):
        find_leaks(root / "nowhere", "refcoco", "unc")


def test_the_list_without_leaks_is_read_by_the_loader(root):
    out = root.parent / "out"
    record = write_without_leaks(root, "refcoco", "unc", out)
    dataset = load_dataset("refcoco", "train", root=out)
    assert dataset.index.column("image_id") == [4, 4]
    assert dataset.counts() == record["after"] == {"images": 1, "refs": 2, "sentences": 4}
    assert dataset[0].image.shape == (20, 30, 3)
    assert record["before"] == {"images": 2, "refs": 3, "sentences": 5}
    assert record["left_out"] == {"refcocog (umd) test": [9]}
    assert record["compared_with"] == ["refcoco (unc)", "refcocog (umd)"]
    assert record["not_compared_with"] == ["refcoco (google)", "refcoco+ (unc)", "refcocog (google)"]
    assert json.loads((out / "refcoco" / RECORD).read_text()) == record
    assert (out / "refcoco" / "refs(unc).p").read_bytes().startswith(pickle.PROTO + b"\x02")
    assert {path.name for path in out.parent.iterdir()} >= {"out", "root"}
    assert not list(out.parent.glob(".partial*"))


def test_held_out_splits_and_everything_of_a_ref_are_kept(root):
    write(root, "refcoco", "unc", ("train", "train", "val"))
    out = root.parent / "out"
    out.mkdir()
    before = unpickle_refs(root / "refcoco" / "refs(unc).p")
    with pytest.raises(ValueError, match="nothing would be left"):  # image 4 is in its own val, 9 in RefCOCOg's test
        write_without_leaks(root, "refcoco", "unc", out)
    write(root, "refcocog", "umd", ("train", "train", "train"))
    write_without_leaks(root, "refcoco", "unc", out)
    assert unpickle_refs(out / "refcoco" / "refs(unc).p") == before[1:]


def test_cuts_that_nothing_is_scored_on_can_be_ignored_but_never_the_own(root):
    write(root, "refcocog", "google", ("val", "train", "val"))
    with pytest.raises(ValueError, match="nothing would be left"):
        write_without_leaks(root, "refcoco", "unc", root.parent / "out")
    record = write_without_leaks(root, "refcoco", "unc", root.parent / "out", ignore=["google"])
    assert record["left_out"] == {"refcocog (umd) test": [9]}
    assert "refcocog (google)" in record["not_compared_with"]
    write(root, "refcocog", "google", ("train", "val", "val"))
    with pytest.raises(ValueError, match="nothing would be left"):
        write_without_leaks(root, "refcocog", "google", root.parent / "own", ignore=["google"])


def test_nothing_is_overwritten(root):
    out = root.parent / "out"
    write_without_leaks(root, "refcoco", "unc", out)
    for place in (out, root, root / "refcoco" / "instances.json"):
        with pytest.raises(ValueError, match="exists and is not an empty folder"):
            write_without_leaks(root, "refcoco", "unc", place)
    with pytest.raises(ValueError, match="is a file and no folder"):
        write_without_leaks(root, "refcoco", "unc", root / "refcoco" / "instances.json" / "out")


def test_what_the_loader_refuses_is_not_passed_on(root):
    refs = unpickle_refs(root / "refcoco" / "refs(unc).p")
    (root / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps(refs + refs[:1]))
    with pytest.raises(ValueError, match="occurs twice"):
        write_without_leaks(root, "refcoco", "unc", root.parent / "out")
    write(root, "refcoco", "unc", ("val", "val", "val"))
    with pytest.raises(ValueError, match="has no ref in split 'train'"):
        write_without_leaks(root, "refcoco", "unc", root.parent / "out")
    assert not (root.parent / "out").exists()


def test_where_links_are_forbidden_it_says_what_to_do(root, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("a privilege is not held")

    monkeypatch.setattr("pathlib.Path.symlink_to", refuse)
    record = write_without_leaks(root, "refcoco", "unc", root.parent / "out")
    assert record["photographs"].startswith("not linked: move or copy")
    assert not (root.parent / "out" / "images").exists()


@pytest.mark.filterwarnings("ignore:.*have no mask")
def test_the_real_sets_share_images(real_data, tmp_path):
    root = real_data / "refcoco_text"
    verdicts = by_check(find_leaks(root, "refcoco", "unc"))
    assert verdicts[TO].state == "leaks"
    assert len(verdicts[TO].faults) == 7
    record = write_without_leaks(root, "refcoco", "unc", tmp_path / "out")
    train = load_dataset("refcoco", "train", root=tmp_path / "out")
    held_out = set(load_dataset("refcocog", "val", root=root).index.column("image_id"))
    assert len(load_dataset("refcoco", "train", root=root)) - len(train) == 7
    assert not set(train.index.column("image_id")) & held_out
    assert train.counts() == record["after"]
    assert load_dataset("refcoco", "val", root=tmp_path / "out").counts()["sentences"] == 10834
