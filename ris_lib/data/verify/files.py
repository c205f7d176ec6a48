"""The files of one data set, read for judging: with all their faults, which the loader would refuse.

Whatever makes a file unreadable (no pickle of refs, no JSON, records without a number) is an error here as there.
Two records of one number, refs that fit no annotation and the like are kept, so that every fault can be named.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ris_lib._names import unknown
from ris_lib.data.download.sources import sources
from ris_lib.data.records import annotation_of, image_of, load_instances, mask_of, size_of, with_ids
from ris_lib.data.refer import SPLIT_BY, refer_files, unpickle_refs
from ris_lib.data.sample import RLE
from ris_lib.data.verify.verdict import Verdict, cannot, judge

Record = dict[str, Any]


@dataclass
class OfficialFiles:
    """What the two files of one data set hold.

    Args:
        root: The folder that holds them, and the photographs.
        name: ``refcoco``, ``refcoco+`` or ``refcocog``.
        split_by: Which cut into splits.
        refs: In the file's order.
        images: The image records in the file's order.
        annotations: The annotations in the file's order.
    """

    root: Path
    name: str
    split_by: str
    refs: list[Record]
    images: list[Record]
    annotations: list[Record]

    @cached_property
    def splits(self) -> dict[str, list[Record]]:
        """The refs of each split, splits in the order in which they appear."""
        parts: dict[str, list[Record]] = {}
        for ref in self.refs:
            parts.setdefault(ref["split"], []).append(ref)
        return parts

    @cached_property
    def image_by_id(self) -> dict[int, Record]:
        """Of two records with one number the first."""
        return {record["id"]: record for record in reversed(self.images)}

    @cached_property
    def annotation_by_id(self) -> dict[int, Record]:
        """Of two records with one number the first."""
        return {record["id"]: record for record in reversed(self.annotations)}

    @cached_property
    def joined(self) -> list[tuple[Record, Record, tuple[int | None, int | None]]]:
        """Ref, annotation and the image's height and width, of each ref that has all three."""
        found = []
        for ref in self.refs:
            try:
                annotation = annotation_of(ref, self.annotation_by_id)
                found.append((ref, annotation, size_of(image_of(ref, self.image_by_id))))
            except ValueError:  # named by the checks of annotations and images
                continue
        return found

    @cached_property
    def masks(self) -> list[tuple[Record, RLE | str | None]]:
        """Each joined ref with its mask, None where the file holds none, or the reason why it cannot be read."""
        found: list[tuple[Record, RLE | str | None]] = []
        for ref, annotation, size in tqdm(self.joined, desc=f"masks of {self.name}", unit=" refs", delay=2.0):
            try:
                found.append((ref, mask_of(annotation, *size)))
            except ValueError as error:
                found.append((ref, str(error)))
        return found

    def scorable(self) -> list[tuple[int, int, RLE]]:
        """Image, number of sentences and mask of each ref whose mask can be read."""
        counted = [(ref, len(ref["sentences"]) if isinstance(ref["sentences"], list) else 0) for ref, _ in self.masks]
        return [
            (ref["image_id"], sentences, mask)
            for (ref, sentences), (_, mask) in zip(counted, self.masks, strict=True)
            if isinstance(mask, dict) and sentences
        ]

    def __str__(self) -> str:
        """Name and cut, as lines of the report begin."""
        return f"{self.name} ({self.split_by})"


def read_files(root: str | Path, name: str, split_by: str | None = None) -> OfficialFiles:
    """Read the two files of one data set.

    Args:
        root: The folder that holds ``refcoco/``, ``refcoco+/``, ``refcocog/`` and ``images/``.
        name: ``refcoco``, ``refcoco+`` or ``refcocog``.
        split_by: ``unc``, ``umd`` or ``google``; None = the cut that papers use.

    Raises:
        ValueError: There is no such data set or cut, or a file cannot be read at all.
        FileNotFoundError: A file is not where it was expected.

    Example:
        >>> read_files("data", "refcocos")
        Traceback (most recent call last):
            ...
        ValueError: unknown data set 'refcocos'; did you mean 'refcoco' or 'refcocog' or 'refcoco+'? Known: ...
    """
    if name not in SPLIT_BY:
        raise unknown("data set", name, SPLIT_BY)
    split_by = split_by or SPLIT_BY[name][0]
    refs_file, instances_file = refer_files(root, name, split_by)
    refs = unpickle_refs(refs_file)
    instances = load_instances(instances_file)
    images = with_ids(instances["images"], instances_file, "image")
    annotations = with_ids(instances["annotations"], instances_file, "annotation")
    return OfficialFiles(Path(root), name, split_by, refs, images, annotations)


def check_bytes(files: OfficialFiles) -> list[Verdict]:
    """Whether the files are the published ones to the byte, where their checksum is known.

    Args:
        files: Of one data set.

    Returns:
        A verdict for each of the two files.
    """
    known = sources()[files.name].members if files.name in sources() else {}
    verdicts = []
    for path in refer_files(files.root, files.name, files.split_by):
        check, digits = f"{path.name} is the published file", known.get(f"{files.name}/{path.name}", "")
        if not digits:
            verdicts.append(cannot(check, "no checksum of it is known"))
            continue
        with path.open("rb") as file:
            came = hashlib.file_digest(file, "sha256").hexdigest()
        fault = [] if came.startswith(digits) else [f"SHA-256 {came}"]
        verdicts.append(judge(check, fault, f"SHA-256 {came[:16]}...", f"SHA-256 {digits}"))
    return verdicts
