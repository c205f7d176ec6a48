"""Drawn scenes as files in the official layout, for programs that read RefCOCO and nothing else.

::

    OUT/refcoco/refs(unc).p
    OUT/refcoco/instances.json
    OUT/images/mscoco/images/train2014/scenes-v1_val_000000.png

The names are RefCOCO's, because the refer toolkit, and most code built on it, knows no others and looks for pictures in
this folder; ``info`` in ``instances.json`` says what it really is. Pictures are PNG, which keeps every pixel as it was
drawn: the layout takes a picture's name from its record, so that nothing asks for JPEG. Masks are polygons along the
edges of pixels, because some programs read polygons only; all numbers are those of ``scenes``.

Source: the layout of lichengunc/refer; what is put into it is our decision.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Collection
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from ris_lib._names import unknown
from ris_lib.data.cache import atomic_write, check_new_folder
from ris_lib.data.dataset import DEFAULT_SCENE_SIZE, ReferringDataset, load_dataset
from ris_lib.data.sample import Expression
from ris_lib.data.scenes.scene import SPLITS, VERSION
from ris_lib.data.scenes.vocabulary import CATEGORIES
from ris_lib.data.segmentation import to_polygons

#: The data set and cut by whose names the scenes go, and where the refer toolkit looks for pictures.
NAME, SPLIT_BY, PICTURES = "refcoco", "unc", Path("images/mscoco/images/train2014")

#: Category numbers of ``instances.json``, the same whichever splits are written.
_CATEGORY_IDS = {name: number for number, name in enumerate(CATEGORIES, start=1)}


def export_scenes(
    out: str | Path,
    splits: Collection[str] = tuple(SPLITS),
    size: int = DEFAULT_SCENE_SIZE,
    cache: str | Path | None = None,
    limit: int | None = None,
) -> dict[str, dict[str, int]]:
    """Write splits of the drawn scenes in the official layout; ``load_dataset("refcoco", split, root=out)`` reads them.

    Sentences, kinds, masks, boxes, numbers and pictures are read back equal. The refer toolkit takes ``test`` to mean
    every split whose name holds that word, and has no word for ``compositional``: for such programs write ``test``
    without ``testA`` and ``testB``, and ``compositional`` under a root of its own, or select refs by their ``split``.

    Args:
        out: Folder to make; it may exist if it is empty.
        splits: Names of splits of ``scenes``, by default all.
        size: Side of the pictures in pixels.
        cache: Folder that the drawn scenes are kept in, by default the cache folder.
        limit: The first so many pictures of each split only.

    Returns:
        Numbers of ``images``, ``refs`` and ``sentences`` of each split.

    Raises:
        ValueError: There is no such split or none is named, size or limit are out of range, or ``out`` holds something.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> export_scenes(folder, ["val"], size=32, cache=tempfile.mkdtemp(), limit=2)
        {'val': {'images': 2, 'refs': 8, 'sentences': 20}}
        >>> len(load_dataset("refcoco", "val", root=folder))
        2
    """
    out, splits = Path(out), tuple(dict.fromkeys(splits))
    if not splits:
        raise ValueError(f"no split to write; name some of {', '.join(SPLITS)}.")
    for split in splits:
        if split not in SPLITS:
            raise unknown("split", split, SPLITS, of="scenes")
    check_new_folder(out)
    datasets = [load_dataset("scenes", split, root=cache, size=size, limit=limit) for split in splits]
    refs: list[dict[str, Any]] = []
    instances = {
        "info": {
            "description": f"{VERSION}, drawn scenes in the layout of RefCOCO; not RefCOCO",
            "version": VERSION,
            "size": size,
            "splits": {dataset.split: dataset.counts() for dataset in datasets},
        },
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": name, "supercategory": ""} for name, number in _CATEGORY_IDS.items()],
    }
    with atomic_write(out) as partial:
        (partial / PICTURES).mkdir(parents=True)
        (partial / NAME).mkdir()
        with tqdm(total=sum(map(len, datasets)), desc=f"writing {VERSION}", unit="scene", delay=2.0) as bar:
            for dataset in datasets:
                _write_split(dataset, partial / PICTURES, refs, instances, bar)
        (partial / NAME / f"refs({SPLIT_BY}).p").write_bytes(pickle.dumps(refs, protocol=2))  # Python 2 reads it, too
        (partial / NAME / "instances.json").write_text(json.dumps(instances), encoding="utf-8")
    return instances["info"]["splits"]


def _write_split(
    dataset: ReferringDataset, pictures: Path, refs: list[dict], instances: dict[str, Any], bar: tqdm
) -> None:
    """Add one split to the lists, and its pictures to their folder."""
    for number, rows in enumerate(dataset.index.by_image()):
        image, (row, *_) = dataset[number].image, dataset.index.rows(rows[:1])
        Image.fromarray(image).save(pictures / row["file_name"])
        instances["images"].append(
            {"id": row["image_id"], "file_name": row["file_name"], "height": row["height"], "width": row["width"]}
        )
        of_refs: dict[int, list[Expression]] = {}
        for expression in dataset.expressions(number):
            of_refs.setdefault(expression.ref_id, []).append(expression)
        for expressions in of_refs.values():
            instances["annotations"].append(_annotation(expressions[0], row["image_id"]))
            refs.append(_ref(expressions, row["image_id"], row["file_name"], dataset.split))
        bar.update()


def _annotation(expression: Expression, image_id: int) -> dict[str, Any]:
    """The object that an expression means, as COCO writes it."""
    mask = expression.mask()
    left, top, right, bottom = expression.box
    return {
        "id": expression.referent_id,
        "image_id": image_id,
        "category_id": _CATEGORY_IDS[expression.category],
        "segmentation": to_polygons(mask),
        "area": int(mask.sum()),
        "bbox": [left, top, right - left, bottom - top],
        "iscrowd": 0,
    }


def _ref(expressions: list[Expression], image_id: int, file_name: str, split: str) -> dict[str, Any]:
    """An object with its sentences, as the refer toolkit writes it; ``kind`` is ours."""
    first, name = expressions[0], Path(file_name)
    return {
        "ref_id": first.ref_id,
        "ann_id": first.referent_id,
        "image_id": image_id,
        "category_id": _CATEGORY_IDS[first.category],
        "split": split,
        "sentences": [
            {
                "sent": e.sentence,
                "raw": e.sentence,
                "sent_id": e.sentence_id,
                "tokens": e.sentence.split(),
                "kind": e.kind,
            }
            for e in expressions
        ],
        "sent_ids": [e.sentence_id for e in expressions],
        "file_name": f"{name.stem}_{first.referent_id}{name.suffix}",  # as officially: of the object, not the picture
    }
