"""Train a variant with a seed, score it, and keep what came out as one JSON file.

    python -m studies.run lavt 0            # one run, in this process
    python -m studies                       # all runs of all studies, several side by side

A run that was stopped goes on from its last checkpoint; one whose file exists is not done again. On one kind of CPU,
with the same number of threads and the same versions, a run that is done again gives the same numbers; only its times
differ. Another kind of CPU rounds otherwise: ``eavl_fixed``, seed 0, reached a mIoU of .3746 on one and .3724 on
another, a tenth of what seeds make. On a GPU, sums may be made in another order every time: expect other digits.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ris_lib._names import unknown
from ris_lib.data import load_dataset
from ris_lib.engine import TrainConfig, evaluate, load_run, same_sentence, train
from ris_lib.engine.memory import PeakMemory
from ris_lib.engine.run import ENVIRONMENT, METRICS, write_json
from studies.definitions import SEEDS, SPLIT, STEPS, VARIANTS
from studies.hidden_words import LOSS, naming_accuracy

ROOT = Path(__file__).parents[1]
#: Where results are kept, and where runs are made; the latter can be thrown away.
RESULTS, RUNS = ROOT / "book" / "results" / "ablations", ROOT / "runs" / "studies"
#: Points of a learning curve.
POINTS = 25


def result_path(variant: str, seed: int, folder: Path = RESULTS) -> Path:
    """The file of a run.

    Example:
        >>> result_path("lavt", 3).name
        'lavt-3.json'
    """
    return folder / f"{variant}-{seed}.json"


def config_of(variant: str, seed: int, steps: int = STEPS, out: Path | None = None, device: str = "cpu") -> TrainConfig:
    """The settings of a run.

    Raises:
        ValueError: There is no such variant.
    """
    if variant not in VARIANTS:
        raise unknown("variant", variant, VARIANTS)
    chosen = VARIANTS[variant]
    return TrainConfig(
        out=out or RUNS / f"{variant}-{seed}-{steps}",
        model=chosen.model,
        changes=chosen.changes or None,
        steps=steps,
        seed=seed,
        device=device,
        threads=1,
        resume=True,
        **chosen.settings,
    )


def curve(metrics: Path, points: int = POINTS) -> dict[str, list[float]]:
    """The learning curve of a run, each loss averaged over the steps since the point before.

    Args:
        metrics: The run's ``metrics.csv``.
        points: At most so many.

    Returns:
        ``step`` and, of the same length, every loss by name.
    """
    with metrics.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    left_out = {"step", "gradient_norm", "learning_rate", "seconds", "miou", "oiou"}
    names = [name for name in rows[0] if name not in left_out]
    width = -(-len(rows) // points)
    parts = [rows[start : start + width] for start in range(0, len(rows), width)]
    found: dict[str, list[float]] = {"step": [int(part[-1]["step"]) for part in parts]}
    for name in names:
        found[name] = [round(sum(float(row[name]) for row in part) / len(part), 5) for part in parts]
    return found


def training_report(folder: Path) -> dict[str, Any]:
    """What a run was made with, how long its steps took, and how its losses fell.

    Args:
        folder: A complete run.
    """
    with (folder / METRICS).open(newline="", encoding="utf-8") as lines:
        seconds = sum(float(row["seconds"]) for row in csv.DictReader(lines))
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    pictures = settings["steps"] * settings["images_per_step"]
    return {
        "config": {name: value for name, value in settings.items() if name not in ("out", "root")},
        "environment": json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))[-1],
        "samples": {"pictures": pictures, "sentences_at_most": pictures * settings["sentences_per_image"]},
        "training_seconds": round(seconds, 1),
        "curve": curve(folder / METRICS),
    }


def run(
    variant: str, seed: int, steps: int = STEPS, folder: Path = RESULTS, progress: bool = True, device: str = "cpu"
) -> Path:
    """Do one run, or find that it was done.

    Args:
        variant: A name of ``VARIANTS``.
        seed: Of the training.
        steps: Of the training.
        folder: Where the result is kept.
        progress: Show progress bars.
        device: Where it is trained and scored.

    Returns:
        The file with the result.

    Raises:
        ValueError: There is no such variant.
    """
    path = result_path(variant, seed, folder)
    if path.is_file():
        return path
    config = config_of(variant, seed, steps, device=device)
    memory = PeakMemory(device)
    finished = train(config, progress=progress)
    most = memory.peak()
    model = load_run(finished)
    held = load_dataset("scenes", SPLIT, size=model.config.preprocess["size"][0])
    if config.same_sentence is not None:
        held = same_sentence(held, config.same_sentence)
    result = evaluate(model, held, progress=progress, device=device, shuffle_sentences=config.shuffle_sentences)
    report: Mapping[str, Any] = {
        "variant": variant,
        "title": VARIANTS[variant].title,
        "seed": seed,
        **training_report(finished),
        "parameters": sum(p.numel() for name, p in model.named_parameters() if not name.startswith("objectives.")),
        "training_memory_mb": most and round(most / 1e6),
        "result": result.to_json(),
        "hidden_words": naming_accuracy(model, held) if LOSS in model.objectives else None,
    }
    write_json(path, report)
    return path


def main() -> None:
    """One run, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("variant", choices=VARIANTS, metavar="VARIANT", help=", ".join(VARIANTS))
    parser.add_argument("seed", type=int, help=f"the tables take {SEEDS}")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(run(asked.variant, asked.seed, progress=not asked.quiet, device=asked.device))


if __name__ == "__main__":
    main()
