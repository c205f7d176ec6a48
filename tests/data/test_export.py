"""Drawn scenes in the official layout: our reader and others' read back what was drawn."""

import importlib.util
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from ris_lib.data import load_dataset
from ris_lib.data.export import export_scenes
from ris_lib.data.index import SCHEMA
from ris_lib.data.scenes import SPLITS
from ris_lib.data.scenes.vocabulary import CATEGORIES
from ris_lib.data.verify import read_files, verify_files

SCRIPT = Path(__file__).parents[2] / "data_scripts" / "export_scenes.py"
SMALL = {"size": 32, "limit": 2}


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("drawn")


@pytest.fixture(scope="module")
def exported(tmp_path_factory, cache) -> Path:
    """All splits, two small pictures each; read it only."""
    out = tmp_path_factory.mktemp("exported")
    export_scenes(out, cache=cache, **SMALL)
    return out


@pytest.mark.parametrize("split", SPLITS)
def test_our_reader_gets_back_every_column_and_every_pixel(exported, cache, split):
    drawn = load_dataset("scenes", split, root=cache, **SMALL)
    back = load_dataset("refcoco", split, root=exported)
    assert back.counts() == drawn.counts()
    for name in set(SCHEMA.names) - {"dataset", "split_by"}:
        assert back.index.column(name) == drawn.index.column(name), name
    for number in range(2):
        assert np.array_equal(back[number].image, drawn[number].image)
        assert back.expressions(number) == drawn.expressions(number)


def test_a_larger_picture_has_its_masks_bit_for_bit(tmp_path, cache):
    assert export_scenes(tmp_path / "out", ["testB"], 320, cache, 3)["testB"]["images"] == 3
    masks = [
        [expression.mask() for number in range(3) for expression in dataset.expressions(number)]
        for dataset in (
            load_dataset("scenes", "testB", root=cache, size=320, limit=3),
            load_dataset("refcoco", "testB", root=tmp_path / "out"),
        )
    ]
    assert len(masks[0]) == len(masks[1])
    assert all(mask.shape == (320, 320) and mask.any() for mask in masks[0])
    assert all(np.array_equal(*pair) for pair in zip(*masks, strict=True))


def test_a_reader_of_the_refer_toolkits_kind_gets_the_same(exported, cache):
    """Names, joins and masks as that toolkit does them: polygons decoded one by one and added up."""
    refs = pickle.loads((exported / "refcoco" / "refs(unc).p").read_bytes())
    instances = json.loads((exported / "refcoco" / "instances.json").read_text())
    images = {image["id"]: image for image in instances["images"]}
    annotations = {annotation["id"]: annotation for annotation in instances["annotations"]}
    categories = {category["id"]: category["name"] for category in instances["categories"]}
    assert list(categories.values()) == list(CATEGORIES)
    expected = {
        (split, ref["ref_id"]): ref
        for split in SPLITS
        for ref in load_dataset("scenes", split, root=cache, **SMALL).index.table.to_pylist()
    }
    assert [(ref["split"], ref["ref_id"]) for ref in refs] == list(expected)
    for ref, row in zip(refs, expected.values(), strict=True):
        annotation, image = annotations[ref["ann_id"]], images[ref["image_id"]]
        assert type(annotation["segmentation"][0]) is list
        parts = coco_mask.decode(coco_mask.frPyObjects(annotation["segmentation"], image["height"], image["width"]))
        mask = coco_mask.decode({"size": [32, 32], "counts": row["rle"]})
        assert np.array_equal(parts.sum(axis=2), mask), "one pixel under two polygons counts twice there"
        assert annotation["area"] == mask.sum()
        assert annotation["bbox"] == coco_mask.toBbox({"size": [32, 32], "counts": row["rle"]}).tolist()
        assert categories[ref["category_id"]] == categories[annotation["category_id"]] == row["category"]
        assert [entry["raw"] for entry in ref["sentences"]] == row["sentences"]
        assert [" ".join(entry["tokens"]) for entry in ref["sentences"]] == row["sentences"]
        assert ref["sent_ids"] == [entry["sent_id"] for entry in ref["sentences"]] == row["sentence_ids"]
        picture = exported / "images/mscoco/images/train2014" / image["file_name"]
        assert Image.open(picture).size == (image["width"], image["height"])


def test_cocos_own_reader_gets_the_same(exported, capsys):
    coco = COCO(exported / "refcoco" / "instances.json")
    dataset = load_dataset("refcoco", "val", root=exported)
    for number in range(2):
        for expression in dataset.expressions(number):
            assert np.array_equal(coco.annToMask(coco.anns[expression.referent_id]), expression.mask())


def test_the_self_test_of_official_files_finds_nothing_but_other_counts(exported):
    differing = {
        verdict.check for verdict in verify_files(read_files(exported, "refcoco")) if verdict.state == "differs"
    }
    assert differing == {
        "refs(unc).p is the published file",
        "no other split",
        *(f"split {split}" for split in ("train", "val", "testA", "testB")),
    }


def test_what_cannot_be_written_is_refused_before_anything_is_drawn(tmp_path, exported):
    before = sorted(os.listdir(exported))
    with pytest.raises(ValueError, match="exists and is not an empty folder"):
        export_scenes(exported, cache=tmp_path / "cache", **SMALL)
    assert sorted(os.listdir(exported)) == before
    with pytest.raises(ValueError, match=r"unknown split 'tests' of scenes; did you mean 'test'"):
        export_scenes(tmp_path / "out", ["val", "tests"], cache=tmp_path / "cache")
    with pytest.raises(ValueError, match="no split to write; name some of train, val"):
        export_scenes(tmp_path / "out", [], cache=tmp_path / "cache")
    with pytest.raises(ValueError, match="expected at least 1 scene"):
        export_scenes(tmp_path / "out", ["val"], cache=tmp_path / "cache", limit=0)
    assert os.listdir(tmp_path) == []


def test_a_failure_half_way_leaves_nothing(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(pickle, "dumps", None)
    with pytest.raises(TypeError):
        export_scenes(tmp_path / "out", ["val"], cache=cache, **SMALL)
    assert os.listdir(tmp_path) == []


def test_the_script(tmp_path, cache, capsys, monkeypatch):
    monkeypatch.setenv("RIS_CACHE", str(cache))
    spec = importlib.util.spec_from_file_location("export_scenes_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arguments = ["--out", str(tmp_path / "out"), "--split", "testA", "val", "--size", "32", "--limit", "2"]
    assert module.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    counts = load_dataset("refcoco", "testA", root=tmp_path / "out").counts()
    assert lines[0] == f"testA: 2 images, {counts['refs']} refs, {counts['sentences']} sentences"
    assert lines[1].startswith("val: 2 images, ")
    assert f"load_dataset('refcoco', 'testA', root='{tmp_path / 'out'}')" in lines[2]
    assert len(list((tmp_path / "out").rglob("*.png"))) == 4
    assert module.main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"export_scenes.py: {tmp_path / 'out'} exists and is not an empty folder")
