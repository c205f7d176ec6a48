"""The records inside the official files, each looked at by itself: a ref, an annotation, an image.

Every function takes one record, gives what the index needs of it, and refuses what does not fit. ``refer`` joins their
answers into rows and stops at the first fault; ``verify`` asks them one by one and collects all faults.

Source: the formats of lichengunc/refer (refs) and of COCO (instances).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ris_lib._shown import short
from ris_lib.data.pictures import MAX_PIXELS
from ris_lib.data.sample import RLE
from ris_lib.data.segmentation import to_rle


def load_instances(path: str | Path) -> dict[str, list]:
    """Read COCO's ``instances.json``.

    Args:
        path: The file.

    Returns:
        What it holds; ``images``, ``annotations`` and ``categories`` are lists.

    Raises:
        ValueError: The file is no JSON, or holds something else.
    """
    path = Path(path)
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


def with_ids(entries: list, path: str | Path, what: str) -> list[dict]:
    """Records of which each has a number.

    Args:
        entries: One list of ``instances.json``.
        path: The file, for the message.
        what: Kind of record, for the message.

    Returns:
        ``entries``.

    Raises:
        ValueError: A record is no dictionary, or its ``id`` is no whole number.
    """
    if not all(isinstance(entry, dict) and is_whole(entry.get("id")) for entry in entries):
        raise ValueError(
            f"{path}: a record of the list of {what} records has no whole number as id; expected COCO's instances "
            "format."
        )
    return entries


def by_id(entries: list, path: str | Path, what: str) -> dict[int, dict]:
    """Records by their id: position in the list means nothing.

    Raises:
        ValueError: As for ``with_ids``, or two records have one id.

    Example:
        >>> by_id([{"id": 7}, {"id": 2}], "instances.json", "image")[2]
        {'id': 2}
    """
    table = {entry["id"]: entry for entry in with_ids(entries, path, what)}
    if len(table) != len(entries):
        raise ValueError(f"{path}: two records of kind {what} have the same id; fetch the official file again.")
    return table


def annotation_of(ref: Mapping[str, Any], annotations: Mapping[int, dict]) -> dict:
    """The annotation that a ref names; both are on one image.

    Raises:
        ValueError: There is none, or it is on another image.
    """
    annotation = annotations.get(ref["ann_id"])
    if annotation is None:
        raise ValueError(f"ann_id {ref['ann_id']} is not in instances.json; take both files from the same release.")
    if annotation.get("image_id") != ref["image_id"]:
        raise ValueError(
            f"it is on image {ref['image_id']}, but its annotation {ref['ann_id']} is on image "
            f"{short(annotation.get('image_id'))}; take both files from the same release."
        )
    return annotation


def image_of(ref: Mapping[str, Any], images: Mapping[int, dict]) -> dict:
    """The image record that a ref names.

    Raises:
        ValueError: There is none.
    """
    image = images.get(ref["image_id"])
    if image is None:
        raise ValueError(f"image_id {ref['image_id']} is not in instances.json; take both files from the same release.")
    return image


def sentences_of(ref: Mapping[str, Any]) -> dict[str, list]:
    """The cleaned sentences (``sent``; ``raw`` where cleaning left nothing), none dropped: duplicates count twice.

    The official files have no ``kind`` of a sentence; drawn scenes in their layout do.

    Returns:
        The columns ``sentences``, ``sentence_ids`` and ``kinds`` of the index.

    Raises:
        ValueError: There is none, or one has no text or no number.
    """
    entries = ref["sentences"]
    if not isinstance(entries, list) or not entries:
        raise ValueError("it has no sentence; every ref needs at least one.")
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("sent"), str) or not is_whole(entry.get("sent_id")):
            raise ValueError(f"its sentence {short(entry)} has no text in 'sent' or no number in 'sent_id'.")
    return {
        "sentences": [e["sent"] if e["sent"].strip() else str(e.get("raw", "")) for e in entries],
        "sentence_ids": [entry["sent_id"] for entry in entries],
        "kinds": [kind if isinstance(kind := entry.get("kind"), str) else "" for entry in entries],
    }


def mask_of(annotation: Mapping[str, Any], height: int | None, width: int | None) -> RLE | None:
    """The mask of an annotation at the size of its image; None where the file holds none.

    Raises:
        ValueError: The mask has another size or is damaged, or the image's size is not known.
    """
    segmentation = annotation.get("segmentation")
    if not segmentation:
        return None
    if height is None or width is None:
        raise ValueError(f"annotation {annotation['id']} has a mask, but its image has no height and width.")
    try:
        return to_rle(segmentation, height, width)
    except ValueError as error:
        raise ValueError(f"annotation {annotation['id']}: {error}") from error


def box_of(annotation: Mapping[str, Any]) -> list[float]:
    """COCO's (x, y, width, height) as xyxy.

    Raises:
        ValueError: The box is not four numbers.

    Example:
        >>> box_of({"id": 1, "bbox": [10.0, 20.0, 5.0, 6.0]})
        [10.0, 20.0, 15.0, 26.0]
    """
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_finite(value) for value in box):
        raise ValueError(
            f"annotation {annotation['id']} has bbox {short(box)}; expected four numbers x, y, width, height."
        )
    x, y, width, height = box
    return [float(x), float(y), float(x) + float(width), float(y) + float(height)]


def category_of(annotation: Mapping[str, Any], categories: Mapping[int, dict]) -> str:
    """The name of an annotation's class; empty where the file does not say.

    Raises:
        ValueError: The class is no whole number.
    """
    number = annotation.get("category_id")
    if number is None:
        return ""
    if not is_whole(number):
        raise ValueError(f"annotation {annotation['id']} has category_id {short(number)}; expected a whole number.")
    return str(categories.get(number, {}).get("name", ""))


def file_name_of(image: Mapping[str, Any]) -> str:
    """The name of an image's file: of a file in a folder of photographs, and of nothing elsewhere.

    Raises:
        ValueError: It is no plain name.
    """
    name = image.get("file_name")
    if not isinstance(name, str) or Path(name).name != name or name in ("", ".", "..") or set(name) & set("\\:\0"):
        raise ValueError(f"image {image['id']} has file_name {short(name)}; expected the plain name of a file.")
    return name


def size_of(image: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Height and width of an image record; both None where one is not known.

    Raises:
        ValueError: They are no positive whole numbers, or together more than any picture that we read has.
    """
    height, width = image.get("height"), image.get("width")
    if height is None or width is None:
        return None, None
    size = height, width
    if not all(is_whole(side) and side > 0 for side in size) or height * width > MAX_PIXELS:
        raise ValueError(
            f"image {image['id']} has height, width = {short(size)}; expected positive whole numbers, and at most "
            f"{MAX_PIXELS // 10**6} megapixels."
        )
    return size


def is_whole(value: object) -> bool:
    """Whether a value is a whole number of at most 64 bits; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _is_finite(value: object) -> bool:
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False
