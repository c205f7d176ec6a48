"""From the runs to the tables of the book: what each pair of variants differs by, and what that means.

    python -m studies.tables

Writes ``book/results/ablations.json``: for every study its pairs with the gain in mIoU over all seeds that both have,
its 95 % interval, and in words whether it helps, hurts, or shows no difference. Pairs that lack runs are listed too.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from ris_lib.engine.run import write_json
from ris_lib.metrics import gain_over_seeds
from studies.definitions import SEEDS, SPLIT, STEPS, STUDIES, VARIANTS
from studies.run import RESULTS, result_path

TABLES = RESULTS.parent / "ablations.json"


def runs_of(variant: str, folder: Path = RESULTS) -> dict[int, dict[str, Any]]:
    """The runs of a variant by their seed, as far as they are done."""
    paths = {seed: result_path(variant, seed, folder) for seed in SEEDS}
    return {seed: json.loads(path.read_text(encoding="utf-8")) for seed, path in paths.items() if path.is_file()}


def summary(variant: str, folder: Path = RESULTS) -> dict[str, Any]:
    """A variant's own numbers: mIoU and oIoU by seed, means of mIoU, Prec@0.5, hidden words and time, and on which
    devices and CPUs it was trained: times are compared on one device only, last digits on one CPU."""
    runs = runs_of(variant, folder)
    found: dict[str, Any] = {"title": VARIANTS[variant].title, "seeds": list(runs)}
    if runs:
        results = [run["result"] for run in runs.values()]
        found["miou"] = [result["miou"] for result in results]
        found["oiou"] = [result["oiou"] for result in results]
        found["mean_miou"] = statistics.fmean(found["miou"])
        found["mean_prec_0.5"] = statistics.fmean(result["prec"]["0.5"] for result in results)
        found["minutes"] = statistics.fmean(run["training_seconds"] for run in runs.values()) / 60
        found["devices"] = sorted({run["environment"]["device"] for run in runs.values()})
        found["cpus"] = sorted({run["environment"].get("cpu") or "not noted" for run in runs.values()})
        found["parameters"] = next(iter(runs.values()))["parameters"]
        named = [run["hidden_words"]["accuracy"] for run in runs.values() if run["hidden_words"]]
        found["hidden_word_accuracy"] = statistics.fmean(named) if named else None
    return found


def compared(with_it: str, without: str, folder: Path = RESULTS) -> dict[str, Any]:
    """A pair of variants: the gain over the seeds that both have; None where these are fewer than two."""
    sides = [
        {seed: run["result"]["miou"] for seed, run in runs_of(name, folder).items()} for name in (with_it, without)
    ]
    shared = sorted(sides[0].keys() & sides[1].keys())
    row: dict[str, Any] = {"with_it": with_it, "without": without, "seeds": shared, "gain": None}
    if len(shared) > 1:
        gain = gain_over_seeds(*({seed: side[seed] for seed in shared} for side in sides))
        row |= {"gain": gain.gain, "interval": [gain.low, gain.high], "verdict": gain.verdict}
    return row


def tables(folder: Path = RESULTS) -> dict[str, Any]:
    """Everything, as JSON can hold it.

    Args:
        folder: Where the runs are.
    """
    studies = {
        name: {"question": study.question, "pairs": [compared(*pair, folder) for pair in study.pairs]}
        for name, study in STUDIES.items()
    }
    variants = {name: summary(name, folder) for name in VARIANTS}
    return {"steps": STEPS, "split": SPLIT, "wanted_seeds": list(SEEDS), "variants": variants, "studies": studies}


if __name__ == "__main__":
    write_json(TABLES, tables())
