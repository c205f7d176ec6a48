"""All runs of the studies, several side by side.

    python -m studies --list
    python -m studies dynamic_kernel both_ways --jobs 2
    python -m studies --device cuda --jobs 12

Each run is a process of its own with one thread: whether one stands beside it changes how long it takes, not what
comes out. Stop with Ctrl-C and start again: nothing is lost but the steps since the last checkpoints.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from ris_lib._names import unknown
from studies.definitions import SEEDS, STEPS, STUDIES, VARIANTS, variants_of
from studies.run import ROOT, result_path


def planned(studies: list[str], seeds: list[int]) -> list[tuple[str, int]]:
    """The runs that studies need, in their order, each once: all seeds of a study before the next study.

    Example:
        >>> planned(["aligner_in_lavt"], [0, 1])
        [('lavt', 0), ('lavt_aligner', 0), ('lavt', 1), ('lavt_aligner', 1)]
    """
    return list(dict.fromkeys((name, seed) for study in studies for seed in seeds for name in variants_of(study)))


def do(run: tuple[str, int], device: str = "cpu") -> bool:
    """Do a run in a process of its own; say how it went, and return whether it did."""
    name, seed = run
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "studies.run", name, str(seed), "--quiet", "--device", device],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    took = (time.perf_counter() - began) / 60
    if done.returncode:
        print(f"{name} {seed}: FAILED after {took:.1f} min\n{done.stderr[-2000:]}", flush=True)
    else:
        print(f"{name} {seed}: {took:.1f} min", flush=True)
    return not done.returncode


def main() -> None:
    """Do what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=f"default: all, {', '.join(STUDIES)}")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--device", default="cpu", help="where; take one for all runs that are compared")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side, one core each")
    parser.add_argument("--list", action="store_true", help="say what is done and what is missing, do nothing")
    asked = parser.parse_args()
    for name in asked.studies:
        if name not in STUDIES:
            parser.error(str(unknown("study", name, STUDIES)))
    runs = planned(asked.studies or list(STUDIES), asked.seeds)
    missing = [run for run in runs if not result_path(*run).is_file()]
    print(f"{len(runs)} runs of {STEPS} steps, {len(missing)} of them missing")
    if asked.list:
        for name, seed in runs:
            print(f"{'missing' if (name, seed) in missing else 'done   '} {name} {seed}  ({VARIANTS[name].title})")
        return
    with ThreadPoolExecutor(asked.jobs) as pool:
        sys.exit(0 if all(pool.map(partial(do, device=asked.device), missing)) else 1)


if __name__ == "__main__":
    main()
