"""What can be scored without reading: the largest object, and any object, with the outlines that the scene knows.

    python -m studies.controls

Both are told every outline and choose one of them; neither is told the sentence. Real models have to find the outlines
too, so a model below these numbers need not be deaf, but one that is not above them has not been shown to listen.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ris_lib.data import load_dataset
from ris_lib.data.scenes import VERSION, draw
from ris_lib.engine.run import write_json
from ris_lib.metrics import Accumulator
from studies.run import ROOT
from studies.sentences import scene_of

#: Height and width of the pictures, and the splits.
SIDE, SPLITS = 96, ("val", "test")
RESULT = ROOT / "book" / "results" / "controls.json"

#: Chooses one of the id map's objects for a sentence: sizes in pixels by object id, and random numbers.
Choice = Callable[[np.ndarray, np.random.Generator], int]


def largest(sizes: np.ndarray, random: np.random.Generator) -> int:
    """The object of which most pixels are seen.

    Example:
        >>> largest(np.array([0, 5, 9, 2]), np.random.default_rng(0))
        2
    """
    return int(sizes.argmax())


def any_of_them(sizes: np.ndarray, random: np.random.Generator) -> int:
    """One of the objects that are seen, each as probable as the others.

    Example:
        >>> any_of_them(np.array([0, 0, 9, 0]), np.random.default_rng(0))
        2
    """
    return int(random.choice(np.flatnonzero(sizes)))


CHOICES: dict[str, Choice] = {"the largest object": largest, "any object": any_of_them}


def score(split: str, choose: Choice, seed: int = 0) -> dict:
    """mIoU and its company of a choice, under the protocol ``original``.

    Args:
        split: A split of the scenes.
        choose: Takes ``(objects + 1,)`` pixels by object id (0 at the surface) and random numbers, returns an id.
        seed: Of the random numbers and of the intervals.
    """
    dataset, random = load_dataset("scenes", split, size=SIDE), np.random.default_rng(seed)
    accumulator = Accumulator("original")
    for k in range(len(dataset)):
        sample = dataset[k]
        scene = scene_of(sample.image_id)
        ids = draw(scene, SIDE)[1]
        sizes = np.bincount(ids.ravel(), minlength=len(scene.objects) + 1)
        sizes[0] = 0
        for expression in sample.expressions:
            said, target = ids == choose(sizes, random), expression.mask()
            counts = [int((said & target).sum())], [int((said | target).sum())]
            accumulator.update(*counts, [sample.image_id], {"kind": [expression.kind]})
    return accumulator.result(seed=seed).to_dict()


def main() -> None:
    """Score all choices on all splits."""
    scores = {name: {split: score(split, choose) for split in SPLITS} for name, choose in CHOICES.items()}
    write_json(RESULT, {"data": {"version": VERSION, "size": SIDE}, "seed": 0, "scores": scores})


if __name__ == "__main__":
    main()
