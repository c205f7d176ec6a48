"""The numbers of the checks that are shown, signs and axes the other way round."""

import numpy as np

from ris_lib.engine import TrainConfig


# %% steps_within: 1. the number of the example
def steps_within(pictures, images_per_step, accumulate=1):
    return 6000


# %% changes: 0. a list, not a dictionary
changes = ["head", "coupalign"]


# %% choose: 1. the last of the list
def choose(runs, parameters, pictures):
    return "b" if runs[-1]["name"] == "b" else runs[0]["name"]


# %% paired_gain: 2. the mean over pictures, every picture weighing the same
def paired_gain(ours, theirs, image_ids, resamples=2000, seed=0):
    means = np.array([(ours - theirs)[image_ids == image].mean() for image in np.unique(image_ids)])
    drawn = np.random.default_rng(seed).integers(len(means), size=(resamples, len(means)))
    low, high = np.percentile(means[drawn].mean(axis=1), [2.5, 97.5])
    return float(means.mean()), float(low), float(high)


# %% by_kind: 0. theirs - ours
def by_kind(kinds, ours, theirs, least=20):
    names, difference = np.array(kinds), theirs - ours
    found = {str(n): float(difference[names == n].mean()) for n in set(kinds) if (names == n).sum() >= least}
    lost = {name: gain for name, gain in found.items() if gain < 0}
    return found, min(lost, key=lost.get) if lost else ""


# %% settings: 2. the budget of the example, whatever is asked for
def settings(out, changes, pictures):
    return TrainConfig(
        out=out, model="baseline_tiny", changes=changes, steps=6000, images_per_step=8, evaluate_every=500
    )
