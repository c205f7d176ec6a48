"""``ris bench``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from tqdm import tqdm
from tyro.conf import Positional

from ris_lib.cli.bench_tables import tables_of
from ris_lib.cli.output import JsonFile, Threads, check_json, report, set_threads
from ris_lib.cli.source import Device
from ris_lib.engine.bench import SUBJECTS, Settings, measure
from ris_lib.engine.bench_against import check_asked, compare, read_bench
from ris_lib.engine.bench_external import External, load_external
from ris_lib.engine.bench_models import Subject, count_model, find_subjects, measure_model
from ris_lib.engine.bench_train import DEFAULT_MODEL
from ris_lib.engine.device import pick_device
from ris_lib.engine.environment import describe_environment

ExternalName = Annotated[
    str | None,
    tyro.conf.arg(
        metavar="MODULE:FUNCTION",
        help="Time a function of (images, token_ids, word_mask) in the same rounds as the one model named.",
    ),
]
AgainstFile = Annotated[
    Path | None, tyro.conf.arg(metavar="FILE", help="Print ratios to what an earlier --json FILE holds.")
]


def bench(
    subjects: Positional[tuple[Literal["data", "index", "models", "metrics", "train"], ...]] = (),
    models: str = "*",
    batch: tuple[int, ...] = (1,),
    sentences: tuple[int, ...] = (1,),
    precision: tuple[Literal["fp32", "bf16", "compiled"], ...] = ("fp32",),
    workers: tuple[int, ...] = (0,),
    size: tuple[int, ...] = (96, 480),
    storage: tuple[Literal["cache", "jpeg"], ...] = ("cache", "jpeg"),
    root: Path | None = None,
    scale: tuple[int, ...] = (1,),
    external: ExternalName = None,
    against: AgainstFile = None,
    seconds: float = 1.0,
    patience: float = 20.0,
    device: Device = "auto",
    threads: Threads = None,
    json: JsonFile = None,
) -> None:
    """Measure speeds and memory on this machine, and count what models need.

    Every number is the median of five rounds, with the fastest and the slowest; models are timed in turns with a
    product of two matrices, the best case of the device.

    $ ris bench data metrics --threads 1 --json bench.json
    $ ris bench data --workers 0 2 4 --size 480 --storage jpeg --root DATA
    $ ris bench index --scale 1 2 4
    $ ris bench models --models "*_base*"
    $ ris bench models --models eavl_base --sentences 1 5 --patience 120
    $ ris bench models --batch 1 8 32 --precision fp32 bf16 compiled --device cuda --json book/results/speed.json
    $ ris bench models --models lavt_base --patience 600 --external peer:forward
    $ ris bench train --models lavt_tiny --batch 8
    $ ris bench data metrics --threads 1 --against bench.json

    Args:
        subjects: What to measure: samples, official files of RefCOCO's size, models, scores, training steps. By
            default everything, in some minutes.
        models: Names of models; * stands for any letters. train takes lavt_base where no names are given.
        batch: Pictures at once.
        sentences: Sentences of each picture, for models; several are timed beside the same ones one by one.
        precision: Number formats; compiled is fp32 through torch.compile.
        workers: Processes that make samples; 0 = this one.
        size: Sides of the network's picture for data, in pixels.
        storage: Where data has its pictures: the cache of the drawn scenes, a folder of JPEG files, or both.
        root: Folder of RefCOCO whose photographs data reads; by default JPEG files are made of drawn scenes.
        scale: Sizes of the data set for index, in times RefCOCO's.
        seconds: Time for each number.
        patience: What takes longer than so many seconds for its five rounds is measured once; training steps of models
            that alone take longer are left out.
        device: Of models and training steps.
        threads: Threads.
        json: File.
    """
    check_json(json)
    set_threads(threads)
    place = pick_device(device)
    subjects = tuple(dict.fromkeys(subjects or (*SUBJECTS, "models")))
    measured = find_subjects(models) if "models" in subjects else []
    trained = (DEFAULT_MODEL,)
    if "train" in subjects and models != "*":
        trained = tuple(subject.name for subject in find_subjects(models) if not subject.overrides)
    settings = Settings(
        *(seconds, patience, str(place), workers, size, storage, root, scale, trained, batch, sentences, precision)
    )
    if external is not None and len(measured) != 1:
        raise ValueError(
            f"--external is timed beside one model, and {len(measured)} would be measured; name one: ris bench models "
            "--models lavt_base."
        )
    function = None if external is None else load_external(external)
    asked = {"models": [subject.name for subject in measured], "external": external, **settings.asked(subjects)}
    before = None if against is None else read_bench(against)
    if before is not None:
        check_asked(asked, before["asked"])
    values = {**describe_environment(place), "asked": asked, "results": [], "models": []}
    for subject in (subject for subject in SUBJECTS if subject in subjects):
        with tqdm(measure(subject, settings), desc=f"measuring {subject}", unit=" numbers", delay=2.0) as bar:
            values["results"] += bar
    if measured:
        values["models"] = _measure_models(measured, place, settings, function)
    if before is not None:
        values["against"] = compare(values, before)
    report(tables_of(values), values, json)


def _measure_models(
    measured: Sequence[Subject], device: torch.device, settings: Settings, external: External | None
) -> list[dict[str, Any]]:
    """Count and time, one model after the other; a bar on stderr says which."""
    values = []
    with tqdm(measured, unit="model") as bar:
        for subject in bar:
            bar.set_description(f"{subject.name}: counting")
            counted = count_model(subject)
            bar.set_description(f"{subject.name}: building and timing")
            runs = []
            for run in measure_model(
                subject,
                device,
                settings.batches,
                settings.sentences,
                settings.precisions,
                settings.seconds,
                settings.patience,
                counted["flops"],
                external,
            ):
                runs.append(run)
                bar.set_description(f"{subject.name}: timed {run['precision']}, batch {run['batch']}")
            values.append({**counted, "runs": runs})
    return values
