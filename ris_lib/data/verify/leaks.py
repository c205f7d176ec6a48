"""Images on which one set is trained and another is scored; and a training list that has none of them.

All three data sets draw their images from COCO's train2014, each divides them in its own way. So an image of one
set's ``train`` may be in another set's ``val`` or ``test``: harmless while one set is used alone, and seen test images
as soon as sets are mixed or a model goes from one to the other. The same holds between two cuts of one set.
"""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ris_lib.data.cache import atomic_write, check_new_folder
from ris_lib.data.refer import SPLIT_BY, read_refer, refer_files, unpickle_refs
from ris_lib.data.verify.counts import count
from ris_lib.data.verify.verdict import Verdict, cannot

#: The split that is trained on; every other one is held out.
TRAIN = "train"
#: Beside the list: from what it was made and what was left out.
RECORD = "without_leaks.json"

_Cut = tuple[str, str]
_CUTS: tuple[_Cut, ...] = tuple((name, cut) for name, cuts in SPLIT_BY.items() for cut in cuts)


def find_leaks(root: str | Path, name: str, split_by: str) -> list[Verdict]:
    """Which images are trained on in one set and held out in another, to and from one data set.

    Args:
        root: The folder that holds ``refcoco/``, ``refcoco+/``, ``refcocog/``.
        name: ``refcoco``, ``refcoco+`` or ``refcocog``.
        split_by: Its cut.

    Returns:
        For every other set and cut a verdict in each direction: ``ok``, ``leaks``, or ``cannot`` where its file is not
        there, is damaged or has no such split. ``faults`` names the images.

    Raises:
        ValueError: The refs of the data set itself cannot be read.
        FileNotFoundError: They are not there.
    """
    own = (name, split_by)
    refer_files(root, name, split_by)
    images = {own: _images(root, own)}
    verdicts = []
    for other in _CUTS:
        if other == own:
            continue
        if not _refs_file(root, other).is_file():
            verdicts.append(cannot(f"leaks between {_title(own)} and {_title(other)}", "the latter is not there"))
            continue
        try:
            images[other] = _images(root, other)
        except ValueError as error:
            verdicts.append(cannot(f"leaks between {_title(own)} and {_title(other)}", str(error)))
            continue
        verdicts += [_leak(own, other, images), _leak(other, own, images)]
    return verdicts


def write_without_leaks(
    root: str | Path, name: str, split_by: str, out: str | Path, ignore: Collection[str] = ()
) -> dict[str, Any]:
    """Write a data set whose ``train`` has no image of any split that is held out, in any set and cut below ``root``.

    The result is a folder like ``root``, in the official layout, so that ``load_dataset(name, "train", root=out)``,
    ``ris train --root`` and other programs read it as they read the original: the refs without those of such images
    (held-out splits are kept as they are), the same ``instances.json``, a link to the photographs, and a record.

    Args:
        root: The folder that holds ``refcoco/``, ``refcoco+/``, ``refcocog/`` and ``images/``.
        name: ``refcoco``, ``refcoco+`` or ``refcocog``.
        split_by: Its cut.
        out: Folder to make; it may exist if it is empty.
        ignore: Cuts that nothing will be scored on, such as ``google``, which divides objects and so holds out images
            of everywhere; the data set's own cut is never ignored.

    Returns:
        The record: counts ``before`` and ``after``, ``left_out`` (images by the split that holds them out),
        ``compared_with``, ``not_compared_with`` (sets that are ignored or not below ``root``: their images may be in),
        ``photographs`` (linked, or what to do).

    Raises:
        ValueError: ``out`` holds something, there is no ``train`` or nothing of it is left, or a file is damaged.
        FileNotFoundError: The files of the data set are not there.
    """
    root, out, own = Path(root), Path(out), (name, split_by)
    check_new_folder(out)
    refs_file, instances_file = refer_files(root, name, split_by)
    read_refer(root, name, split_by)  # what the loader refuses is not passed on
    refs = unpickle_refs(refs_file)
    there = [cut for cut in _CUTS if _refs_file(root, cut).is_file() and (cut[1] not in ignore or cut == own)]
    held_out = {
        f"{_title(cut)} {split}": numbers
        for cut in there
        for split, numbers in _images(root, cut).items()
        if split != TRAIN
    }
    train = [ref for ref in refs if ref["split"] == TRAIN]
    if not train:
        raise ValueError(f"{refs_file} has no ref in split {TRAIN!r}; there is no training list to mend.")
    seen = {ref["image_id"] for ref in train}
    leaking = seen & set().union(*held_out.values())
    kept = [ref for ref in refs if ref["split"] != TRAIN or ref["image_id"] not in leaking]
    after = [ref for ref in kept if ref["split"] == TRAIN]
    if not after:
        raise ValueError(f"every image of {refs_file}'s split {TRAIN!r} is held out elsewhere; nothing would be left.")
    record = {
        "data": name,
        "split_by": split_by,
        "before": count(train)._asdict(),
        "after": count(after)._asdict(),
        "left_out": {where: sorted(seen & numbers) for where, numbers in held_out.items() if seen & numbers},
        "compared_with": [_title(cut) for cut in there],
        "not_compared_with": [_title(cut) for cut in _CUTS if cut not in there],
    }
    with atomic_write(out) as partial:
        (partial / name).mkdir(parents=True)
        (partial / name / refs_file.name).write_bytes(_pickled(kept, refs_file))
        shutil.copyfile(instances_file, partial / name / instances_file.name)
        record["photographs"] = _link(root / "images", partial / "images")
        (partial / name / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return record


def _link(photographs: Path, place: Path) -> str:
    if not photographs.is_dir():
        return "not there"
    try:
        place.symlink_to(photographs.resolve(), target_is_directory=True)
    except OSError:  # Windows asks for a special right
        return "not linked: move or copy the folder images there"
    return "linked"


def _pickled(refs: list[dict[str, Any]], source: Path) -> bytes:
    """In the form of the original, which Python 2 reads too."""
    try:
        return pickle.dumps(refs, protocol=2)
    except RecursionError as error:
        raise ValueError(
            f"{source} holds lists in lists without end; expected refs as the official file has."
        ) from error


def _leak(trained: _Cut, scored: _Cut, images: dict[_Cut, dict[str, set[int]]]) -> Verdict:
    check = f"train of {_title(trained)}, scored on {_title(scored)}"
    train = images[trained].get(TRAIN)
    held_out = {split: numbers for split, numbers in images[scored].items() if split != TRAIN}
    if not train or not held_out:
        return cannot(check, f"{_title(scored if train else trained)} has no {'held-out split' if train else TRAIN}")
    shared = {split: sorted(train & numbers) for split, numbers in held_out.items()}
    counted = ", ".join(f"{len(numbers):,} in {split!r}" for split, numbers in shared.items())
    faults = tuple(f"image {number} in {split!r}" for split, numbers in shared.items() for number in numbers)
    return Verdict(check, "leaks" if faults else "ok", f"of its {len(train):,} images {counted}", "none", faults)


def _images(root: str | Path, cut: _Cut) -> dict[str, set[int]]:
    """The images of each split of one cut."""
    found: dict[str, set[int]] = {}
    for ref in unpickle_refs(_refs_file(root, cut)):
        found.setdefault(ref["split"], set()).add(ref["image_id"])
    return found


def _refs_file(root: str | Path, cut: _Cut) -> Path:
    return Path(root) / cut[0] / f"refs({cut[1]}).p"


def _title(cut: _Cut) -> str:
    return f"{cut[0]} ({cut[1]})"
