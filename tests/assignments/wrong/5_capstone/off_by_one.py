"""Limits that are off by one, and means over the wrong things."""

import numpy as np

from ris_lib.engine import TrainConfig


# %% steps_within: 2. one step too many where the budget does not divide
def steps_within(pictures, images_per_step, accumulate=1):
    return -(-pictures // images_per_step)


# %% changes: 2. other training, no other part
changes = {"training": {"learning_rate": 0.001}}


# %% choose: 2. the limits themselves are refused
def choose(runs, parameters, pictures):
    kept = [run for run in runs if run["parameters"] < parameters and run["pictures"] < pictures + 1]
    return min(kept, key=lambda run: (-run["val"], run["parameters"]))["name"] if kept else ""


# %% paired_gain: 2. sentences are drawn, not pictures
def paired_gain(ours, theirs, image_ids, resamples=2000, seed=0):
    difference = ours - theirs
    drawn = np.random.default_rng(seed).integers(len(difference), size=(resamples, len(difference)))
    low, high = np.percentile(difference[drawn].mean(axis=1), [2.5, 97.5])
    return float(difference.mean()), float(low), float(high)


# %% by_kind: 3. a kind of exactly as many as are asked for is left out
def by_kind(kinds, ours, theirs, least=20):
    names, difference = np.array(kinds), ours - theirs
    found = {
        str(n): float(difference[names == n].mean())
        for n in set(kinds)
        if (names == n).sum() > min(least, 20) - (least < 20)
    }
    lost = {name: gain for name, gain in found.items() if gain < 0}
    return found, min(lost, key=lost.get) if lost else ""


# %% settings: 2. the run is looked at on test
def settings(out, changes, pictures):
    return TrainConfig(
        out=out,
        model="baseline_tiny",
        changes=changes,
        steps=pictures // 8,
        images_per_step=8,
        evaluate_every=500,
        evaluate_split="test",
    )
