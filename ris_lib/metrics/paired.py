"""Is one model better than another? The mean of paired differences, with a 95 % interval.

A score comes with luck: of the seed, of the pictures. What luck both models had in common, pair by pair, is gone from
the differences, so that their interval is narrower than two separate intervals would suggest. There are two kinds of
luck and therefore two questions, and the answer to one is no answer to the other::

    gain_over_seeds        other training runs, the same evaluation data
    gain_over_sentences    other evaluation pictures, the same two trained models

Of twenty changes that change nothing, one is expected to look like a gain or a loss under either.

Sources: Student 1908, The probable error of a mean (the interval over seeds); the bootstrap over images is that of the
other scores.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ris_lib.metrics.accumulator import resampled

_KEY = "image_id", "ref_id", "sentence_id", "sentence"  # two rows with the same are about the same sentence


@dataclass(frozen=True)
class Gain:
    """How much better one model is than another, in the unit of the scores.

    Args:
        gain: Mean difference; above 0 = better.
        low: Lower end of the 95 % interval.
        high: Upper end.
        count: Number of independent pairs that the interval rests on: seeds, or images.

    Example:
        >>> Gain(0.02, low=0.01, high=0.03, count=5).verdict
        'helps'
    """

    gain: float
    low: float
    high: float
    count: int

    @property
    def verdict(self) -> str:
        """``helps`` (the interval lies above 0), ``hurts`` (below 0), or ``no difference seen`` (it contains 0).

        The last does not say that there is none: few pairs give a wide interval.
        """
        if self.low > 0:
            return "helps"
        return "hurts" if self.high < 0 else "no difference seen"


def gain_over_seeds(
    with_it: Mapping[Hashable, float] | Sequence[float], without: Mapping[Hashable, float] | Sequence[float]
) -> Gain:
    """Compare two ways of training, each run with the same seeds: Student's t interval of the differences.

    The interval covers the randomness of training (first weights, order of pictures) on one fixed set of evaluation
    data: where it would lie had we drawn other seeds. It says nothing about other data. It takes the differences as
    roughly normal, which so few numbers can neither show nor refute.

    Args:
        with_it: Score by seed; or one score per seed, in the same order on both sides.
        without: The same of the model without it.

    Returns:
        Mean of ``with_it`` less mean of ``without``; ``count`` is the number of seeds.

    Raises:
        ValueError: A seed is on one side only, there are fewer than two, a score is not finite, or one side is by seed
            and the other one is not.

    Example:
        >>> gain = gain_over_seeds({0: 0.52, 1: 0.55, 2: 0.50}, {0: 0.50, 1: 0.52, 2: 0.49})
        >>> round(gain.gain, 3), round(gain.low, 3), round(gain.high, 3), gain.verdict
        (0.02, -0.005, 0.045, 'no difference seen')
    """
    pairs = _paired(with_it, without)
    if len(pairs) < 2:
        raise ValueError(f"{len(pairs)} paired seeds; an interval needs at least 2.")
    for seed, scores in pairs.items():
        if not all(map(math.isfinite, scores)):
            raise ValueError(f"the scores of seed {seed!r} are {scores[0]} and {scores[1]}; expected finite numbers.")
    differences = [score - other for score, other in pairs.values()]
    count, gain = len(differences), statistics.fmean(differences)
    reach = t_quantile(count - 1) * statistics.stdev(differences) / math.sqrt(count)
    return Gain(gain, gain - reach, gain + reach, count)


def gain_over_sentences(rows: pa.Table, reference: pa.Table, seed: int = 0, resamples: int = 2000) -> Gain:
    """Compare two models that answered the same sentences: paired bootstrap of the difference in mIoU over images.

    Images are drawn with replacement, each with all its sentences and with both models' answers. The interval covers
    which pictures happened to be in the evaluation data, for these two trained models. It says nothing about what
    another training run would have given.

    Args:
        rows: What each sentence scored: ``EvalResult.sentences``, or such a table read from Parquet. The order of the
            rows does not matter.
        reference: The same of the model that it is compared with.
        seed: Of the resampling.
        resamples: How often the images are drawn anew.

    Returns:
        mIoU of ``rows`` less mIoU of ``reference``; ``count`` is the number of images.

    Raises:
        ValueError: The sentences or the protocols are not the same, a table lacks a column or holds no IoU there, there
            are fewer than two images, or there are no resamples.

    Example:
        >>> keys = {"image_id": [1, 1, 2], "ref_id": [1, 2, 3], "sentence_id": [1, 2, 3], "sentence": ["a", "b", "c"]}
        >>> better, worse = pa.table({**keys, "iou": [0.5, 0.75, 1.0]}), pa.table({**keys, "iou": [0.25, 0.5, 0.75]})
        >>> gain_over_sentences(better, worse)
        Gain(gain=0.25, low=0.25, high=0.25, count=2)
    """
    if resamples < 1:
        raise ValueError(f"resamples={resamples}; expected at least 1.")
    columns = [_columns(table) for table in (rows, reference)]
    _check_same(rows, reference)
    keys, other_keys = (Counter(zip(*(column[name] for name in _KEY))) for column in columns)
    if keys != other_keys:
        more, fewer = (keys - other_keys).total(), (other_keys - keys).total()
        raise ValueError(
            f"{more} sentences stand in the rows only and {fewer} in the reference only; score both models on the same "
            "data, with the same sentences."
        )
    ious = [_by_image(column) for column in columns]
    images = sorted(ious[0])
    if len(images) < 2:
        raise ValueError(f"the sentences are about {len(images)} images; an interval needs at least 2.")
    sums = [[math.fsum(model[image]) for image in images] for model in ious]  # exact, whatever the order
    sentences = [len(ious[0][image]) for image in images]
    drawn = resampled(np.array([sentences, np.subtract(sums[0], sums[1])], np.float64).T, seed, resamples)
    low, high = np.quantile(drawn[:, 1] / drawn[:, 0], [0.025, 0.975]).tolist()
    means = [math.fsum(column["iou"]) / sum(sentences) for column in columns]
    return Gain(means[0] - means[1], low, high, len(images))


def t_quantile(freedom: int) -> float:
    """What ``|t|`` exceeds in 5 % of all cases, t with Student's distribution.

    With ``t = sqrt(freedom) tan(angle)`` the density is a power of the cosine::

        P(|t| <= T) = integral of cos^(freedom - 1) from 0 to angle(T) / the same from 0 to a right angle

    so that the angle is found by halving an interval.

    Args:
        freedom: Degrees of freedom, at least 1.

    Raises:
        ValueError: ``freedom`` is below 1.

    Example:
        >>> [round(t_quantile(freedom), 3) for freedom in (1, 2, 3, 30)]
        [12.706, 4.303, 3.182, 2.042]
    """
    if freedom < 1:
        raise ValueError(f"freedom={freedom}; expected at least 1.")
    low, high = 0.0, math.pi / 2
    wanted = 0.95 * _integral(high, freedom - 1)
    for _ in range(60):
        middle = (low + high) / 2
        if _integral(middle, freedom - 1) < wanted:
            low = middle
        else:
            high = middle
    return math.sqrt(freedom) * math.tan(low)


def _integral(angle: float, power: int) -> float:
    """Of cos^power from 0 to an angle, by parts: two powers less at a time."""
    sine, cosine = math.sin(angle), math.cos(angle)
    value = sine if power % 2 else angle
    for k in range(2 + power % 2, power + 1, 2):
        value = (cosine ** (k - 1) * sine + (k - 1) * value) / k
    return value


def _paired(
    with_it: Mapping[Hashable, float] | Sequence[float], without: Mapping[Hashable, float] | Sequence[float]
) -> dict[Hashable, tuple[float, float]]:
    """Both scores of each seed; of sequences, by position."""
    if isinstance(with_it, Mapping) and isinstance(without, Mapping):
        scores, others = with_it, without
    elif isinstance(with_it, Mapping) or isinstance(without, Mapping):
        raise ValueError("one side is a mapping and the other one is not; give seed: score on both, or lists on both.")
    elif len(with_it) != len(without):
        raise ValueError(f"{len(with_it)} scores with it, {len(without)} without; expected one per seed on each.")
    else:
        scores, others = dict[Hashable, float](enumerate(with_it)), dict[Hashable, float](enumerate(without))
    sides = (("with it", scores, others), ("without it", others, scores))
    lonely = {side: [seed for seed in ours if seed not in theirs] for side, ours, theirs in sides}
    if any(lonely.values()):
        found = " and ".join(f"{seeds} {side} only" for side, seeds in lonely.items() if seeds)
        raise ValueError(f"there are scores of seeds {found}; run the missing ones too, or leave these out.")
    return {seed: (float(score), float(others[seed])) for seed, score in scores.items()}


def _columns(table: pa.Table) -> dict[str, list]:
    """The columns that are needed, as Python values."""
    needed = (*_KEY, "iou")
    if lacking := [name for name in needed if name not in table.column_names]:
        raise ValueError(f"the table lacks {', '.join(lacking)}; expected what EvalResult.sentences holds.")
    columns = {name: table[name].to_pylist() for name in needed}
    if wrong := [value for value in columns["iou"] if value is None or not 0 <= value <= 1]:
        raise ValueError(f"the column iou holds {wrong[0]}; expected numbers in [0, 1].")
    return columns


def _check_same(rows: pa.Table, reference: pa.Table) -> None:
    """Refuse tables that say that they were scored under different protocols."""
    ours, theirs = ((table.schema.metadata or {}).get(b"protocol") for table in (rows, reference))
    if ours and theirs and ours != theirs:
        raise ValueError(
            f"the rows were scored under protocol {ours.decode()!r}, the reference under {theirs.decode()!r}; "
            "score both under one."
        )


def _by_image(columns: Mapping[str, list]) -> dict[int, list[float]]:
    """The IoUs of the sentences of each image."""
    found = defaultdict(list)
    for image, iou in zip(columns["image_id"], columns["iou"]):
        found[image].append(iou)
    return found
