"""Pictures that cannot be trained on, found before the first step and not after a night of training.

Every picture of the chosen split is looked at: is it there, is it a picture, is it whole, does it have the size that
its annotations are made for? That costs a header and an end each, some seconds for all of RefCOCO. By default one bad
picture refuses the run. Where that is asked for they are left out: listed, counted, and noted in the run.

Source: our decision. Damage in the middle of a file is seen only by who decodes all of it, which takes minutes for a
split and is done once, by ``data_scripts/verify.py``; the loader still names such a picture when it meets it.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from ris_lib.data.dataset import PhotographFolder, ReferringDataset, check_annotated_size

#: Bad pictures that a message names; the run's environment.json and verify.py name all.
LISTED = 20


@dataclass(frozen=True)
class BadPicture:
    """A picture that cannot be trained on.

    Args:
        file_name: Its file.
        why: What is wrong with it; names it.
    """

    file_name: str
    why: str


def bad_pictures(dataset: ReferringDataset) -> list[BadPicture]:
    """The pictures of a data set that are missing, no pictures, cut short, or of another size than annotated.

    Args:
        dataset: With photographs; drawn scenes are made whole or not at all, and none of them is bad.
    """
    if not isinstance(dataset.pictures, PhotographFolder):
        return []
    title = f"looking at the pictures of {dataset.name} {dataset.split}"
    found = []
    for number, record in enumerate(tqdm(dataset.records(), desc=title, unit=" files", delay=2.0)):
        if why := _fault(dataset.pictures, number, record):
            found.append(BadPicture(record["file_name"], why))
    return found


def screen(dataset: ReferringDataset, skip: bool = False, known: Collection[str] | None = None) -> ReferringDataset:
    """The data set, after a look at every picture.

    Args:
        dataset: It is not changed.
        skip: Leave bad pictures out instead of refusing the data set.
        known: File names that were left out when the run began: a run that is continued leaves out these, whether they
            are bad or not, and no others, because other pictures would be another run. None = it begins.

    Returns:
        ``dataset``, or one without the bad pictures, whose ``seed_info`` names them under ``skipped``.

    Raises:
        ValueError: Pictures are bad and are not to be skipped, were not bad when the run began, or none is left.

    Warns:
        UserWarning: Pictures are left out; which, and why.

    Example:
        >>> from ris_lib.data import load_dataset
        >>> scenes = load_dataset("scenes", "val", limit=2)
        >>> screen(scenes) is scenes
        True
    """
    bad = bad_pictures(dataset)
    names = {picture.file_name for picture in bad} if known is None else set(known)
    what = f"of {len(dataset):,} pictures of {dataset.name} {dataset.split}"
    if refused := [picture.why for picture in bad if not skip or picture.file_name not in names]:
        since = ", and were not left out when the run began" if skip else ""
        other = "" if skip else " Or leave them out: --skip-bad, in Python skip_bad=True."
        raise ValueError(
            f"{len(refused):,} {what} cannot be trained on{since}:\n{_lines(refused)}\nMove bad files away and run "
            f"data_scripts/download.py, which fetches what is missing.{other}"
        )
    left_out = [record["file_name"] for record in dataset.records() if record["file_name"] in names]
    if not left_out:
        return dataset
    reasons = {picture.file_name: picture.why for picture in bad}
    lines = _lines([reasons.get(name, f"picture {name} was bad when the run began") for name in left_out])
    if len(left_out) == len(dataset):
        raise ValueError(f"all {what} cannot be trained on:\n{lines}")
    warnings.warn(f"{len(left_out):,} {what} are left out:\n{lines}", UserWarning, stacklevel=2)
    return _without(dataset, left_out)


def _fault(pictures: PhotographFolder, number: int, record: dict[str, Any]) -> str:
    """What is wrong with a picture; empty = nothing that can be seen from outside."""
    try:
        found = pictures.inspect(number, record["file_name"])
        check_annotated_size(record["file_name"], found, (record["height"], record["width"]))
    except (ValueError, OSError) as error:
        return str(error)
    return ""


def _lines(entries: list[str]) -> str:
    more = [f"and {len(entries) - LISTED:,} more"] if len(entries) > LISTED else []
    return "\n".join(f"  {entry}" for entry in entries[:LISTED] + more)


def _without(dataset: ReferringDataset, left_out: list[str]) -> ReferringDataset:
    """The data set without the pictures of these files."""
    names = set(left_out)
    rows = [row for row, name in enumerate(dataset.index.column("file_name")) if name not in names]
    return ReferringDataset(
        dataset.index.take(rows),
        dataset.pictures,
        dataset.name,
        dataset.split,
        dataset.split_by,
        dataset.seed_info | {"skipped": sorted(names)},
    )
