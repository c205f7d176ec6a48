"""How many images, refs and sentences every split has: the one table of the official counts, and who agrees with it.

Source: the public split files of lichengunc/refer, as the papers of the data sets and the code of LAVT, CRIS and OneRef
count them; RefCOCO's and RefCOCO+'s ``val`` and ``testA`` were counted again by us. A **ref** is an object with all its
sentences.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from ris_lib.data.index import Index
from ris_lib.data.refer import SPLIT_BY, read_refer, unpickle_refs
from ris_lib.data.verify.files import OfficialFiles
from ris_lib.data.verify.verdict import Verdict, cannot, judge


class Counts(NamedTuple):
    """Numbers of one split; None = not known.

    Example:
        >>> print(Counts(1500, 3811, 10834))
        1,500 images, 3,811 refs, 10,834 sentences
    """

    images: int | None
    refs: int
    sentences: int | None

    def __str__(self) -> str:
        """In words, what is not known left out."""
        return ", ".join(f"{value:,} {what}" for what, value in self._asdict().items() if value is not None)


#: Data set and cut -> split -> what it holds.
OFFICIAL = {
    ("refcoco", "unc"): {
        "train": Counts(16994, 42404, 120624),
        "val": Counts(1500, 3811, 10834),
        "testA": Counts(750, 1975, 5657),
        "testB": Counts(750, 1810, 5095),
    },
    ("refcoco", "google"): {
        "train": Counts(None, 40000, None),
        "val": Counts(None, 5000, None),
        "test": Counts(None, 5000, None),
    },
    ("refcoco+", "unc"): {
        "train": Counts(16992, 42278, 120191),
        "val": Counts(1500, 3805, 10758),
        "testA": Counts(750, 1975, 5726),
        "testB": Counts(750, 1798, 4889),
    },
    ("refcocog", "umd"): {
        "train": Counts(21899, 42226, 80512),
        "val": Counts(1300, 2573, 4896),
        "test": Counts(2600, 5023, 9602),
    },
    ("refcocog", "google"): {
        "train": Counts(24698, 44822, 85474),
        "val": Counts(4650, 5000, 9536),
    },
}

#: Data sets whose cuts divide the same refs.
SAME_REFS = ("refcocog",)


def count(refs: Iterable[dict[str, Any]]) -> Counts:
    """Count some refs as they are in the file.

    Example:
        >>> print(count([{"image_id": 9, "sentences": [{}, {}]}, {"image_id": 9, "sentences": [{}]}]))
        1 images, 2 refs, 3 sentences
    """
    refs = list(refs)
    sentences = sum(len(ref["sentences"]) for ref in refs if isinstance(ref["sentences"], list))
    return Counts(len({ref["image_id"] for ref in refs}), len(refs), sentences)


def check_counts(files: OfficialFiles) -> list[Verdict]:
    """Every split against the table, and their names."""
    table, verdicts = OFFICIAL[files.name, files.split_by], []
    for split, expected in table.items():
        if split not in files.splits:
            verdicts.append(Verdict(f"split {split}", "differs", "no ref of it", str(expected)))
            continue
        came = count(files.splits[split])
        same = all(wanted in (None, found) for found, wanted in zip(came, expected, strict=True))
        verdicts.append(Verdict(f"split {split}", "ok" if same else "differs", str(came), str(expected)))
    names = ", ".join(table)
    strange = [f"{len(refs):,} refs in split {split!r}" for split, refs in files.splits.items() if split not in table]
    return [*verdicts, judge("no other split", strange, f"none beside {names}", f"no split beside {names}")]


def check_cuts(files: OfficialFiles) -> list[Verdict]:
    """Whether the other cuts of a data set divide the same objects."""
    if files.name not in SAME_REFS:
        return []
    verdicts = []
    for cut in SPLIT_BY[files.name]:
        if cut == files.split_by:
            continue
        check, path = f"the cut {cut} divides the same objects", files.root / files.name / f"refs({cut}).p"
        if not path.is_file():
            verdicts.append(cannot(check, f"there is no {path.name}"))
            continue
        try:
            other = {ref["ann_id"] for ref in unpickle_refs(path)}
        except ValueError as error:
            verdicts.append(cannot(check, str(error)))
            continue
        own = {ref["ann_id"] for ref in files.refs}
        only = {files.split_by: own - other, cut: other - own}
        faults = [f"annotation {number} only in {where}" for where, ids in only.items() for number in sorted(ids)]
        verdicts.append(judge(check, faults, f"{len(own):,} objects", "the same objects in both"))
    return verdicts


def check_loader(files: OfficialFiles) -> list[Verdict]:
    """Whether this library's own reader takes the files, and finds in them what was counted here."""
    check, expected = "this library reads them", "what was counted above"
    try:
        index = Index.from_rows(read_refer(files.root, files.name, files.split_by))
    except ValueError as error:
        return [judge(check, [str(error)], "", expected)]
    faults = []
    for split, refs in files.splits.items():
        came = Counts(**index.filter(split=split).counts())
        if came != count(refs):
            faults.append(f"of {split!r} it reads {came}; counted were {count(refs)}")
    return [judge(check, faults, str(Counts(**index.counts())), expected)]
