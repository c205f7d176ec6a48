"""Each colour has one meaning, and the meanings stay apart for colour-blind readers."""

from itertools import combinations

import numpy as np
import pytest

from ris_lib.show.palette import PALETTE, rgb

# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
VISION = {
    "full": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(linear: np.ndarray) -> np.ndarray:
    """CIE Lab (D65) of a linear RGB colour: distances in it follow what an eye tells apart."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(linear, 0, 1) / [0.9505, 1.0, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
def test_colours_stay_apart(vision):
    seen = {}
    for meaning in PALETTE:
        value = np.array(rgb(meaning)) / 255
        linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
        seen[meaning] = lab(np.array(VISION[vision]) @ linear)
    for one, other in combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 15, f"{one} and {other} look alike with {vision}"


def test_meanings_are_the_four_of_the_book():
    assert set(PALETTE) == {"target", "prediction", "error", "words"}
    assert rgb("target") == (0, 114, 178)


def test_unknown_meaning_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'prediction'"):
        rgb("predicton")
