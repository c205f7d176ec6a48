"""A made-up RefCOCO of full size, or several times that, in the official files: what ``ris bench index`` reads.

The official files cannot be assumed on every machine; loading times depend on how much is in them and not on what it
says. Numbers of images, refs and sentences of each split are the official ones, boxes and polygons have COCO's size and
number of corners, sentences have RefCOCO's length and words of BERT's vocabulary, frequent ones more often. Nobody can
learn anything from it.

Source: our decision; the counts are ``ris_lib.data.verify.counts.OFFICIAL``.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ris_lib.data.cache import check_new_folder
from ris_lib.data.tokenizers.wordpiece import VOCABULARY
from ris_lib.data.verify.counts import OFFICIAL, Counts

#: The data set and cut whose names and counts it has.
NAME, SPLIT_BY = "refcoco", "unc"
#: Objects of RefCOCO's ``instances.json`` (all of its images' objects, whether or not a sentence means them).
ANNOTATIONS = 196_771

_HEIGHT, _WIDTH = 480, 640
_CORNERS = 8, 33  # of a polygon, the second excluded
_WORDS = (0.12, 0.2, 0.24, 0.18, 0.12, 0.07, 0.04, 0.03)  # how many sentences have one word, two words, ...
_VOCABULARY = 3000


class KnownCounts(Counts):
    """Counts of which none is left open."""

    images: int
    sentences: int


def write_refcoco(out: str | Path, scale: int = 1, divide: int = 1) -> dict[str, KnownCounts]:
    """Write ``refs(unc).p`` and ``instances.json``; ``load_dataset("refcoco", split, root=out)`` reads them.

    There are no photographs: sentences, boxes and masks can be read, pictures cannot. The same numbers give the same
    bytes.

    Args:
        out: Folder to make; it may exist if it is empty.
        scale: Times RefCOCO's size.
        divide: Write one part in so many: for tests.

    Returns:
        What each split holds.

    Raises:
        ValueError: ``scale`` or ``divide`` is below 1, a split would be empty, or ``out`` holds something.

    Example:
        >>> import tempfile
        >>> print(write_refcoco(tempfile.mkdtemp(), divide=100)["train"])
        169 images, 424 refs, 1,206 sentences
    """
    for name, value in (("scale", scale), ("divide", divide)):
        if value < 1:
            raise ValueError(f"{name}={value}; expected a whole number of at least 1.")
    counts = {
        split: KnownCounts(*(value * scale // divide for value in official if value is not None))
        for split, official in OFFICIAL[NAME, SPLIT_BY].items()
    }
    if not all(min(c.images, c.refs, c.sentences) for c in counts.values()):
        raise ValueError(f"scale={scale}, divide={divide}; a split would have no picture. Take a larger part.")
    check_new_folder(out)
    folder = Path(out) / NAME
    folder.mkdir(parents=True)
    of_image = [(split, n) for split, c in counts.items() for n in _spread(c.refs, c.images)]
    of_ref = [n for c in counts.values() for n in _spread(c.sentences, c.refs)]
    generator = np.random.default_rng(0)
    refs = list(_refs(of_image, of_ref, generator))
    images = [{"id": k, "file_name": _file_name(k), "height": _HEIGHT, "width": _WIDTH} for k in range(len(of_image))]
    unasked = max(0, ANNOTATIONS * scale // divide - len(refs))
    owners = [ref["image_id"] for ref in refs] + [k % len(images) for k in range(unasked)]
    generator.shuffle(refs)  # the official file has neither splits nor images together
    (folder / f"refs({SPLIT_BY}).p").write_bytes(pickle.dumps(refs, protocol=2))
    with (folder / "instances.json").open("w", encoding="ascii") as file:
        file.write(f'{{"images": {json.dumps(images)}, "categories": [{{"id": 1, "name": "thing"}}], "annotations": [')
        for number, annotation in enumerate(_annotations(owners, generator)):
            file.write(", " * bool(number) + json.dumps(annotation))
        file.write("]}")
    return counts


def _spread(total: int, places: int) -> list[int]:
    """``total`` things over so many places, as evenly as whole numbers allow."""
    return np.diff(np.arange(places + 1) * total // places).tolist()


def _file_name(image: int) -> str:
    return f"COCO_train2014_{image:012d}.jpg"


def _refs(of_image: list[tuple[str, int]], of_ref: list[int], generator: np.random.Generator) -> Iterator[dict]:
    """The refs in the order of their images; the annotation of ref k is annotation k."""
    sentences = _sentences(sum(of_ref), generator)
    ref = sentence = 0
    for image, (split, count) in enumerate(of_image):
        for _ in range(count):
            numbers = range(sentence, sentence + of_ref[ref])
            yield {
                "ref_id": ref,
                "ann_id": ref,
                "image_id": image,
                "category_id": 1,
                "split": split,
                "sentences": [
                    {"sent": text, "raw": text, "sent_id": k, "tokens": text.split()}
                    for k, text in zip(numbers, sentences[numbers.start : numbers.stop])
                ],
                "sent_ids": list(numbers),
                "file_name": _file_name(image).replace(".jpg", f"_{ref}.jpg"),
            }
            ref, sentence = ref + 1, numbers.stop


def _sentences(count: int, generator: np.random.Generator) -> list[str]:
    """Sentences of frequent words: the k-th word of a list comes about 1/k times as often as the first."""
    pieces = VOCABULARY.read_text(encoding="utf-8").split()
    words = [piece for piece in pieces if piece.isascii() and piece.isalpha() and len(piece) > 2][:_VOCABULARY]
    lengths = generator.choice(len(_WORDS), count, p=_WORDS) + 1
    often = 1 / np.arange(1, len(words) + 1)
    drawn = iter(generator.choice(len(words), lengths.sum(), p=often / often.sum()).tolist())
    return [" ".join(words[next(drawn)] for _ in range(length)) for length in lengths.tolist()]


def _annotations(owners: list[int], generator: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Objects with one polygon each: corners around a centre, at distances that vary."""
    centres = generator.uniform((100, 100), (_WIDTH - 100, _HEIGHT - 100), (len(owners), 2))
    radii = generator.uniform(15, 140, len(owners))
    for number, (image, centre, radius) in enumerate(zip(owners, centres, radii)):
        corners = generator.integers(*_CORNERS)
        angles = 2 * np.pi * np.arange(corners) / corners
        distances = radius * generator.uniform(0.6, 1, corners)
        points = centre + distances[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        points = points.clip(0, (_WIDTH, _HEIGHT)).round(2)
        low, high = points.min(axis=0), points.max(axis=0)
        yield {
            "id": number,
            "image_id": image,
            "category_id": 1,
            "segmentation": [points.ravel().tolist()],
            "area": round(float(np.prod(high - low)) * 0.7, 2),
            "bbox": [*low.tolist(), *(high - low).round(2).tolist()],
            "iscrowd": 0,
        }
