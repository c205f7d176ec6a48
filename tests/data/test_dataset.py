"""load_dataset: real counts, one sample per image, a cache that notices changes, clear answers to bad input."""

import os
import pickle
import subprocess
import sys
import time
import warnings
from collections import defaultdict

import numpy as np
import pytest
import torch
from PIL import Image

from ris_lib.data import load_dataset
from ris_lib.data.cache import cache_folder


def test_one_item_is_one_image_with_all_its_expressions(refer_folder):
    dataset = load_dataset("refcoco", "val", root=refer_folder.write())
    assert len(dataset) == 2
    assert dataset.counts() == {"images": 2, "refs": 3, "sentences": 5}
    sample = dataset[0]
    assert sample.image_id == 4
    assert sample.image.shape == (20, 30, 3)
    assert sample.image.dtype == np.uint8
    assert sample.size == (20, 30)
    assert [expression.sentence for expression in sample.expressions] == [
        "right cup", "Right cup", "the cup on the right", "left cup",
    ]  # fmt: skip
    assert [expression.ref_id for expression in sample.expressions] == [2, 2, 2, 1]
    assert [expression.referent_id for expression in sample.expressions] == [62, 62, 62, 71]
    assert [expression.sentence_id for expression in sample.expressions] == [200, 201, 202, 100]
    assert sample.expressions[3].category == "cup"
    assert sample.expressions[3].box == (2.0, 2.0, 8.0, 8.0)
    assert sample.expressions[3].mask()[2:8, 2:8].all()
    assert sample.expressions[3].mask().sum() == 36
    assert dataset.expressions(0) == sample.expressions
    assert dataset[-1].image_id == dataset[1].image_id == 9
    assert dataset.sentences() == [e.sentence for k in range(2) for e in dataset[k].expressions]
    with pytest.raises(IndexError):
        dataset[2]
    assert len(list(dataset)) == 2
    assert (dataset.name, dataset.split, dataset.split_by) == ("refcoco", "val", "unc")
    assert "refs(unc).p" in dataset.seed_info["refs"]
    assert "refcoco (unc) val" in repr(dataset)


def test_limit_keeps_the_first_images(refer_folder):
    root = refer_folder.write()
    dataset = load_dataset("refcoco", "val", root=root, limit=1)
    assert dataset.counts() == {"images": 1, "refs": 2, "sentences": 4}
    assert dataset[0].image_id == 4
    assert len(load_dataset("refcoco", "val", root=root, limit=9)) == 2
    with pytest.raises(ValueError, match="limit is 0"):
        load_dataset("refcoco", "val", root=root, limit=0)


def test_photographs_may_be_in_the_older_layout(refer_folder):
    dataset = load_dataset("refcoco", "val", root=refer_folder.write("images/mscoco/images/train2014"))
    assert dataset[1].image.mean() == pytest.approx(180, abs=2)


def test_splits_and_names_are_exact(refer_folder):
    root = refer_folder.write()
    with pytest.raises(ValueError, match=r"unknown split 'vall' of refcoco \(unc\).*; did you mean 'val'\? Known: val"):
        load_dataset("refcoco", "vall", root=root)
    with pytest.raises(ValueError, match=r"unknown data set 'refcoc'; did you mean 'refcoco"):
        load_dataset("refcoc", "val", root=root)
    with pytest.raises(ValueError, match=r"unknown split_by 'umd' of refcoco\+"):
        load_dataset("refcoco+", "val", root=root, split_by="umd")
    with pytest.raises(FileNotFoundError, match=r"refs\(umd\)\.p"):
        load_dataset("refcocog", "val", root=root)
    with pytest.raises(FileNotFoundError, match=r"refs\(google\)\.p"):
        load_dataset("refcocog", "val", root=root, split_by="google")
    with pytest.raises(ValueError, match="needs root"):
        load_dataset("refcoco", "val")
    with pytest.raises(ValueError, match="size=96"):
        load_dataset("refcoco", "val", root=root, size=96)
    with pytest.raises(ValueError, match="split_by='unc'"):
        load_dataset("scenes", "val", split_by="unc")
    with pytest.raises(ValueError, match=r"unknown split 'testC' of scenes; did you mean"):
        load_dataset("scenes", "testC")


def test_a_missing_folder_says_what_was_expected(tmp_path):
    expected = r"expected .*nowhere.refcoco.refs\(unc\)\.p.* data_scripts.download\.py .* the official files"
    with pytest.raises(FileNotFoundError, match=expected):
        load_dataset("refcoco", "val", root=tmp_path / "nowhere")


