"""Figures: size, letters, description, and that the picture shows what it says."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from ris_lib.data.sample import Expression, Sample
from ris_lib.show import Picture, compare, show_samples
from ris_lib.show.palette import rgb


def sample(sentences=("the left ball",), with_mask=True, size=(40, 60)):
    mask = np.zeros(size, np.uint8, order="F")
    mask[10:20, 10:20] = 1
    rle = coco_mask.encode(mask) if with_mask else None
    expressions = tuple(
        Expression(text, 1, number, 1, "ball", "location", (10, 10, 20, 20), rle)
        for number, text in enumerate(sentences)
    )
    return Sample(np.full((*size, 3), 120, np.uint8), 1, expressions)


def pixels(figure):
    return np.asarray(Image.open(BytesIO(figure._repr_png_())).convert("RGB"))


def titles(figure):
    return [axis.get_title() for axis in figure.axes if axis.get_title()]


@pytest.fixture
def compared():
    target = np.zeros((40, 60), bool)
    target[10:20, 10:20] = True
    return compare(np.full((40, 60, 3), 120, np.uint8), np.roll(target, 5, axis=1), target, "the left ball")


@pytest.mark.parametrize("columns", [1, 3, 6])
def test_grid_is_at_most_700_pixels_wide_on_white_with_letters_of_9_points(columns):
    figure = show_samples([sample()] * 7, columns=columns)
    drawn = pixels(figure)
    assert drawn.shape[1] <= 700
    assert (drawn[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
    assert all(axis.title.get_fontsize() >= 9 for axis in figure.axes)
    assert titles(figure) == ["the left ball"] * 7 or columns == 6


def test_grid_says_which_sentences_it_shows():
    figure = show_samples([sample(["red one", "ball"]), sample(["star"])], expression=1)
    assert [title.replace("\n", " ") for title in titles(figure)] == ["ball", "star"]
    assert figure.ris_alt == '2 pictures, each with the object that its sentence means: "ball"; "star".'


def test_grid_draws_the_target_in_blue():
    assert (pixels(show_samples([sample()])) == rgb("target")).all(axis=2).any()


def test_comparison_counts_and_says_what_is_wrong(compared):
    assert compared.ris_alt == (
        'Target, prediction and errors for "the left ball": 50 pixels missed, 50 too many, IoU 0.33.'
    )
    assert titles(compared) == ["target", "prediction, IoU 0.33", "errors"]
    assert pixels(compared).shape[1] <= 700


def test_errors_are_exactly_the_pixels_that_differ(compared):
    errors = compared.axes[2].images[0].get_array()
    red = (errors == rgb("error")).all(axis=2)
    factor = errors.shape[0] // 40
    assert red[10 * factor : 20 * factor, 10 * factor : 15 * factor].all()
    # The target's contour, two pixels wide here, lies over the extra pixels that touch the target.
    assert red.sum() == 100 * factor**2 - 2 * 10 * factor


def test_two_empty_masks_count_zero():
    empty = np.zeros((40, 60), bool)
    assert "IoU 0.00" in compare(np.zeros((40, 60, 3), np.uint8), empty, empty, "nothing").ris_alt


def test_long_sentences_are_wrapped_not_cut():
    sentence = "the person in the red shirt that stands to the left of the checkered house at the very top"
    figure = show_samples([sample([sentence])] * 3)
    assert titles(figure)[0].replace("\n", " ") == sentence
    assert max(map(len, titles(figure)[0].split("\n"))) <= 32


def test_a_figure_shows_itself_without_pyplot():
    figure = show_samples([sample()])
    assert isinstance(figure, Picture)
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert figure.canvas.manager is None, "pyplot must not hold it, or notebooks would draw it twice"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: show_samples([]), "no sample to show"),
        (lambda: show_samples([sample()], columns=0), "expected 1 to 6"),
        (lambda: show_samples([sample(with_mask=False)]), "has no mask"),
        (
            lambda: compare(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), bool), np.zeros((4, 4), bool), "a"),
            "prediction has 4 x 5 pixels",
        ),
        (
            lambda: compare(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), bool), np.zeros((5, 4), bool), "a"),
            "target has 5 x 4 pixels",
        ),
        (
            lambda: compare(np.zeros((4, 4)), np.zeros((4, 4), bool), np.zeros((4, 4), bool), "a"),
            "the picture is an array",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
