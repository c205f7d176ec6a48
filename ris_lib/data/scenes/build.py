"""The data set on disk: pictures drawn once, and their index.

A folder of the cache holds one split at one size: ``pictures.npy`` ``(scenes, size, size, 3)`` uint8, to be mapped into
memory, and ``index.arrow`` with one row per target. It is drawn by several processes and appears whole or not at all.

The processes are started as ``python -m ris_lib.data.scenes.build``, not by ``multiprocessing``: so it works from
notebooks, from ``python -c`` and from scripts without a main guard.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pycocotools import mask as coco_mask
from tqdm import tqdm

from ris_lib._names import unknown
from ris_lib.data.cache import build_once, cache_folder
from ris_lib.data.index import VERSION as INDEX_VERSION
from ris_lib.data.index import Index, load_index, save_index
from ris_lib.data.scenes.renderer import check_size, draw
from ris_lib.data.scenes.scene import SPLITS, VERSION, Scene, make_scene

#: Image ids are this, plus a million for each split before, plus the scene's index. A referent's id is sixteen times
#: its image's id plus the object's number: beyond COCO's annotation ids (crowds reach 9.0e11), and exact in a double.
FIRST_IMAGE_ID = 10**12
IMAGES_PER_SPLIT = 10**6
#: At most so many objects of a scene have numbers of their own.
OBJECTS_PER_IMAGE = 16
#: The files of a folder.
PICTURES, INDEX = "pictures.npy", "index.arrow"
_SCENES_PER_WORKER = 500  # fewer are not worth the start of a further process
_SCENES_PER_NEWS = 10


def build_scenes(
    split: str,
    size: int = 96,
    cache: str | Path | None = None,
    workers: int | None = None,
    progress: bool = True,
    limit: int | None = None,
) -> Path:
    """Draw a split, unless it has been drawn before.

    Args:
        split: A name of ``SPLITS``.
        size: Side of the pictures in pixels.
        cache: Folder to keep them in, by default ``cache_folder()``.
        workers: Number of processes, by default one per usable core; small jobs run in this process.
        progress: Show a progress bar.
        limit: Draw the first so many scenes only. Where a folder with as many is there already, it is returned, and
            may hold more.

    Returns:
        A folder with ``pictures.npy`` and ``index.arrow``. The k-th image of the index is the k-th picture.

    Raises:
        ValueError: There is no such split, or size, limit or workers are out of range.
        ChildProcessError: A drawing process failed or was killed; its message is part of this one. Nothing half-made
            stays behind.
        DiskFullError: The disk is full.

    Example:
        >>> import tempfile
        >>> folder = build_scenes("val", size=32, cache=tempfile.mkdtemp(), limit=2, progress=False)
        >>> np.load(folder / "pictures.npy", mmap_mode="r").shape
        (2, 32, 32, 3)
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS, of="scenes")
    check_size(size)
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit}; expected at least 1 scene, or None for all {SPLITS[split]}.")
    if workers is not None and workers < 1:
        raise ValueError(f"workers={workers}; expected at least 1 process, or None for one per core.")
    count = SPLITS[split] if limit is None else min(limit, SPLITS[split])
    folder = (cache_folder() if cache is None else Path(cache)) / "scenes"
    for path in folder.glob(_name(split, size, "*")):
        drawn = path.name.rpartition("-")[2]
        if path.is_dir() and drawn.isdecimal() and int(drawn) >= count:
            return path
    most = max(1, count // _SCENES_PER_WORKER)
    workers = min(workers or _usable_cores(), most)

    def build(partial: Path) -> None:
        partial.mkdir()
        _make_array(partial / PICTURES, (count, size, size, 3))
        with tqdm(total=count, desc=f"drawing {VERSION} {split}", unit="scene", delay=2.0, disable=not progress) as bar:
            if workers == 1:
                for done in _draw_range(partial, split, 0, count):
                    bar.update(done)
            else:
                _draw_in_processes(partial, split, count, workers, bar)
        tables = [load_index(part).table for part in sorted(partial.glob(f"*-{INDEX}"))]
        save_index(Index(pa.concat_tables(tables)), partial / INDEX)
        del tables
        for part in partial.glob(f"*-{INDEX}"):
            part.unlink()

    return build_once(folder / _name(split, size, count), build)


def scene_rows(scene: Scene, ids: np.ndarray) -> list[dict[str, Any]]:
    """The index rows of a drawn scene, one per target.

    Args:
        scene: The scene.
        ids: Its id map ``(size, size)`` uint8 as ``draw`` returns it.

    Returns:
        Dictionaries with the columns of ``ris_lib.data.index.SCHEMA``.

    Example:
        >>> scene = make_scene("testA", 3)
        >>> {row["category"] for row in scene_rows(scene, draw(scene, 64)[1])}
        {'person'}
    """
    image_id = FIRST_IMAGE_ID + list(SPLITS).index(scene.split) * IMAGES_PER_SPLIT + scene.index
    targets = list(dict.fromkeys(expression.target for expression in scene.expressions))
    masks = ids[:, :, None] == np.array(targets, np.uint8) + 1
    rles: Any = coco_mask.encode(np.asfortranarray(masks, np.uint8))  # a list of them, which its stubs do not know
    rows = []
    for target, rle, (left, top, width, height) in zip(targets, rles, coco_mask.toBbox(rles).tolist()):
        said = [expression for expression in scene.expressions if expression.target == target]
        referent_id = image_id * OBJECTS_PER_IMAGE + target
        rows.append(
            {
                "dataset": "scenes",
                "split": scene.split,
                "split_by": "",
                "image_id": image_id,
                "file_name": f"{VERSION}_{scene.split}_{scene.index:06d}.png",
                "height": ids.shape[0],
                "width": ids.shape[1],
                "ref_id": referent_id,
                "referent_id": referent_id,
                "category": scene.objects[target].category,
                "crowd": False,
                "box": [left, top, left + width, top + height],
                "rle": rle["counts"],
                "sentences": [expression.sentence for expression in said],
                "sentence_ids": [referent_id * 16 + number for number in range(len(said))],
                "kinds": [expression.kind for expression in said],
            }
        )
    return rows


def _name(split: str, size: int, count: int | str) -> str:
    """Name of a folder: everything that its content depends on, the source of this package included."""
    digest = hashlib.sha256(INDEX_VERSION.encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return f"{VERSION}-{digest.hexdigest()[:8]}-{split}-{size}px-{count}"


def _usable_cores() -> int:
    with contextlib.suppress(AttributeError):  # not every system knows which cores a process may use
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _make_array(path: Path, shape: tuple[int, ...]) -> None:
    """An ``.npy`` file of uint8 to be filled by plain writes.

    Not through a memory map: on a full disk a write into one ends the process with a bus error, and without a word.
    """
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + math.prod(shape))


def _draw_range(folder: Path, split: str, start: int, stop: int) -> Iterator[int]:
    """Draw the scenes from ``start`` to ``stop`` (excluded) into a folder; yields how many were added, now and then."""
    rows: list[dict[str, Any]] = []
    told = start
    with (folder / PICTURES).open("r+b") as file:
        np.lib.format.read_magic(file)
        (_, size, *_), _, _ = np.lib.format.read_array_header_1_0(file)
        file.seek(start * size * size * 3, os.SEEK_CUR)
        for index in range(start, stop):
            scene = make_scene(split, index)
            picture, ids = draw(scene, size)
            file.write(picture.tobytes())
            rows += scene_rows(scene, ids)
            if index + 1 - told == _SCENES_PER_NEWS or index + 1 == stop:
                yield index + 1 - told
                told = index + 1
    save_index(rows, folder / f"{start:09d}-{INDEX}")


def _draw_in_processes(folder: Path, split: str, count: int, workers: int, bar: tqdm) -> None:
    """Share the scenes out in blocks, one process each; they tell of their progress in lines of their output."""
    bounds = [count * part // workers for part in range(workers + 1)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    running: list[subprocess.Popen[str]] = []
    with contextlib.ExitStack() as stack:
        complaints = stack.enter_context(tempfile.TemporaryFile("w+"))
        stack.callback(lambda: [process.kill() for process in running])
        for start, stop in itertools.pairwise(bounds):
            command = [sys.executable, "-W", "ignore", "-m", __spec__.name, str(folder), split, str(start), str(stop)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, text=True, env=environment)
            running.append(stack.enter_context(process))
        open_pipes = [process.stdout for process in running if process.stdout is not None]
        while open_pipes:
            for pipe in list(open_pipes):
                line = pipe.readline()
                if line:
                    bar.update(int(line))
                else:
                    open_pipes.remove(pipe)
        if any(process.wait() for process in running):
            complaints.seek(0)
            lines = dict.fromkeys(complaints.read().splitlines())  # all processes may say the same
            why = "\n".join(lines) or "a process was killed, perhaps for want of memory; start again"
            raise ChildProcessError(f"drawing {split} failed: {why}")


def _main(folder: str, split: str, start: str, stop: str) -> None:
    try:
        for done in _draw_range(Path(folder), split, int(start), int(stop)):
            sys.stdout.write(f"{done}\n")
            sys.stdout.flush()
    except OSError as error:  # said in one line; of anything else the traceback is what helps
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    _main(*sys.argv[1:])
