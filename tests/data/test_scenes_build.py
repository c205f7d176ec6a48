"""The data set on disk."""

import os
import time

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from ris_lib.data.index import load_index
from ris_lib.data.scenes import SPLITS, build, build_scenes, draw, make_scene
from ris_lib.data.scenes.build import FIRST_IMAGE_ID, INDEX, PICTURES, scene_rows


def test_the_folder_holds_what_is_drawn(tmp_path):
    folder = build_scenes("val", size=48, cache=tmp_path, limit=3, progress=False)
    assert sorted(os.listdir(folder)) == [INDEX, PICTURES]
    pictures, index = np.load(folder / PICTURES, mmap_mode="r"), load_index(folder / INDEX)
    groups = index.by_image()
    assert pictures.shape == (3, 48, 48, 3)
    assert len(groups) == 3
    for number, group in enumerate(groups):
        scene = make_scene("val", number)
        image, ids = draw(scene, 48)
        assert np.array_equal(pictures[number], image)
        rows = index.rows(group)
        assert [sentence for row in rows for sentence in row["sentences"]] == [e.sentence for e in scene.expressions]
        for row in rows:
            target = row["referent_id"] - 16 * row["image_id"]
            mask = coco_mask.decode({"size": [48, 48], "counts": row["rle"]})
            assert np.array_equal(mask, ids == target + 1)
            below, right = np.argwhere(mask).max(axis=0) + 1
            assert row["box"][2:] == [right, below]
            assert row["category"] == scene.objects[target].category


def test_a_second_load_is_instant_and_what_is_drawn_serves_every_smaller_limit(tmp_path, monkeypatch):
    monkeypatch.setitem(SPLITS, "val", 4)
    some = build_scenes("val", size=32, cache=tmp_path, limit=2, progress=False)
    assert build_scenes("val", size=32, cache=tmp_path, limit=1, progress=False) == some
    folder = build_scenes("val", size=32, cache=tmp_path, progress=False)
    assert folder != some
    before = time.perf_counter()
    assert build_scenes("val", size=32, cache=tmp_path, limit=3, progress=False) == folder
    assert time.perf_counter() - before < 0.5
    assert build_scenes("val", size=48, cache=tmp_path, limit=1, progress=False) not in (some, folder)


@pytest.mark.slow
def test_several_processes_draw_the_same(tmp_path, monkeypatch):
    alone = build_scenes("testA", size=32, cache=tmp_path / "one", limit=5, progress=False)
    monkeypatch.setattr(build, "_SCENES_PER_WORKER", 2)
    shared = build_scenes("testA", size=32, cache=tmp_path / "two", limit=5, workers=2, progress=False)
    assert sorted(os.listdir(shared)) == [INDEX, PICTURES]
    assert np.array_equal(np.load(alone / PICTURES), np.load(shared / PICTURES))
    assert load_index(alone / INDEX).table.equals(load_index(shared / INDEX).table)


@pytest.mark.slow
def test_a_failed_process_is_told_and_nothing_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_SCENES_PER_WORKER", 1)
    monkeypatch.setattr(build, "PICTURES", "elsewhere.npy")
    with pytest.raises(ChildProcessError, match=r"drawing val failed: FileNotFoundError: .*pictures\.npy"):
        build_scenes("val", size=32, cache=tmp_path, limit=2, workers=2, progress=False)
    assert [name for name in os.listdir(tmp_path / "scenes") if not name.endswith(".lock")] == []


def test_ids_never_meet():
    seen = set()
    for split in SPLITS:
        for index in (0, SPLITS[split] - 1):
            scene = make_scene(split, index)
            rows = scene_rows(scene, draw(scene, 32)[1])
            numbers = {row["referent_id"] for row in rows}
            assert not numbers & seen
            assert min(numbers) >= 16 * FIRST_IMAGE_ID > 10**12
            sentence_ids = [number for row in rows for number in row["sentence_ids"]]
            assert len(set(sentence_ids)) == len(sentence_ids)
            assert max(sentence_ids) < 2**53
            seen |= numbers


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"split": "tset"}, "did you mean 'test'"),
        ({"size": 8}, "expected a whole number from 32"),
        ({"limit": 0}, "expected at least 1 scene"),
        ({"workers": 0}, "expected at least 1 process"),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything_is_written(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        build_scenes(**({"split": "val", "cache": tmp_path, "progress": False} | wrong))
    assert os.listdir(tmp_path) == []
