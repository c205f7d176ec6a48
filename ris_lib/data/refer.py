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

import json
import math
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ris_lib._names import unknown
from ris_lib.data.sample import RLE
from ris_lib.data.segmentation import to_rle
from ris_lib.data.unpickle import load_pickle

#: Which cuts into splits (``split_by``) each data set has; the first is the one that papers use.
SPLIT_BY = {"refcoco": ("unc", "google"), "refcoco+": ("unc",), "refcocog": ("umd", "google")}

_REF_KEYS = ("ref_id", "ann_id", "image_id", "split", "sentences")
_ORIGIN = (
    "The official files are those of the refer toolkit (github.com/lichengunc/refer); "
    "the photographs are COCO's train2014."
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
    instances = _load_instances(instances_file)
    images = _by_id(instances["images"], instances_file, "image")
    annotations = _by_id(instances["annotations"], instances_file, "annotation")
    categories = _by_id(instances["categories"], instances_file, "category")
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
    images = _by_id(_load_instances(instances_file)["images"], instances_file, "image")
    found = {}
    for number in dict.fromkeys(ref["image_id"] for ref in unpickle_refs(refs_file)):
        if number not in images:
            raise ValueError(f"{refs_file}: image_id {number} is not in {instances_file}; take both from one release.")
        size = _size(images[number])
        found[_file_name(images[number])] = None if None in size else size
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
            if not _is_whole(ref[key]):
                raise ValueError(f"{path}: ref number {position} has {key} {ref[key]!r}; expected a whole number.")
    return refs


def _row(ref: dict, images: dict, annotations: dict, categories: dict) -> dict[str, Any]:
    """One ref joined with its annotation and its image, by id."""
    annotation = annotations.get(ref["ann_id"])
    if annotation is None:
        raise ValueError(f"ann_id {ref['ann_id']} is not in instances.json; take both files from the same release.")
    if annotation.get("image_id") != ref["image_id"]:
        raise ValueError(
            f"it is on image {ref['image_id']}, but its annotation {ref['ann_id']} is on image "
            f"{annotation.get('image_id')}; take both files from the same release."
        )
    image = images.get(ref["image_id"])
    if image is None:
        raise ValueError(f"image_id {ref['image_id']} is not in instances.json; take both files from the same release.")
    height, width = _size(image)
    rle = _mask(annotation, height, width)
    return {
        "split": ref["split"],
        "image_id": ref["image_id"],
        "file_name": _file_name(image),
        "height": height,
        "width": width,
        "ref_id": ref["ref_id"],
        "referent_id": ref["ann_id"],
        "category": _category(annotation, categories),
        "crowd": bool(annotation.get("iscrowd", 0)),
        "box": _box(annotation),
        "rle": None if rle is None else rle["counts"],
        **_sentences(ref),
    }


def _sentences(ref: dict) -> dict[str, list]:
    """The cleaned sentences (``sent``; ``raw`` where cleaning left nothing), none dropped: duplicates count twice."""
    entries = ref["sentences"]
    if not isinstance(entries, list) or not entries:
        raise ValueError("it has no sentence; every ref needs at least one.")
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("sent"), str) or not _is_whole(entry.get("sent_id")):
            raise ValueError(f"its sentence {entry!r} has no text in 'sent' or no number in 'sent_id'.")
    return {
        "sentences": [e["sent"] if e["sent"].strip() else str(e.get("raw", "")) for e in entries],
        "sentence_ids": [entry["sent_id"] for entry in entries],
        "kinds": [""] * len(entries),
    }


def _mask(annotation: dict, height: int | None, width: int | None) -> RLE | None:
    segmentation = annotation.get("segmentation")
    if not segmentation:
        return None
    if height is None or width is None:
        raise ValueError(f"annotation {annotation['id']} has a mask, but its image has no height and width.")
    try:
        return to_rle(segmentation, height, width)
    except ValueError as error:
        raise ValueError(f"annotation {annotation['id']}: {error}") from error


def _box(annotation: dict) -> list[float]:
    """COCO's (x, y, width, height) as xyxy."""
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_finite(value) for value in box):
        raise ValueError(f"annotation {annotation['id']} has bbox {box!r}; expected four numbers x, y, width, height.")
    x, y, width, height = box
    return [x, y, x + width, y + height]


def _category(annotation: dict, categories: dict) -> str:
    """The name of an annotation's class; empty where the file does not say."""
    number = annotation.get("category_id")
    if number is not None and not _is_whole(number):
        raise ValueError(f"annotation {annotation['id']} has category_id {number!r}; expected a whole number.")
    return str(categories.get(number, {}).get("name", ""))


def _file_name(image: dict) -> str:
    """The name of an image's file: of a file in a folder of photographs, and of nothing elsewhere."""
    name = image.get("file_name")
    if not isinstance(name, str) or Path(name).name != name or name in ("", ".", "..") or set(name) & set("\\:\0"):
        raise ValueError(f"image {image['id']} has file_name {name!r}; expected the plain name of a file.")
    return name


def _size(image: dict) -> tuple[int | None, int | None]:
    """Height and width of an image record; both None where one is not known."""
    size = image.get("height"), image.get("width")
    if None in size:
        return None, None
    if not all(_is_whole(side) and side > 0 for side in size):
        raise ValueError(f"image {image['id']} has height, width = {size}; expected positive whole numbers.")
    return size


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _load_instances(path: Path) -> dict[str, list]:
    try:
        instances = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is no readable JSON, perhaps truncated ({error}). "
            "Compare its size and checksum with the official file and fetch it again."
        ) from error
    for part in ("images", "annotations", "categories"):
        if not isinstance(instances, dict) or not isinstance(instances.get(part), list):
            raise ValueError(f"{path} has no list {part!r}; expected COCO's instances format.")
    return instances


def _by_id(entries: list, path: Path, what: str) -> dict[int, dict]:
    """Records by their id: position in the list means nothing."""
    if not all(isinstance(entry, dict) and _is_whole(entry.get("id")) for entry in entries):
        raise ValueError(
            f"{path}: a record of the list of {what} records has no whole number as id; expected COCO's instances "
            "format."
        )
    table = {entry["id"]: entry for entry in entries}
    if len(table) != len(entries):
        raise ValueError(f"{path}: two records of kind {what} have the same id; fetch the official file again.")
    return table
