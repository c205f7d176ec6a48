"""Overlays, checked pixel by pixel."""

import numpy as np
import pytest

from ris_lib.show.overlay import grow, overlay, ring
from ris_lib.show.palette import rgb


def picture(height=7, width=9, level=100):
    return np.full((height, width, 3), level, np.uint8)


def one_pixel(height=7, width=9, at=(3, 4)):
    mask = np.zeros((height, width), bool)
    mask[at] = True
    return mask


def test_object_keeps_its_pixels_the_rest_is_dimmed_the_contour_is_orange():
    drawn = overlay(picture(), one_pixel())
    expected = picture(level=40)
    expected[2:5, 3:6] = rgb("prediction")
    expected[3, 4] = 100
    np.testing.assert_array_equal(drawn, expected)


def test_target_contour_stands_one_line_further_out():
    drawn = overlay(picture(), one_pixel(), target=one_pixel())
    expected = picture(level=40)
    expected[1:6, 2:7] = rgb("target")
    expected[2:5, 3:6] = rgb("prediction")
    expected[3, 4] = 100
    np.testing.assert_array_equal(drawn, expected)


def test_contour_is_cut_at_the_border_of_the_picture():
    drawn = overlay(picture(2, 3), one_pixel(2, 3, (0, 0)), colour="target", dim=1.0)
    blue, black = rgb("target"), (0, 0, 0)
    np.testing.assert_array_equal(drawn, np.array([[(100,) * 3, blue, black], [blue, blue, black]], np.uint8))


@pytest.mark.parametrize(("side", "width"), [(96, 1), (400, 3), (640, 4)])
def test_contour_grows_with_the_picture(side, width):
    mask = one_pixel(side, side, (side // 2, side // 2))
    coloured = (overlay(picture(side, side), mask) == rgb("prediction")).all(axis=2)
    assert coloured.sum() == (2 * width + 1) ** 2 - 1


def test_an_empty_mask_dims_all_and_a_full_one_nothing():
    empty = np.zeros((7, 9), bool)
    np.testing.assert_array_equal(overlay(picture(), empty), picture(level=40))
    np.testing.assert_array_equal(overlay(picture(), ~empty), picture())
    np.testing.assert_array_equal(overlay(picture(), empty, dim=0.0), picture())


def test_the_input_is_left_alone():
    image, mask = picture(), one_pixel()
    overlay(image, mask, target=mask)
    assert (image == 100).all()
    assert mask.sum() == 1


def test_grow_equals_the_definition():
    mask = np.random.default_rng(0).random((11, 13)) > 0.95
    rows, columns = np.nonzero(mask)
    for by in (0, 1, 3):
        near = [
            [(np.maximum(abs(rows - y), abs(columns - x)) <= by).any() for x in range(mask.shape[1])]
            for y in range(mask.shape[0])
        ]
        np.testing.assert_array_equal(grow(mask, by), near)
    np.testing.assert_array_equal(ring(mask, 1, 3), grow(mask, 3) & ~grow(mask, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": np.zeros((7, 8), bool)}, "mask has 7 x 8 pixels .* the picture has 7 x 9"),
        ({"target": np.zeros((9, 7), bool)}, "target has 9 x 7 pixels"),
        ({"mask": np.zeros((7, 9), np.uint8)}, "array .7, 9. of uint8; expected .* of bool"),
        ({"mask": [[True]]}, "mask is a list"),
        ({"image": np.zeros((7, 9), np.uint8)}, r"expected an array \(height, width, 3\)"),
        ({"image": np.zeros((7, 9, 3))}, "of float64; expected"),
        ({"image": np.zeros((7, 9, 4), np.uint8)}, r"convert\(\"RGB\"\)"),
        ({"dim": 1.5}, "dim=1.5 lies outside"),
        ({"contour": -1}, "contour=-1 is negative"),
        ({"colour": "targat"}, "did you mean 'target'"),
    ],
)
def test_bad_input_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        overlay(**{"image": picture(), "mask": one_pixel()} | change)
