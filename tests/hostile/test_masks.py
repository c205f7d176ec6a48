"""Run lengths and polygons: what reaches COCO's C code is a mask of its picture's size, and small."""

import json
import os
import struct
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as some
from pycocotools import mask as coco_mask

from ris_lib.data.segmentation import LONGEST_OUTLINE, to_rle
from tests.hostile.cases import DAMAGE, MEGABYTE, NUMBERS, VALUES, attempt, damaged, fuzz

#: Bytes for each pixel of a polygon's outline that pycocotools takes while it walks along it, and a little.
FOR_EACH_STEP = 100

SIZES = some.sampled_from([(1, 1), (20, 30), (61, 47), (1, 300), (480, 640)])


def read(segmentation, height: int, width: int, bound: int = 8 * MEGABYTE):
    rle, message = attempt(lambda: to_rle(segmentation, height, width), bound=bound)
    if rle is not None:
        assert rle["size"] == [height, width]
        assert coco_mask.decode(rle).shape == (height, width)
    return rle, message


def masks(height: int, width: int) -> list[bytes]:
    """Run lengths as COCO writes them."""
    drawn = np.random.default_rng(0).random((3, height, width)) < np.array([0.0, 0.1, 0.9])[:, None, None]
    return [coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"] for mask in drawn]


@fuzz(30, damage=DAMAGE, size=SIZES, as_text=some.booleans())
def test_damaged_run_lengths(damage, size, as_text):
    counts = damaged(masks(*size), damage)
    read({"size": list(size), "counts": counts.decode("latin1") if as_text else counts}, *size)


@fuzz(15, counts=some.text(some.characters(max_codepoint=130), max_size=40), size=SIZES)
def test_run_lengths_of_any_letters(counts, size):
    read({"size": list(size), "counts": counts}, *size)


@fuzz(
    10,
    runs=some.lists(some.one_of(NUMBERS, VALUES), max_size=8),
    size=some.one_of(SIZES, VALUES),
    whole=some.booleans(),
)
def test_lists_of_any_run_lengths(runs, size, whole):
    if whole:
        runs = [abs(run) % 600 for run in runs if isinstance(run, int)]
        runs.append(max(600 - sum(runs), 0))
    read({"size": [20, 30] if whole else size, "counts": runs}, 20, 30)


COORDINATES = some.one_of(
    some.floats(-5, 40),
    some.floats(),
    some.integers(-40, 100),
    some.sampled_from([float("nan"), float("inf"), -1e300, 1e9, 2**31, 2**32 / 5, -0.0, 5e-324, 1e-9, 10**400, 59.999]),
)
POLYGONS = some.lists(some.one_of(some.lists(COORDINATES, max_size=14), VALUES), max_size=3)


@fuzz(35, polygons=POLYGONS, size=SIZES)
def test_polygons_of_any_numbers(polygons, size):
    read(polygons, *size)


@fuzz(20, corners=some.lists(some.floats(-30, 60), min_size=6, max_size=40), size=SIZES)
def test_polygons_that_cross_themselves(corners, size):
    rle, _ = read([corners[: len(corners) // 2 * 2]], *size, bound=16 * MEGABYTE)
    if rle is not None:
        assert 0 <= coco_mask.area(rle) <= size[0] * size[1]


@fuzz(5, which=some.integers(0, 10_000), changed=COORDINATES, place=some.integers(0, 10_000))
def test_real_polygons_with_a_coordinate_changed(which, changed, place):
    polygons, height, width = real_polygons()[which % len(real_polygons())]
    polygons = [list(polygon) for polygon in polygons]
    polygons[place % len(polygons)][place % len(polygons[place % len(polygons)])] = changed
    read(polygons, height, width, bound=32 * MEGABYTE)


@cache
def real_polygons() -> list[tuple[list, int, int]]:
    """Polygons of COCO where they are; else one of our own."""
    found = [([[2.5, 2, 8, 2, 8, 8.5, 2, 8]], 20, 30)]
    for file in sorted(Path(os.environ.get("RIS_TEST_DATA") or "no/such/folder").rglob("instances_*.json"))[:1]:
        content = json.loads(file.read_bytes())
        sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
        for annotation in content["annotations"][:200]:
            if isinstance(annotation["segmentation"], list) and annotation["segmentation"]:
                found.append((annotation["segmentation"], *sizes[annotation["image_id"]]))
    return found


# What would fill the memory, or take for ever.


@pytest.mark.parametrize(
    ("polygon", "size"),
    [
        ([[0, 0, 1e8, 0, 1e8, 1]], (1, 100_000_000)),  # 500 million steps along one edge
        ([[0, 0, 9999, 9999] * 2000], (10_000, 10_000)),  # 40 million steps along a zigzag
        ([[0, 0, 9e7, 0, 9e7, 1]], (1, 90_000_000)),
    ],
)
def test_an_outline_has_a_longest_length(polygon, size):
    _, message = read(polygon, *size, bound=4 * MEGABYTE)
    assert f"{LONGEST_OUTLINE:,}" in message


def test_the_longest_outline_takes_a_stated_size():
    side = 1000
    turns = LONGEST_OUTLINE // (2 * side)
    zigzag = [value for k in range(turns) for value in (0, k * side // turns, side - 1, k * side // turns)]
    rle, message = read([zigzag], side, side, bound=FOR_EACH_STEP * LONGEST_OUTLINE)
    assert rle is not None, message


def test_a_number_without_end_is_refused_at_once():
    _, message = read({"size": [20, 30], "counts": b"o" * 1_000_000 + b"0"}, 20, 30)
    assert "longer than any picture" in message


def test_many_runs_of_no_length_take_little():
    read({"size": [20, 30], "counts": [0] * 100_000 + [600]}, 20, 30)
    read({"size": [20, 30], "counts": struct.pack("B", 48) * 100_000}, 20, 30)
