"""Masks as polygons along the edges of pixels: there and back without a pixel's difference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from ris_lib.data.segmentation import to_polygons, to_rle


@given(arrays(bool, some.tuples(some.integers(1, 9), some.integers(1, 9))))
def test_any_mask_comes_back_and_no_pixel_is_covered_twice(mask):
    polygons = to_polygons(mask)
    if not mask.any():
        assert polygons == []
        return
    parts = coco_mask.decode(coco_mask.frPyObjects(polygons, *mask.shape))
    assert np.array_equal(parts.sum(axis=2), mask)
    assert np.array_equal(coco_mask.decode(to_rle(polygons, *mask.shape)), mask)


@pytest.mark.parametrize(
    ("rows", "pieces"),
    [
        (["###", "###"], 1),
        ([".#.", "###", ".#."], 1),
        (["#.", ".#"], 2),
        (["###", "#.#", "###"], 4),  # the column before the hole, above, below, after
        (["#..#", "####"], 1),
        (["##", "..", "##"], 2),
    ],
)
def test_a_polygon_goes_on_until_runs_part_or_meet(rows, pieces):
    mask = np.array([[letter == "#" for letter in row] for row in rows])
    assert len(to_polygons(mask)) == pieces


def test_a_rectangle_has_four_corners():
    mask = np.zeros((5, 7), dtype=bool)
    mask[1:4, 2:6] = True
    assert to_polygons(mask) == [[2, 1, 6, 1, 6, 4, 2, 4]]