def test_missing_and_spoilt_photographs_are_named(refer_folder):
    dataset = load_dataset("refcoco", "val", root=refer_folder.write())
    photo = refer_folder.root / "images/train2014/COCO_train2014_000000000004.jpg"
    whole = photo.read_bytes()
    photo.write_bytes(whole[:-40])
    with pytest.raises(ValueError, match=r"000000000004\.jpg cannot be read"):
        dataset[0]
    photo.unlink()
    with pytest.raises(FileNotFoundError, match=r"train2014_000000000004\.jpg or .*mscoco.*COCO's train2014"):
        dataset[0]
    Image.new("RGB", (20, 30)).save(photo)
    with pytest.raises(ValueError, match=r"is 30 x 20 .*made for 20 x 30"):
        dataset[0]


def test_annotations_are_drawn_on_the_stored_pixels(refer_folder):
    dataset = load_dataset("refcoco", "val", root=refer_folder.write())
    photo = refer_folder.root / "images/train2014/COCO_train2014_000000000004.jpg"
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    level = np.zeros((20, 30, 3), dtype=np.uint8)
    level[:10] = 255
    Image.fromarray(level).save(photo, exif=exif, quality=95)
    assert dataset[0].image[:8].mean() > 240


def test_refs_without_a_mask_warn_once_and_can_be_read(refer_folder):
    refer_folder.annotations[0]["segmentation"] = []
    refer_folder.annotations[1]["segmentation"] = []
    with pytest.warns(UserWarning, match=r"2 of 3 refs of refcoco \(unc\) val have no mask") as caught:
        dataset = load_dataset("refcoco", "val", root=refer_folder.write())
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert len(dataset.sentences()) == 5
    assert dataset[0].expressions[0].mask().any()
    with pytest.raises(ValueError, match=r"ref 1 .'left cup'. has no mask"):
        dataset[0].expressions[3].mask()


def test_a_changed_file_is_read_again_and_a_damaged_index_made_again(refer_folder):
    root = refer_folder.write()
    load_dataset("refcoco", "val", root=root)
    before = set((cache_folder() / "refer").glob("refcoco-unc-*.arrow"))
    refer_folder.refs[0]["sentences"][0]["sent"] = "changed cup"
    dataset = load_dataset("refcoco", "val", root=refer_folder.write())
    sentences = dataset.sentences()
    assert sentences[0] == "changed cup"
    (new,) = set((cache_folder() / "refer").glob("refcoco-unc-*.arrow")) - before
    del dataset  # it has the file mapped into memory
    new.write_bytes(b"not an index")
    assert load_dataset("refcoco", "val", root=root).sentences() == sentences


def test_bad_files_leave_nothing_in_the_cache(refer_folder):
    refer_folder.refs[0]["ann_id"] = 5
    folder = cache_folder() / "refer"
    before = set(folder.glob("*.arrow")) if folder.is_dir() else set()
    for _ in range(2):
        with pytest.raises(ValueError, match="ann_id 5"):
            load_dataset("refcoco", "val", root=refer_folder.write())
    assert set(folder.glob("*.arrow")) == before
    assert not list(folder.glob("*partial*"))


def test_worker_processes_see_the_same_samples(refer_folder):
    dataset = load_dataset("refcoco", "val", root=refer_folder.write())
    again = pickle.loads(pickle.dumps(dataset))
    assert again[0].expressions == dataset[0].expressions
    loader = torch.utils.data.DataLoader(dataset, batch_size=1, num_workers=1, collate_fn=lambda samples: samples)
    assert [batch[0].image_id for batch in loader] == [4, 9]


def test_scenes_give_the_same_kind_of_sample(tmp_path):
    dataset = load_dataset("scenes", "val", root=tmp_path, size=48, limit=3)
    assert len(dataset) == 3
    assert dataset.split_by == ""
    assert dataset.seed_info["size"] == 48
    sample = dataset[2]
    assert sample.image.shape == (48, 48, 3)
    assert sample.image.dtype == np.uint8
    assert sample.image.flags.writeable
    assert all(expression.mask().any() for expression in sample.expressions)
    assert all(expression.kind for expression in sample.expressions)
    data = pickle.dumps(dataset)
    assert len(data) < 60_000
    assert (pickle.loads(data)[2].image == sample.image).all()


