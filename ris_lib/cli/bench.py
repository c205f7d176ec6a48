"""``ris bench``."""

from __future__ import annotations

from typing import Literal

from tyro.conf import Positional

from ris_lib.cli.output import JsonFile, Threads, check_json, make_table, report, set_threads
from ris_lib.cli.source import Device
from ris_lib.engine.bench import SUBJECTS, measure
from ris_lib.engine.device import pick_device
from ris_lib.engine.environment import describe_environment


def bench(
    subjects: Positional[tuple[Literal["data", "models", "metrics"], ...]] = (),
    seconds: float = 1.0,
    device: Device = "auto",
    threads: Threads = None,
    json: JsonFile = None,
) -> None:
    """Measure speeds on this machine.

    $ ris bench
    $ ris bench data metrics --threads 1 --json bench.json

    Args:
        subjects: What to measure; by default everything.
        seconds: Time for each measurement.
        device: Of the models.
        threads: Threads.
        json: File.
    """
    check_json(json)
    set_threads(threads)
    if not 0 < seconds < float("inf"):
        raise ValueError(f"--seconds {seconds}; expected a positive number.")
    device = pick_device(device)
    measured = [m for subject in subjects or SUBJECTS for m in measure(subject, seconds, device)]
    values = {**describe_environment(device), "results": measured}
    versions = ", ".join(f"{name} {values['versions'][name]}" for name in ("torch", "numpy"))
    title = f"speeds: {values['device']}, {values['threads']} threads, Python {values['python']}, {versions}"
    rows = [[m["subject"], m["what"], f"{m['value']:,.{1 if m['value'] >= 10 else 3}f}", m["unit"]] for m in measured]
    report([make_table(title, ["subject", "what", "value", "unit"], rows, text=2)], values, json)
