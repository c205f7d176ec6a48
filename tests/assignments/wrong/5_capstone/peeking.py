"""Decisions made with what they should be tested by; rules read generously."""

import numpy as np

from ris_lib.engine import TrainConfig


# %% steps_within: 2. parts are taken for pictures
def steps_within(pictures, images_per_step, accumulate=1):
    return pictures // (images_per_step * accumulate)


# %% changes: 2. far too large
changes = {"head": {"name": "centre_embedding"}}


# %% choose: 2. test decides
def choose(runs, parameters, pictures):
    kept = [run for run in runs if run["parameters"] <= parameters and run["pictures"] <= pictures]
    return max(kept, key=lambda run: run["test"])["name"] if kept else ""


# %% paired_gain: 1. each side is drawn on its own
def paired_gain(ours, theirs, image_ids, resamples=2000, seed=0):
    generator = np.random.default_rng(seed)
    size = (resamples, len(ours))
    means = ours[generator.integers(len(ours), size=size)].mean(1) - theirs[
        generator.integers(len(ours), size=size)
    ].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(ours.mean() - theirs.mean()), float(low), float(high)


# %% by_kind: 3. the kind that gained least, whether it lost or not
def by_kind(kinds, ours, theirs, least=20):
    names, difference = np.array(kinds), ours - theirs
    found = {str(n): float(difference[names == n].mean()) for n in set(kinds) if (names == n).sum() >= least}
    return found, min(found, key=found.get)


# %% settings: 1. trained on val as well
def settings(out, changes, pictures):
    return TrainConfig(
        out=out, model="baseline_tiny", steps=pictures // 8, images_per_step=8, split="val", evaluate_every=500
    )
