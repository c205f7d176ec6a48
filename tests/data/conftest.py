"""A small data set in the official layout, made in a temporary folder, which each test can spoil in its own way."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def square(x: float, y: float, side: float) -> list[float]:
    """A polygon."""
    return [x, y, x + side, y, x + side, y + side, x, y + side]


class ReferFolder:
    """Refs, annotations and image records as Python values; ``write`` makes the files.

    Two images of 20 x 30 (height x width). The lists' orders and the ids have nothing to do with each other.
    """

    def __init__(self, root: Path, name: str = "refcoco", split_by: str = "unc"):
        self.root, self.name, self.split_by = root, name, split_by
        self.images = [
            {"id": 9, "file_name": "COCO_train2014_000000000009.jpg", "height": 20, "width": 30},
            {"id": 4, "file_name": "COCO_train2014_000000000004.jpg", "height": 20, "width": 30},
        ]
        self.annotations = [
            self.annotation(71, 4, [square(2, 2, 6)], [2.0, 2.0, 6.0, 6.0]),
            self.annotation(55, 9, [square(0, 0, 10), square(5, 5, 10)], [0.0, 0.0, 15.0, 15.0]),
            self.annotation(62, 4, [square(20, 5, 8)], [20.0, 5.0, 8.0, 8.0]),
        ]
        self.refs = [
            self.ref(2, 62, 4, "val", ["right cup", "Right cup", "the cup on the right"]),
            self.ref(7, 55, 9, "val", ["big thing"]),
            self.ref(1, 71, 4, "val", ["left cup"]),
        ]

    @staticmethod
    def annotation(number, image_id, segmentation, bbox=(0.0, 0.0, 1.0, 1.0), iscrowd=0):
        return {
            "id": number,
            "image_id": image_id,
            "segmentation": segmentation,
            "bbox": list(bbox),
            "iscrowd": iscrowd,
            "category_id": 47,
        }

    @staticmethod
    def ref(ref_id, ann_id, image_id, split, sentences):
        entries = [
            {"sent": text, "raw": text, "sent_id": 100 * ref_id + k, "tokens": text.split()}
            for k, text in enumerate(sentences)
        ]
        file_name = f"COCO_train2014_{image_id:012d}_{ref_id}.jpg"  # as official: no image has this name
        identity = {"ref_id": ref_id, "ann_id": ann_id, "image_id": image_id, "category_id": 47}
        return identity | {"split": split, "sentences": entries, "file_name": file_name}

    @property
    def refs_file(self) -> Path:
        return self.root / self.name / f"refs({self.split_by}).p"

    @property
    def instances_file(self) -> Path:
        return self.root / self.name / "instances.json"

    def write(self, pictures: str | None = "images/train2014", protocol: int = 2) -> Path:
        """Make the files; returns the root."""
        self.refs_file.parent.mkdir(parents=True, exist_ok=True)
        self.refs_file.write_bytes(pickle.dumps(self.refs, protocol=protocol))
        instances = {"images": self.images, "annotations": self.annotations, "categories": [{"id": 47, "name": "cup"}]}
        self.instances_file.write_text(json.dumps(instances))
        if pictures:
            (self.root / pictures).mkdir(parents=True, exist_ok=True)
            for image in self.images:
                level = np.full((20, 30, 3), image["id"] * 20, dtype=np.uint8)
                Image.fromarray(level).save(self.root / pictures / image["file_name"], quality=95)
        return self.root


def with_every_split(folder: ReferFolder) -> ReferFolder:
    """The same with more images than two, in the splits that RefCOCO has."""
    folder.refs[1]["split"] = "testA"
    for number, split in zip([1, 2, 3, 5, 6, 7, 8, 10, 11], [*["train"] * 8, "testB"], strict=True):
        name = f"COCO_train2014_{number:012d}.jpg"
        folder.images.append({"id": number, "file_name": name, "height": 20, "width": 30})
        polygon, box = square(number, 2, 12), [float(number), 2.0, 12.0, 12.0]
        folder.annotations.append(folder.annotation(200 + number, number, [polygon], box))
        sentences = ["the cup", f"cup number {number}"]
        folder.refs.append(folder.ref(100 + number, 200 + number, number, split, sentences))
    for ref in folder.refs:
        ref["sent_ids"] = [entry["sent_id"] for entry in ref["sentences"]]
    return folder


@pytest.fixture
def refer_folder(tmp_path) -> ReferFolder:
    """A small RefCOCO, not written yet."""
    return ReferFolder(tmp_path / "root")
