"""The official files of RefCOCO, RefCOCO+ and RefCOCOg, read as they are.

A folder as users have it::

    ROOT/refcoco+/refs(unc).p            the refs: image, annotation, split, sentences
    ROOT/refcoco+/instances.json         COCO's annotations of those images
    ROOT/images/train2014/COCO_...jpg    or ROOT/images/mscoco/images/train2014/

Refs and annotations are joined by id, the mask is the union of an annotation's polygons, the picture's name comes from
the image's record. Source: the layout of lichengunc/refer; Yu et al. 2016 (RefCOCO, RefCOCO+), Mao et al. 2016 and
Nagaraja et al. 2016 (RefCOCOg).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from ris_lib._names import unknown
from ris_lib._shown import short
from ris_lib.data.cache import build_once, cache_folder
from ris_lib.data.index import VERSION, Index, load_index, save_index
from ris_lib.data.records import (
    annotation_of,
    box_of,
    by_id,
    category_of,
    file_name_of,
    image_of,
    is_whole,
    load_instances,
    mask_of,
    sentences_of,
    size_of,
)
from ris_lib.data.unpickle import load_pickle

#: Which cuts into splits (``split_by``) each data set has; the first is the one that papers use.
SPLIT_BY = {"refcoco": ("unc", "google"), "refcoco+": ("unc",), "refcocog": ("umd", "google")}

_REF_KEYS = ("ref_id", "ann_id", "image_id", "split", "sentences")
_ORIGIN = (
    "data_scripts/download.py of the repository fetches the official files, those of the refer toolkit "
    "(github.com/lichengunc/refer), and the photographs, COCO's train2014."
)


def refer_files(root: str | Path, name: str, split_by: str) -> tuple[Path, Path]:
    """The two files of one data set.

    Args:
        root: The folder that holds ``refcoco/``, ``refcoco+/``, ``refcocog/`` and ``images/``.
        name: ``refcoco``, ``refcoco+`` or ``refcocog``.
        split_by: ``unc``, ``umd`` or ``google``.

    Returns:
        ``refs(split_by).p`` and ``instances.json``; both exist.

    Raises:
        ValueError: There is no such data set or no such cut.
        FileNotFoundError: A file is not where it was expected.
    """
    if name not in SPLIT_BY:
        raise unknown("data set", name, SPLIT_BY)
    if split_by not in SPLIT_BY[name]:
        raise unknown("split_by", split_by, SPLIT_BY[name], of=name)
    folder = Path(root) / name
    files = folder / f"refs({split_by}).p", folder / "instances.json"
    for file in files:
        if not file.is_file():
            there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
            found = f"{folder} holds {', '.join(there) or 'nothing'}" if folder.is_dir() else f"there is no {folder}"
            raise FileNotFoundError(f"expected {file}, but {found}. {_ORIGIN}")
    return files


def read_refer(root: str | Path, name: str, split_by: str) -> list[dict[str, Any]]:
    """Read the official files of one data set into rows for the index.

    Args:
        root: The folder that holds ``refcoco/``, ``refcoco+/``, ``refcocog/`` and ``images/``.
        name: ``refcoco``, ``refcoco+`` or ``refcocog``.
        split_by: ``unc``, ``umd`` or ``google``.

    Returns:
        One dictionary per ref, in the file's order, with the columns of ``index.SCHEMA``. ``split`` is the exact name
        in the file (``testA``, not ``test``). ``rle`` is None where the annotation's segmentation is empty.

    Raises:
        ValueError: A file is damaged, or refs and annotations do not fit together; the message names the ref.
        FileNotFoundError: A file is not where it was expected.

    Example:
        >>> rows = read_refer("data", "refcoco+", "unc")  # doctest: +SKIP
        >>> rows[0]["sentences"]  # doctest: +SKIP
        ['white van', 'white car', 'white van ur good']
    """
    refs_file, instances_file = refer_files(root, name, split_by)
    refs = unpickle_refs(refs_file)
    instances = load_instances(instances_file)
    images = by_id(instances["images"], instances_file, "image")
    annotations = by_id(instances["annotations"], instances_file, "annotation")
    categories = by_id(instances["categories"], instances_file, "category")
    seen: set[int] = set()
    rows = []
    for ref in tqdm(refs, desc=f"reading {name} ({split_by})", unit=" refs", delay=2.0):
        if ref["ref_id"] in seen:
            raise ValueError(f"{refs_file}: ref_id {ref['ref_id']} occurs twice; every ref needs a number of its own.")
        seen.add(ref["ref_id"])
        try:
            rows.append({"dataset": name, "split_by": split_by} | _row(ref, images, annotations, categories))
        except ValueError as error:
            raise ValueError(f"ref {ref['ref_id']} of {refs_file}: {error}") from error
    return rows


class KeptIndex(NamedTuple):
    """The index of official files, and where it is kept; ``new`` = it was built just now."""

    index: Index
    path: Path
    new: bool


def refer_index(root: str | Path, name: str, split_by: str | None = None) -> KeptIndex:
    """The index of the official files of one data set: read from the cache folder, and built where it is not there.

    Its rows are those of ``read_refer``, split after split and image after image in order of first appearance: a split
    is one piece of the file, which needs no copy. Its name there holds the place, sizes and times of both official
    files, so that one that has changed, in whatever direction, is read again. It appears whole or not at all.

    Args:
        root: The folder that holds ``refcoco/``, ``refcoco+/``, ``refcocog/`` and ``images/``.
        name: ``refcoco``, ``refcoco+`` or ``refcocog``.
        split_by: ``unc``, ``umd`` or ``google``; by default the one that papers use.

    Returns:
        The index of all splits, its file, and whether that is new.

    Raises:
        ValueError: As for ``read_refer``.
        FileNotFoundError: A file is not where it was expected.

    Example:
        >>> refer_index("data", "refcoco+").index.counts()  # doctest: +SKIP
        {'images': 19992, 'refs': 49856, 'sentences': 141564}
    """
    split_by = split_by or SPLIT_BY.get(name, ("",))[0]
    files = refer_files(root, name, split_by)
    stamps = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    key = hashlib.sha256(repr((VERSION, stamps)).encode()).hexdigest()[:16]
    path = cache_folder() / "refer" / f"{name}-{split_by}-{key}.arrow"
    new = False

    def build(partial: Path) -> None:
        nonlocal new
        save_index(_by_split_and_image(read_refer(root, name, split_by)), partial)
        new = True

    build_once(path, build)
    try:
        return KeptIndex(load_index(path), path, new)
    except ValueError:  # damaged or of another version: what is in the cache can be made again
        path.unlink()
        return KeptIndex(load_index(build_once(path, build)), path, new)


def _by_split_and_image(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows with those of a split together, and in it those of an image."""
    groups: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for row in rows:
        groups.setdefault(row["split"], {}).setdefault(row["image_id"], []).append(row)
    return [row for images in groups.values() for of_image in images.values() for row in of_image]


