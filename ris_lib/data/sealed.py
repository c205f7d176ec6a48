"""A split of scenes that only the holder of a key can draw, to score work on pictures that nobody has seen.

The scenes are of the kind of ``test``. Their seeds come from the key, by SHA-256: whoever does not have it cannot draw
them, however often the rest of the program is read. They are drawn anew each time, into a folder that is gone
afterwards, and never into the cache, where others might find them.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ris_lib.data.dataset import PictureArray, ReferringDataset
from ris_lib.data.index import Index
from ris_lib.data.scenes import SPLITS, VERSION, draw, make_scene
from ris_lib.data.scenes.build import scene_rows

#: The kind of its scenes.
KIND = "test"
#: Name of the split, in results and files.
SEALED = "sealed"
#: Shorter keys can be guessed.
LEAST_LETTERS = 16


def read_key(path: str | Path) -> str:
    """The key in a text file, without the white space around it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds no text, or too little to be a secret.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no key {path}; make one with: python -c 'import secrets; print(secrets.token_hex(32))' > {path}"
        )
    try:
        key = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text; expected a key, for example 64 letters and digits.") from error
    if len(key) < LEAST_LETTERS:
        raise ValueError(f"{path} holds a key of {len(key)} letters, which can be guessed; expected {LEAST_LETTERS}.")
    return key


def fingerprint(key: str) -> str:
    """Eight letters that tell keys apart and say nothing about them.

    Example:
        >>> len(fingerprint("a key of some letters"))
        8
    """
    return hashlib.sha256(f"fingerprint of {key}".encode()).hexdigest()[:8]


@contextmanager
def sealed_scenes(key: str, size: int = 96, count: int = 500) -> Iterator[ReferringDataset]:
    """Draw the split of a key; it is there as long as the block.

    Args:
        key: What ``read_key`` returned.
        size: Side of the pictures in pixels.
        count: Number of scenes, at most as many as ``test`` has.

    Yields:
        The data set; its split is ``sealed``, its categories and kinds of sentences are those of ``test``.

    Raises:
        ValueError: The number of scenes is out of range.

    Example:
        >>> with sealed_scenes("a key of some letters", size=32, count=2) as dataset:
        ...     dataset.split, len(dataset)
        ('sealed', 2)
    """
    if not 1 <= count <= SPLITS[KIND]:
        raise ValueError(f"count={count}; expected 1 to {SPLITS[KIND]} scenes.")
    rows, pictures = [], np.empty((count, size, size, 3), np.uint8)
    for number in range(count):
        scene = make_scene(KIND, number, key)
        pictures[number], ids = draw(scene, size)
        rows += [
            row | {"split": SEALED, "file_name": f"{VERSION}_{SEALED}_{number:06d}.png"}
            for row in scene_rows(scene, ids)
        ]
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "pictures.npy", pictures)
        fixed_by = {"version": VERSION, "size": size, "key": fingerprint(key)}
        drawn = PictureArray(Path(folder) / "pictures.npy")
        yield ReferringDataset(Index.from_rows(rows), drawn, "scenes", SEALED, "", fixed_by)
