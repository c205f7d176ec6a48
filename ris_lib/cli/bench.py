"""``ris bench``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from rich.table import Table
from tqdm import tqdm
from tyro.conf import Positional

from ris_lib.cli.output import JsonFile, Threads, check_json, make_table, report, set_threads
from ris_lib.cli.source import Device
from ris_lib.engine.bench import SUBJECTS, measure
from ris_lib.engine.bench_models import Subject, count_model, find_subjects, measure_model
from ris_lib.engine.device import pick_device
from ris_lib.engine.environment import describe_environment


def bench(
    subjects: Positional[tuple[Literal["data", "models", "metrics"], ...]] = (),
    models: str = "*",
    batch: tuple[int, ...] = (1,),
    precision: tuple[Literal["fp32", "bf16", "compiled"], ...] = ("fp32",),
    seconds: float = 1.0,
    patience: float = 20.0,
    device: Device = "auto",
    threads: Threads = None,
    json: JsonFile = None,
) -> None:
    """Measure speeds on this machine, and count what models need.

    $ ris bench data metrics --threads 1 --json bench.json
    $ ris bench models --models "*_base*"
    $ ris bench models --batch 1 8 32 --precision fp32 bf16 compiled --device cuda --json book/results/speed.json

    Args:
        subjects: What to measure; by default everything, in some minutes.
        models: Names of models; * stands for any letters.
        batch: Pictures at once, with one sentence each.
        precision: Number formats; compiled is fp32 through torch.compile.
        seconds: Time for each measurement. On the CPU, what alone takes longer is measured once.
        patience: Training steps that take longer than so many seconds are left out.
        device: Of the models.
        threads: Threads.
        json: File.
    """
    check_json(json)
    set_threads(threads)
    for flag, value in (("--seconds", seconds), ("--patience", patience)):
        if not 0 < value < float("inf"):
            raise ValueError(f"{flag} {value}; expected a positive number.")
    if not batch or min(batch) < 1:
        raise ValueError(f"--batch {' '.join(map(str, batch))}; expected numbers of pictures of at least 1.")
    device = pick_device(device)
    subjects = subjects or ("data", "models", "metrics")
    measured = find_subjects(models) if "models" in subjects else []
    values = {**describe_environment(device), "results": [], "models": []}
    for subject in (subject for subject in SUBJECTS if subject in subjects):
        values["results"] += measure(subject, seconds)
    if measured:
        values["models"] = _measure_models(measured, device, batch, precision, seconds, patience)
    report(_tables(values), values, json)


def _measure_models(
    measured: Sequence[Subject],
    device: torch.device,
    batches: Sequence[int],
    precisions: Sequence[str],
    seconds: float,
    patience: float,
) -> list[dict[str, Any]]:
    """Count and time, one model after the other; a bar on stderr says which."""
    values = []
    with tqdm(measured, unit="model") as bar:
        for subject in bar:
            bar.set_description(f"{subject.name}: counting")
            counted = count_model(subject)
            bar.set_description(f"{subject.name}: building and timing")
            runs = []
            for run in measure_model(subject, device, batches, precisions, seconds, patience):
                runs.append(run)
                bar.set_description(f"{subject.name}: timed {run['precision']}, batch {run['batch']}")
            values.append({**counted, "runs": runs})
    return values


def _tables(values: dict[str, Any]) -> list[Table]:
    """What was measured, for people."""
    versions = ", ".join(f"{name} {values['versions'][name]}" for name in ("torch", "numpy"))
    title = f"{values['device']}, {values['threads']} threads, Python {values['python']}, {versions}"
    tables = []
    if values["results"]:
        rows = [[m["subject"], m["what"], _number(m["value"]), m["unit"]] for m in values["results"]]
        tables.append(make_table(f"speeds: {title}", ["subject", "what", "value", "unit"], rows, text=2))
    if values["models"]:
        tables += [_sizes(values["models"]), _speeds(values["models"], title)]
    return tables


def _sizes(models: Sequence[dict[str, Any]]) -> Table:
    rows = []
    for model in models:
        official = model["official"]
        theirs = ["", "", ""]
        if official:
            theirs = [
                f"{official['parameters'] / 1e6:.1f} M (x {official['parameter_ratio']:.3f})",
                f"{official['flops'] / 1e9:.0f} G (x {official['flop_ratio']:.3f})",
                "yes" if official["within_bounds"] else "NO",
            ]
        size = " x ".join(map(str, model["input_size"]))
        ours = [f"{model['parameters'] / 1e6:.2f} M", f"{model['flops'] / 1e9:.2f} G"]
        rows.append([model["name"], f"{size}, {model['tokens']}", *ours, *theirs])
    columns = [
        "model",
        "input, tokens",
        "parameters",
        "FLOPs",
        "official parameters",
        "official FLOPs",
        "within bounds",
    ]
    return make_table("sizes: one picture, one sentence (x = ours / official)", columns, rows, text=2)


def _speeds(models: Sequence[dict[str, Any]], title: str) -> Table:
    columns = ["model", "precision", "batch", "forward", "pictures/s", "memory", "forward and backward", "samples/s"]
    rows = [
        [
            model["name"],
            run["precision"],
            run["batch"],
            _milliseconds(run["forward_s"]),
            _number(run["pictures_per_s"]),
            _megabytes(run["forward_bytes"]),
            _milliseconds(run["training_s"]),
            _number(run["training_samples_per_s"]),
            _megabytes(run["training_bytes"]),
        ]
        for model in models
        for run in model["runs"]
    ]
    table = make_table(f"models: {title}", [*columns, "memory"], rows, text=2)
    notes = [
        f"{model['name']}, {run['precision']}, batch {run['batch']}: {run['note']}"
        for model in models
        for run in model["runs"]
        if run["note"]
    ]
    table.caption, table.caption_justify = "\n".join(notes) or None, "left"
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.{1 if value >= 10 else 3}f}"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value * 1e3:,.{0 if value >= 0.1 else 1}f} ms"


def _megabytes(value: int | None) -> str:
    return "-" if value is None else f"{value / 1e6:,.0f} MB"