@pytest.mark.parametrize(
    ("name", "split", "images", "refs", "sentences"),
    [
        ("refcoco", "val", 4, 11, 30),
        ("refcoco", "testA", 2, 6, 18),
        ("refcoco", "testB", 3, 6, 20),
        ("refcoco+", "train", 13, 35, 100),
        ("refcoco+", "val", 4, 11, 33),
        ("refcoco+", "testA", 2, 6, 16),
        ("refcoco+", "testB", 3, 6, 18),
        ("refcocog", "val", 5, 11, 20),
    ],
)
def test_counts_of_the_small_real_set(name, split, images, refs, sentences, real_data):
    dataset = load_dataset(name, split, root=real_data / "mini_refcoco")
    assert dataset.counts() == {"images": images, "refs": refs, "sentences": sentences}
    for k in range(len(dataset)):
        sample = dataset[k]
        for expression in sample.expressions:
            mask = expression.mask()
            assert mask.shape == sample.size
            x_min, y_min, x_max, y_max = expression.box
            rows, columns = np.nonzero(mask)
            assert rows.min() >= y_min - 1.5
            assert rows.max() <= y_max + 1.5
            assert columns.min() >= x_min - 1.5
            assert columns.max() <= x_max + 1.5


@pytest.mark.parametrize(
    ("name", "split", "images", "refs", "sentences"),
    [
        ("refcoco", "train", 169, 432, 1222),
        ("refcoco", "val", 1500, 3811, 10834),
        ("refcoco", "testA", 750, 1975, 5657),
        ("refcoco+", "val", 1500, 3805, 10758),
        ("refcoco+", "testA", 750, 1975, 5726),
        ("refcocog", "val", 853, 1673, 3176),
    ],
)
def test_counts_of_the_official_splits_and_speed_of_the_second_load(name, split, images, refs, sentences, real_data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load_dataset(name, split, root=real_data / "refcoco_text")
        start = time.perf_counter()
        dataset = load_dataset(name, split, root=real_data / "refcoco_text")
        seconds = time.perf_counter() - start
    assert dataset.counts() == {"images": images, "refs": refs, "sentences": sentences}
    assert len(dataset.sentences()) == sentences
    assert seconds < 0.5


@pytest.mark.filterwarnings("ignore:.*have no mask")
@pytest.mark.parametrize(("split", "sentences", "refs", "unsolvable"), [("val", 566, 497, 3), ("testA", 308, 260, 1)])
def test_duplicate_sentences_are_as_many_as_were_measured(split, sentences, refs, unsolvable, real_data):
    """Within one ref, upper case aside; and one text for two refs of an image."""
    index = load_dataset("refcoco", split, root=real_data / "refcoco_text").index
    repeats, owners = [], defaultdict(set)
    for row in index.rows(range(len(index))):
        texts = [text.lower() for text in row["sentences"]]
        repeats.append(len(texts) - len(set(texts)))
        for text in texts:
            owners[row["image_id"], text].add(row["ref_id"])
    assert (sum(repeats), sum(map(bool, repeats))) == (sentences, refs)
    assert sum(len(refs) > 1 for refs in owners.values()) == unsolvable


@pytest.mark.filterwarnings("ignore:.*have no mask")
@pytest.mark.parametrize(
    ("folder", "name", "splits"),
    [
        ("refcoco_text", "refcoco", ("train", "val", "testA")),
        ("refcoco_text", "refcoco+", ("val", "testA")),
        ("mini_refcoco", "refcoco+", ("train", "val", "testA", "testB")),
    ],
)
def test_no_picture_stands_in_two_splits(folder, name, splits, real_data):
    images = [set(load_dataset(name, split, root=real_data / folder).index.column("image_id")) for split in splits]
    assert len(set.union(*images)) == sum(map(len, images))


def test_a_fresh_process_loads_the_index_without_pandas(refer_folder):
    """pyarrow imports pandas, which takes a second, wherever it is handed numpy arrays."""
    root = refer_folder.write()
    load_dataset("refcoco", "val", root=root)
    code = (
        "import sys; from ris_lib.data import load_dataset; "
        f"load_dataset('refcoco', 'val', root={os.fspath(root)!r}).counts(); assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_reading_the_index_does_not_need_write_access_to_the_root(refer_folder):
    root = refer_folder.write()
    before = sorted(path.relative_to(root) for path in root.rglob("*"))
    load_dataset("refcoco", "val", root=os.fspath(root))
    assert sorted(path.relative_to(root) for path in root.rglob("*")) == before
