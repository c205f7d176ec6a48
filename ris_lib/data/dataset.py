"""Data sets as torch wants them: one item is one picture with all expressions of its split.

``load_dataset`` is the door for all of them: the drawn ``scenes``, and RefCOCO, RefCOCO+, RefCOCOg from the official
files. The files are read once into an index in the cache folder; every later load takes the index.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ris_lib._names import unknown
from ris_lib.data.index import Index, load_index
from ris_lib.data.pictures import inspect_picture, read_picture
from ris_lib.data.refer import SPLIT_BY, refer_index
from ris_lib.data.sample import Expression, Sample

#: The names that ``load_dataset`` knows.
DATASETS = ("scenes", *SPLIT_BY)

#: Side of a drawn scene, in pixels, where nothing else is asked for.
DEFAULT_SCENE_SIZE = 96

# Where users keep the photographs: the layout of most code bases, and the older one of LAVT.
_PHOTOGRAPHS = ("images/train2014", "images/mscoco/images/train2014")


class PhotographFolder:
    """Pictures that are files of their own.

    Args:
        folders: Where they may be; the first that holds a file wins.
        hint: Said where a file is missing.
    """

    def __init__(self, folders: Sequence[str | Path], hint: str = ""):
        self.folders = tuple(Path(folder) for folder in folders)
        self.hint = hint

    def read(self, number: int, file_name: str) -> np.ndarray:
        """The picture of that name, (H, W, 3) uint8 RGB, as its pixels are stored: annotations are drawn on those.

        Raises:
            FileNotFoundError: It is in none of the folders.
            ValueError: The file is damaged or too large.
        """
        return read_picture(self._find(number, file_name), upright=False)

    def inspect(self, number: int, file_name: str) -> tuple[int, int]:
        """Height and width of that picture, after a look at the file's header and end.

        Raises:
            FileNotFoundError: It is in none of the folders.
            ValueError: The file is no picture, cut short or too large; damage in its middle is not seen.
        """
        return inspect_picture(self._find(number, file_name))

    def _find(self, number: int, file_name: str) -> Path:
        for folder in self.folders:
            if (path := folder / file_name).is_file():
                return path
        places = " or ".join(str(folder / file_name) for folder in self.folders)
        raise FileNotFoundError(f"picture {number} is missing; expected {places}. {self.hint}".rstrip())


def photographs_below(root: str | Path) -> PhotographFolder:
    """The photographs of the official data sets, wherever below ``root`` they are.

    Example:
        >>> [folder.as_posix() for folder in photographs_below("data").folders]
        ['data/images/train2014', 'data/images/mscoco/images/train2014']
    """
    return PhotographFolder([Path(root) / folder for folder in _PHOTOGRAPHS], "The photographs are COCO's train2014.")


class PictureArray:
    """Pictures of one size in one array on disk, mapped into memory by each process that reads them.

    Args:
        path: An ``.npy`` file, (pictures, H, W, 3) uint8.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._pictures: np.ndarray | None = None

    def read(self, number: int, file_name: str) -> np.ndarray:
        """Picture ``number``, (H, W, 3) uint8 RGB; a copy.

        Raises:
            FileNotFoundError: There is no such array.
        """
        pictures = self._pictures
        if pictures is None:
            pictures = self._pictures = np.load(self.path, mmap_mode="r")
        return np.array(pictures[number])

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes: the path, never the pixels."""
        return {"path": self.path, "_pictures": None}


class ReferringDataset(Dataset):
    """One split of a data set; item i is the i-th picture with all its expressions.

    Pictures come in the order in which they first appear in the index, expressions in the index's order.

    Args:
        index: The rows of this split. They are brought into image-major order.
        pictures: Answers ``read(number, file_name)`` with a picture; numbers count the index's images from 0.
        name: Name of the data set.
        split: Name of the split.
        split_by: Which cut into splits (``unc``, ``umd``, ``google``); empty for ``scenes``.
        seed_info: What fixes the data, for tables and logs.
        limit: Keep the first so many pictures.

    Raises:
        ValueError: ``limit`` is below 1.
    """

    def __init__(
        self,
        index: Index,
        pictures: PhotographFolder | PictureArray,
        name: str,
        split: str,
        split_by: str = "",
        seed_info: dict[str, Any] | None = None,
        limit: int | None = None,
    ):
        if limit is not None and limit < 1:
            raise ValueError(f"limit is {limit}; expected at least 1 picture, or None for all.")
        groups = index.by_image()[:limit]
        self.index = index.take(np.concatenate(groups)) if groups else index
        self.pictures = pictures
        self.name = name
        self.split = split
        self.split_by = split_by
        self.seed_info = dict(seed_info or {})
        self._ends = np.cumsum([len(group) for group in groups], dtype=np.int64)

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._ends)

    def __getitem__(self, number: int) -> Sample:
        """The picture with its expressions.

        Raises:
            IndexError: There are not so many pictures.
            FileNotFoundError: The picture's file is missing.
            ValueError: The file is damaged, or has another size than its annotations say.
        """
        rows = self._rows(number)
        file_name, size = rows[0]["file_name"], (rows[0]["height"], rows[0]["width"])
        image = self.pictures.read(number % len(self), file_name)
        check_annotated_size(file_name, image.shape[:2], size)
        return Sample(image, rows[0]["image_id"], _expressions(rows))

    def expressions(self, number: int) -> tuple[Expression, ...]:
        """The expressions of one picture, without reading the picture.

        Raises:
            IndexError: There are not so many pictures.
        """
        return _expressions(self._rows(number))

    def records(self) -> list[dict[str, Any]]:
        """``image_id``, ``file_name``, ``height`` and ``width`` of each picture in the order of the items."""
        firsts = np.concatenate([[0], self._ends[:-1]]) if len(self) else self._ends
        return self.index.take(firsts).table.select(["image_id", "file_name", "height", "width"]).to_pylist()

    def sentences(self) -> list[str]:
        """All sentences in the order of the items."""
        return self.index.sentences()

    def counts(self) -> dict[str, int]:
        """Number of ``images``, ``refs`` and ``sentences``."""
        return self.index.counts()

    def __repr__(self) -> str:
        """Name, split and counts in one line."""
        cut = f" ({self.split_by})" if self.split_by else ""
        return f"ReferringDataset({self.name}{cut} {self.split}: {self.counts()})"

    def _rows(self, number: int) -> list[dict[str, Any]]:
        if not -len(self) <= number < len(self):
            raise IndexError(f"picture {number} of {len(self)}")
        number %= len(self)
        start = int(self._ends[number - 1]) if number else 0
        return self.index.table.slice(start, int(self._ends[number]) - start).to_pylist()


def check_annotated_size(file_name: str, found: tuple[int, ...], annotated: tuple[int | None, int | None]) -> None:
    """Refuse a picture of another size than its annotations are made for.

    Args:
        file_name: Of the picture.
        found: Its height and width.
        annotated: Those in the annotations; None where they do not say.

    Raises:
        ValueError: The sizes differ.
    """
    if None not in annotated and found != annotated:
        raise ValueError(
            f"picture {file_name} is {found[0]} x {found[1]} (height x width), its annotations are made for "
            f"{annotated[0]} x {annotated[1]}; use the original file."
        )


def load_dataset(
    name: str,
    split: str,
    root: str | Path | None = None,
    split_by: str | None = None,
    size: int | None = None,
    limit: int | None = None,
) -> ReferringDataset:
    """Load one split of a data set.

    The first load reads the official files (or draws the scenes) and keeps an index in the cache folder; later loads
    take milliseconds. A changed file is noticed by its size and time and read again.

    Args:
        name: ``scenes``, ``refcoco``, ``refcoco+`` or ``refcocog``.
        split: Its exact name: ``train``, ``val``, ``testA``, ``testB``, ``test``; ``scenes`` has ``compositional`` too.
        root: The folder that holds ``refcoco/``, ``refcoco+/``, ``refcocog/`` and ``images/``. For ``scenes`` the
            folder to keep the drawn pictures in, by default the cache folder.
        split_by: ``unc``, ``umd`` or ``google``; by default ``unc``, for RefCOCOg ``umd``.
        size: Side of the scenes' pictures in pixels, by default 96; photographs have their own size.
        limit: Keep the first so many pictures.

    Returns:
        The data set.

    Raises:
        ValueError: A name does not exist (the message lists those that do), an argument does not fit the data set, or
            the files are damaged.
        FileNotFoundError: The folder or a file in it is missing.

    Warns:
        UserWarning: Some refs have no mask; how many.

    Example:
        >>> dataset = load_dataset("refcoco+", "val", root="data")  # doctest: +SKIP
        >>> dataset.counts()  # doctest: +SKIP
        {'images': 1500, 'refs': 3805, 'sentences': 10758}
        >>> load_dataset("refcoco", "val")
        Traceback (most recent call last):
            ...
        ValueError: refcoco needs root: the folder that holds refcoco/ and images/.
    """
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    if name == "scenes":
        if split_by is not None:
            raise ValueError(f"scenes has one cut into splits, got split_by={split_by!r}; leave it out.")
        return _load_scenes(split, root, DEFAULT_SCENE_SIZE if size is None else size, limit)
    if size is not None:
        raise ValueError(
            f"{name} has photographs of their own sizes, got size={size}; the model's settings resize them."
        )
    if root is None:
        raise ValueError(f"{name} needs root: the folder that holds {name}/ and images/.")
    root, split_by = Path(root), split_by or SPLIT_BY[name][0]
    index = refer_index(root, name, split_by).index
    known = index.table["split"].unique().to_pylist()
    if split not in known:
        raise unknown("split", split, known, of=f"{name} ({split_by}) in {root}")
    dataset = ReferringDataset(
        index.filter(split=split),
        photographs_below(root),
        name,
        split,
        split_by,
        {"refs": f"{name}/refs({split_by}).p"},
        limit,
    )
    if missing := dataset.index.without_mask():
        warnings.warn(
            f"{missing} of {len(dataset.index)} refs of {name} ({split_by}) {split} have no mask, because their "
            "annotations hold no segmentation: sentences and boxes can be read, masks cannot.",
            UserWarning,
            stacklevel=2,
        )
    return dataset


def _load_scenes(split: str, root: str | Path | None, size: int, limit: int | None) -> ReferringDataset:
    from ris_lib.data.scenes import VERSION, build_scenes
    from ris_lib.data.scenes.build import INDEX, PICTURES

    folder = build_scenes(split, size, root, limit=limit)
    fixed_by = {"version": VERSION, "size": size}
    pictures = PictureArray(folder / PICTURES)
    return ReferringDataset(load_index(folder / INDEX), pictures, "scenes", split, "", fixed_by, limit)


def _expressions(rows: list[dict[str, Any]]) -> tuple[Expression, ...]:
    """The expressions of the rows of one picture."""
    return tuple(
        Expression(
            sentence=sentence,
            referent_id=row["referent_id"],
            sentence_id=sentence_id,
            ref_id=row["ref_id"],
            category=row["category"],
            kind=kind,
            box=tuple(row["box"]),
            rle=None if row["rle"] is None else {"size": [row["height"], row["width"]], "counts": row["rle"]},
        )
        for row in rows
        for sentence, sentence_id, kind in zip(row["sentences"], row["sentence_ids"], row["kinds"], strict=True)
    )
