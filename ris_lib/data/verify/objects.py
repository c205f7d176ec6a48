"""What must hold between a ref, its annotation and its image: one object on the ref's own image, a box in it, a mask.

Source: the loader's self-test of our protocol. Boxes and masks are read by the functions that the loader uses.
"""

from __future__ import annotations

from pycocotools import mask as coco_mask

from ris_lib.data.records import annotation_of, box_of, file_name_of, image_of, size_of
from ris_lib.data.verify.files import OfficialFiles
from ris_lib.data.verify.verdict import Verdict, cannot, judge

#: Pixels by which a box may leave its image: COCO rounds corners to hundredths.
TOLERANCE = 0.5

_MASKS = ("every ref has a mask", "every mask has its image's size", "every mask has a pixel")
_SIZE_UNKNOWN = "the size of its image is not known"
_NOTHING_JOINED = "no ref has both an annotation and an image"


def check_joins(files: OfficialFiles) -> list[Verdict]:
    """Every ref finds its annotation on its own image, and every image a record with a name and a size."""
    lost = []
    for ref in files.refs:
        try:
            annotation_of(ref, files.annotation_by_id)
        except ValueError as error:
            lost.append(f"ref {ref['ref_id']}: {error}")
    wrong, images = [], {ref["image_id"]: ref for ref in files.refs}
    for ref in images.values():
        try:
            image = image_of(ref, files.image_by_id)
            file_name_of(image)
            if None in size_of(image):
                wrong.append(f"image {image['id']} has no height and width")
        except ValueError as error:
            wrong.append(str(error))
    return [
        judge("every ref has one annotation", lost, f"{len(files.refs):,} refs", "one, on the ref's own image"),
        judge("every image has a record", wrong, f"{len(images):,} images", "file name, height and width"),
    ]


def check_boxes(files: OfficialFiles) -> list[Verdict]:
    """Every box is inside its image and has an area."""
    check, faults, unknown = "every box is inside its image", [], 0
    for ref, annotation, (height, width) in files.joined:
        try:
            left, top, right, bottom = box_of(annotation)
        except ValueError as error:
            faults.append(f"ref {ref['ref_id']}: {error}")
            continue
        text = f"ref {ref['ref_id']}: its box from ({left:g}, {top:g}) to ({right:g}, {bottom:g})"
        if right <= left or bottom <= top:
            faults.append(f"{text} has no area")
        elif min(left, top) < -TOLERANCE:
            faults.append(f"{text} begins outside")
        elif height is None or width is None:
            unknown += 1
        elif right > width + TOLERANCE or bottom > height + TOLERANCE:
            faults.append(f"{text} leaves its image of {height} x {width} (height x width)")
    checked = len(files.joined) - unknown
    if not faults and not checked:
        return [cannot(check, _SIZE_UNKNOWN if unknown else _NOTHING_JOINED)]
    left_out = f"; of {unknown:,} more {_SIZE_UNKNOWN}" if unknown else ""
    return [judge(check, faults, f"{checked:,} boxes{left_out}", "corners within height and width")]


def check_masks(files: OfficialFiles) -> list[Verdict]:
    """Every ref has a mask, it has the size of its image, and at least one pixel."""
    missing, unreadable, unlike_size, empty, whole = [], [], [], [], 0
    sizes = {id(ref): size for ref, _, size in files.joined}
    for ref, mask in files.masks:
        where = f"ref {ref['ref_id']}"
        if mask is None:
            missing.append(f"{where}: annotation {ref['ann_id']} has no segmentation")
        elif isinstance(mask, str):
            unreadable.append(f"{where}: {mask}")
        elif tuple(mask["size"]) != sizes[id(ref)]:
            unlike_size.append(f"{where}: its mask is {mask['size']}, its image {sizes[id(ref)]}")
        elif not coco_mask.area(mask):
            empty.append(f"{where}: its mask has no pixel")
        else:
            whole += 1
    checked = len(files.masks) - len(missing)
    if not files.masks:
        return [cannot(check, _NOTHING_JOINED) for check in _MASKS]
    verdicts = [judge(_MASKS[0], missing, f"{len(files.masks):,} masks", "a segmentation for each")]
    if not checked:
        why = "instances.json holds no segmentation of a ref"
        return [*verdicts, *(cannot(check, why) for check in _MASKS[1:])]
    size_faults = [*unreadable, *unlike_size]
    return [
        *verdicts,
        judge(_MASKS[1], size_faults, f"{checked:,} masks", "readable, height and width equal"),
        judge(_MASKS[2], empty, f"{whole:,} masks", "at least one"),
    ]
