"""Shapes, outlines and pictures."""

import math

import numpy as np
import pytest

from ris_lib.data.scenes import SceneObject, draw, figures, make_scene, shapes
from ris_lib.data.scenes.backgrounds import draw_background
from ris_lib.data.scenes.bits import Bits
from ris_lib.data.scenes.layout import draw_order
from ris_lib.data.scenes.silhouettes import outline, turn, visible_areas
from ris_lib.data.scenes.vocabulary import CATEGORIES, SURFACES


def points(*pairs):
    return np.array([[u for u, _ in pairs]], float), np.array([[v for _, v in pairs]], float)


def test_distances_by_hand():
    u, v = points((3, 4), (0, 0), (1, 0))
    assert shapes.circle(u, v, 0, 0, 1).tolist() == [[4, -1, 0]]
    assert shapes.box(u, v, 0, 0, 1, 2).tolist() == [[math.sqrt(8), -1, 0]]
    assert shapes.capsule(u, v, (0, 0), (3, 0), 1).tolist() == [[3, -1, -1]]
    assert shapes.ring(shapes.circle(u, v, 0, 0, 1), 0.5).tolist() == [[3.5, 0.5, -0.5]]
    square = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    for corners in (square, square[::-1]):
        assert shapes.polygon(u, v, corners).tolist() == [[math.sqrt(4 + 9), -1, 0]]


def test_an_ellipse_is_right_on_its_outline_and_near_it():
    angle = np.linspace(0, 2 * np.pi, 33)
    for scale, expected in ((1, 0), (1.02, 0.02)):
        distance = shapes.ellipse(scale * 2 * np.cos(angle), scale * np.sin(angle), 0, 0, 2, 1)
        assert np.allclose(distance[[0, 8]], [2 * expected, expected], atol=1e-3)
        assert (distance >= -1e-6).all()
    assert shapes.ellipse(*points((0, 0)), 0, 0, 2, 1).item() < -0.5, "the centre is inside"


def test_a_concave_polygon_has_its_notches():
    u, v = points((0, 0), (0, -0.9), (0.5, -0.6), (0, 0.7))
    assert (shapes.polygon(u, v, figures.STAR) < 0).tolist() == [[True, True, False, False]]


def test_star_and_turns_are_the_rounded_sines():
    for k, (u, v) in enumerate(figures.STAR):
        radius = 0.44 if k % 2 else 0.95
        assert u == pytest.approx(radius * math.sin(k * math.pi / 5), abs=6e-5)
        assert v == pytest.approx(-radius * math.cos(k * math.pi / 5), abs=6e-5)
    for degrees in range(-15, 16):
        expected = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        assert turn(degrees) == pytest.approx(expected, abs=2**-14)


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_figure_fits_its_square(category):
    inside = outline(category, False)
    border = np.concatenate([inside[:4].ravel(), inside[-4:].ravel(), inside[:, :4].ravel(), inside[:, -4:].ravel()])
    assert not border.any()
    assert 0.15 < inside.mean() < 0.6


def test_the_lower_object_covers_the_upper_one():
    far = SceneObject("ball", "red", "plain", "large", radius=150, x=500, y=480)
    near = SceneObject("ball", "blue", "plain", "small", radius=80, x=500, y=560)
    assert draw_order([near, far]) == [1, 0]
    (seen, whole), (part, all_of_it) = visible_areas([near, far], draw_order([near, far]))
    assert seen == whole
    assert 0.8 * seen < all_of_it - part < seen, "the small ball lies on the large one, but for a little"
    assert seen == pytest.approx(math.pi * (0.88 * 0.08 * 96) ** 2, rel=0.05)


@pytest.mark.parametrize("size", [32, 65, 96])
def test_a_picture_has_the_size_asked_for_and_shows_every_object(size):
    scene = make_scene("val", 5)
    image, ids = draw(scene, size)
    assert image.shape == (size, size, 3)
    assert image.dtype == ids.dtype == np.uint8
    assert ids.shape == (size, size)
    assert set(np.unique(ids)) == set(range(len(scene.objects) + 1))


def test_a_scene_is_the_same_at_every_size():
    scene = make_scene("test", 1)
    (small, small_ids), (large, large_ids) = draw(scene, 96), draw(scene, 288)
    assert (small_ids == large_ids[1::3, 1::3]).mean() > 0.995
    shrunk = large.reshape(96, 3, 96, 3, 3).mean((1, 3))
    assert np.abs(shrunk - small).mean() < 8


def test_a_target_is_where_its_object_stands():
    scene = make_scene("test", 2)
    _, ids = draw(scene, 200)
    for number, thing in enumerate(scene.objects):
        rows, columns = np.nonzero(ids == number + 1)
        assert abs(rows.mean() * 5 - thing.y) < thing.radius
        assert abs(columns.mean() * 5 - thing.x) < thing.radius


@pytest.mark.parametrize("surface", SURFACES)
def test_surfaces_are_quiet_and_repeatable(surface):
    picture = draw_background(surface, Bits(3), 64)
    assert picture.shape == (3, 64, 64)
    assert picture.dtype == np.float32
    assert np.isfinite(picture).all()
    assert picture.std(axis=(1, 2)).max() < 40
    assert np.array_equal(picture, draw_background(surface, Bits(3), 64))
    assert not np.array_equal(picture, draw_background(surface, Bits(4), 64))


@pytest.mark.parametrize("size", [0, 31, 2049, 96.0, "96"])
def test_a_size_that_cannot_be_drawn_is_refused(size):
    with pytest.raises(ValueError, match="expected a whole number from 32 to 2048"):
        draw(make_scene("val", 0), size)
