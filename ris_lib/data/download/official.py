"""From an empty folder to RefCOCO, RefCOCO+ and RefCOCOg with their photographs, in the layout that everybody uses.

::

    ROOT/refcoco/refs(unc).p, refs(google).p, instances.json
    ROOT/refcoco+/refs(unc).p, instances.json
    ROOT/refcocog/refs(umd).p, refs(google).p, instances.json
    ROOT/images/train2014/COCO_train2014_000000000009.jpg

Every step looks first whether its result is there, so that the whole can be stopped and started at any time.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

from ris_lib._names import unknown
from ris_lib.data.download.fetch import fetch
from ris_lib.data.download.photographs import fetch_photographs, needed_photographs
from ris_lib.data.download.sources import source
from ris_lib.data.download.unzip import unzip
from ris_lib.data.refer import SPLIT_BY

#: Where the photographs are, below the root.
PHOTOGRAPHS = Path("images") / "train2014"

Images = Literal["needed", "all", "none"]


def download_annotations(
    root: str | Path, names: Iterable[str], keep_archives: bool = False, progress: bool = True
) -> list[str]:
    """Refs and annotations of some data sets.

    Args:
        root: Folder to fill; it may be missing.
        names: Of ``refcoco``, ``refcoco+``, ``refcocog``.
        keep_archives: Leave the zip files in ``ROOT/archives``.
        progress: Show bars.

    Returns:
        Names of the data sets that were not there before.

    Raises:
        ValueError: There is no such data set, or what came is damaged or another file.
        DownloadError: No address gave it, or there is too little space.

    Example:
        >>> download_annotations("data", ["flickr30k"])
        Traceback (most recent call last):
        ...
        ValueError: unknown data set 'flickr30k'. Known: refcoco, refcoco+, refcocog.
    """
    root, names = Path(root), list(dict.fromkeys(names))
    for name in names:
        if name not in SPLIT_BY:
            raise unknown("data set", name, SPLIT_BY)
    missing = [name for name in names if not all((root / member).is_file() for member in source(name).members)]
    for name in missing:
        wanted = source(name)
        archive = fetch(wanted, root / "archives" / wanted.file, progress)
        unzip(archive, root / name, name, wanted.members, progress)
        _done_with(archive, keep_archives)
    return missing


def download_photographs(
    root: str | Path,
    names: Iterable[str],
    images: Images = "needed",
    connections: int = 8,
    keep_archives: bool = False,
    progress: bool = True,
) -> int:
    """The photographs of data sets whose annotations are there.

    Args:
        root: The folder of ``download_annotations``.
        names: Of the data sets.
        images: ``needed``: those that the refs are on, one by one; ``all``: train2014.zip, 13.5 GB and as much again
            while it is unpacked; ``none``.
        connections: Photographs that are fetched side by side.
        keep_archives: Leave the zip file.
        progress: Show bars.

    Returns:
        How many were fetched.

    Raises:
        ValueError: ``images`` is none of these, or what came is damaged.
        DownloadError: Some could not be had, or there is too little space.
        FileNotFoundError: The annotations of a data set are not there.
    """
    if images not in get_args(Images):
        raise unknown("choice of images", images, get_args(Images))
    if images == "none":
        return 0
    root = Path(root)
    needed = needed_photographs(root, names)
    folder = root / PHOTOGRAPHS
    missing = [name for name in needed if not (folder / name).is_file()]
    if images == "all" and missing:
        wanted = source("train2014")
        archive = fetch(wanted, root / "archives" / wanted.file, progress)
        unzip(archive, folder, "train2014", progress=progress)
        _done_with(archive, keep_archives)
        return sum((folder / name).is_file() for name in missing)
    return fetch_photographs(source("photographs"), folder, needed, connections, progress)


def _done_with(archive: Path, keep: bool) -> None:
    if not keep:
        archive.unlink()
        archive.with_name(f".{archive.name}.lock").unlink(missing_ok=True)
        if not any(archive.parent.iterdir()):
            archive.parent.rmdir()
