"""The data set is what it was: scenes and sentences exactly, pictures to two levels.

``scenes-v1`` is frozen when the first weights are trained on it, not before. Until then, after a change that is meant,

    python tests/data/test_scenes_reference.py

writes the reference anew.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from ris_lib.data.scenes import SPLITS, VERSION, draw, make_scene

FOLDER = Path(__file__).parent / "reference"
CHECKSUMS, PICTURES = FOLDER / f"{VERSION}.json", FOLDER / f"{VERSION}.npz"
SCENES, SIZE = 40, 48
DRAWN = [("train", 0), ("val", 4), ("testB", 2), ("compositional", 1)]


def checksum(split: str) -> str:
    scenes = [asdict(make_scene(split, index)) for index in range(SCENES)]
    return hashlib.sha256(json.dumps(scenes, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def drawn() -> dict[str, np.ndarray]:
    pictures = [draw(make_scene(split, index), SIZE) for split, index in DRAWN]
    return {"images": np.stack([image for image, _ in pictures]), "ids": np.stack([ids for _, ids in pictures])}


@pytest.mark.parametrize("split", SPLITS)
def test_scenes_and_sentences_are_exactly_the_same(split):
    assert checksum(split) == json.loads(CHECKSUMS.read_text())[split]


def test_pictures_are_the_same_to_two_levels_and_outlines_exactly():
    new = drawn()
    with np.load(PICTURES, allow_pickle=False) as old:
        assert np.abs(new["images"].astype(int) - old["images"]).max() <= 2
        assert np.array_equal(new["ids"], old["ids"])


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    CHECKSUMS.write_text(json.dumps({split: checksum(split) for split in SPLITS}, indent=2) + "\n")
    np.savez_compressed(PICTURES, **drawn())
