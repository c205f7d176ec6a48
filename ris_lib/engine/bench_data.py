"""How fast samples come: by where pictures are kept, their size, the order, and the number of processes.

Two places are measured: the cache of the drawn scenes, an array that is mapped into memory, and a folder of JPEG files,
as RefCOCO's photographs lie in one. An item is a sentence with its picture, tokens and mask at the network's size, as
training and evaluation get it. Random order, one sentence of each picture, is that of training: every item needs a
picture of its own. Evaluation has all sentences of a picture together and reads it once.

The few pictures are soon in the system's memory: it is the work that is measured, and not the disk.

Source: our decision.
"""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.data import DataLoader

from ris_lib.data import Collator, Preprocess, ReferringDataset, load_dataset
from ris_lib.data.export import NAME, PICTURES, export_scenes
from ris_lib.data.scenes import draw, make_scene
from ris_lib.data.scenes.build import scene_rows
from ris_lib.data.tokenizers import WordPieceTokenizer
from ris_lib.engine.bench_timing import ROUNDS, Timing, interleave
from ris_lib.engine.loader import StepBatches, step_loader

#: Where pictures may be kept.
STORAGES = ("cache", "jpeg")

_PICTURES = 16  # of each data set
_SIDE = 96  # of a scene that is drawn for a number
_JPEG_SIDE = 480  # of a scene that becomes a JPEG file: a photograph of COCO has 480 x 640
_BATCH = 4  # pictures
_LENGTH = 20  # tokens of a sentence, as LAVT has them
_ENDLESS = 10**9  # steps


def measure_data(
    seconds: float = 1.0,
    workers: Sequence[int] = (0,),
    sizes: Sequence[int] = (96, 480),
    storages: Sequence[str] = STORAGES,
    root: str | Path | None = None,
) -> Iterator[dict[str, Any]]:
    """Measure how fast scenes are drawn and samples are made.

    Args:
        seconds: Time for each number.
        workers: Numbers of processes that make batches; 0 = this one.
        sizes: Sides of the network's picture, in pixels; the cache holds scenes of that size.
        storages: Out of ``STORAGES``.
        root: Folder with RefCOCO's files and photographs, of whose ``val`` the first pictures are read; by default
            JPEG files are made of drawn scenes.

    Yields:
        Entries as ``Timing.entry`` makes them.

    Example:
        >>> entries = list(measure_data(0.01, sizes=[32], storages=["cache"]))
        >>> entries[-1]["what"]
        'scenes cache, 32 px, evaluation order, 0 workers'
    """
    scenes = [make_scene("val", index) for index in range(_PICTURES)]
    number = itertools.count()

    def picture() -> None:
        draw(scenes[next(number) % _PICTURES], _SIDE)

    def complete() -> None:
        scene = make_scene("val", next(number))
        scene_rows(scene, draw(scene, _SIDE)[1])

    timings = interleave({"picture": picture, "complete": complete}, seconds)
    yield timings["picture"].entry(f"draw a scene, {_SIDE} px", "pictures/s")
    yield timings["complete"].entry("complete sample: scene, picture, masks, sentences", "samples/s")
    with tempfile.TemporaryDirectory() as folder:
        for storage in storages:
            if storage == "jpeg":
                files = load_dataset(NAME, "val", root=root or _as_jpeg(Path(folder) / "jpeg"), limit=_PICTURES)
            for size in sizes:
                if storage == "cache":
                    kept, place = load_dataset("scenes", "val", size=size, limit=_PICTURES), "scenes cache"
                else:
                    kept, place = files, "JPEG files" if root is None else "JPEG files of RefCOCO"
                for count in workers:
                    for order, batches in _orders(kept, size, count).items():
                        what = f"{place}, {size} px, {order}, {count} workers"
                        yield _sentences(batches, seconds, count).entry(what, "sentences/s")
                        del batches


def _as_jpeg(root: Path) -> Path:
    """Drawn scenes in the official layout, their pictures as JPEG files."""
    export_scenes(root, ["val"], size=_JPEG_SIDE, limit=_PICTURES)
    for path in (root / PICTURES).iterdir():
        Image.open(path).save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    path = root / NAME / "instances.json"
    instances = json.loads(path.read_text(encoding="utf-8"))
    for image in instances["images"]:
        image["file_name"] = str(Path(image["file_name"]).with_suffix(".jpg"))
    path.write_text(json.dumps(instances), encoding="utf-8")
    return root


def _orders(dataset: ReferringDataset, size: int, workers: int) -> dict[str, Iterator]:
    """Endless batches by the name of their order."""
    collator = Collator(WordPieceTokenizer(_LENGTH), Preprocess(size=(size, size)))
    steps = StepBatches(dataset, collator, seed=0, images_per_step=_BATCH, sentences_per_image=1)
    numbers = itertools.cycle(range(len(dataset)))
    together = DataLoader(dataset, batch_size=_BATCH, sampler=numbers, collate_fn=collator, num_workers=workers)
    return {
        "random order": step_loader(steps, 0, _ENDLESS, workers),
        "evaluation order": iter(together),
    }


def _sentences(batches: Iterator, seconds: float, workers: int) -> Timing:
    """Seconds for a sentence; what worker processes made before they were asked is not counted."""
    for _ in range(1 + 2 * workers):
        next(batches)
    found = []
    for _ in range(ROUNDS):
        started, sentences = time.perf_counter(), 0
        while (passed := time.perf_counter() - started) < seconds / ROUNDS or not sentences:
            sentences += len(next(batches))
        found.append(passed / sentences)
    return Timing(tuple(found))