def photographs_of(root: str | Path, name: str, split_by: str) -> dict[str, tuple[int, int] | None]:
    """Which photographs the refs of one data set are on, without looking at masks.

    Args:
        root: The folder that holds ``refcoco/``, ``refcoco+/``, ``refcocog/``.
        name: ``refcoco``, ``refcoco+`` or ``refcocog``.
        split_by: ``unc``, ``umd`` or ``google``.

    Returns:
        File name -> (height, width) in pixels, None where the file does not say; in the order of the refs.

    Raises:
        ValueError: As for ``read_refer``.
        FileNotFoundError: A file is not where it was expected.
    """
    refs_file, instances_file = refer_files(root, name, split_by)
    images = by_id(load_instances(instances_file)["images"], instances_file, "image")
    found = {}
    for number in dict.fromkeys(ref["image_id"] for ref in unpickle_refs(refs_file)):
        if number not in images:
            raise ValueError(f"{refs_file}: image_id {number} is not in {instances_file}; take both from one release.")
        try:
            size = size_of(images[number])
            found[file_name_of(images[number])] = None if None in size else size
        except ValueError as error:
            raise ValueError(f"{instances_file}: {error}") from error
    return found


def unpickle_refs(path: str | Path) -> list[dict[str, Any]]:
    """Read a list of refs, by an unpickler that runs no code.

    Args:
        path: ``refs(unc).p``, ``refs(umd).p`` or ``refs(google).p``, written by Python 2 or 3.

    Returns:
        The refs in the file's order, each with at least ``ref_id``, ``ann_id``, ``image_id``, ``split``, ``sentences``.

    Raises:
        ValueError: The pickle names a foreign class, is truncated, or holds something else than refs.
        FileNotFoundError: There is no such file.
    """
    refs = load_pickle(path)
    if not isinstance(refs, list) or not refs:
        raise ValueError(f"{path} holds {type(refs).__name__}, not a list of refs; expected a file like refs(unc).p.")
    for position, ref in enumerate(refs):
        lacking = [key for key in _REF_KEYS if key not in ref] if isinstance(ref, dict) else list(_REF_KEYS)
        if lacking:
            raise ValueError(f"{path}: ref number {position} has no {', '.join(lacking)}; is this a list of refs?")
        for key in ("ref_id", "ann_id", "image_id"):
            if not is_whole(ref[key]):
                raise ValueError(f"{path}: ref number {position} has {key} {short(ref[key])}; expected a whole number.")
        if not isinstance(ref["split"], str):
            raise ValueError(
                f"{path}: ref number {position} has split {short(ref['split'])}; expected a name such as 'val'."
            )
    return refs


def _row(ref: dict, images: dict, annotations: dict, categories: dict) -> dict[str, Any]:
    """One ref joined with its annotation and its image, by id."""
    annotation = annotation_of(ref, annotations)
    image = image_of(ref, images)
    height, width = size_of(image)
    rle = mask_of(annotation, height, width)
    return {
        "split": ref["split"],
        "image_id": ref["image_id"],
        "file_name": file_name_of(image),
        "height": height,
        "width": width,
        "ref_id": ref["ref_id"],
        "referent_id": ref["ann_id"],
        "category": category_of(annotation, categories),
        "crowd": bool(annotation.get("iscrowd", 0)),
        "box": box_of(annotation),
        "rle": None if rle is None else rle["counts"],
        **sentences_of(ref),
    }
