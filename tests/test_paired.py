"""Paired comparisons: numbers by hand, what must not matter, what the interval covers, refusals."""

import math
import statistics

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ris_lib.metrics import Accumulator, Gain, gain_over_seeds, gain_over_sentences
from ris_lib.metrics.paired import t_quantile

SCORES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8)


def table(ious, image_ids=None, protocol=None, **columns) -> pa.Table:
    """A table with these IoUs; every sentence has an image of its own unless they are given."""
    count = len(ious)
    numbers = list(range(count))
    base = {"image_id": numbers if image_ids is None else list(image_ids), "ref_id": numbers, "sentence_id": numbers}
    base |= {"sentence": [f"sentence {k}" for k in numbers], "iou": [float(iou) for iou in ious], **columns}
    found = pa.table(base)
    return found if protocol is None else found.replace_schema_metadata({"protocol": protocol})


def correlated(seed: int, count: int = 200, images: int = 50) -> tuple[pa.Table, pa.Table]:
    """Two models that find the same sentences hard; the first is better by 0.02."""
    generator = np.random.default_rng(seed)
    hard, image_ids = generator.random(count), generator.integers(images, size=count)
    first, second = (np.clip(hard + gain + generator.normal(0, 0.03, count), 0, 1) for gain in (0.02, 0.0))
    return table(first, image_ids), table(second, image_ids)


# From any printed table of Student's t, two-sided, 5 %.
@pytest.mark.parametrize(
    ("freedom", "value"),
    [
        *enumerate((12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228), start=1),
        (15, 2.131),
        (20, 2.086),
        (29, 2.045),
        (30, 2.042),
        (60, 2.000),
        (120, 1.980),
        (10_000, 1.960),
    ],
)
def test_t_quantiles_are_those_of_the_printed_tables(freedom, value):
    assert t_quantile(freedom) == pytest.approx(value, abs=5e-4)


def test_t_quantiles_in_closed_form_and_in_the_limit():
    assert t_quantile(1) == pytest.approx(math.tan(math.pi / 2 * 0.95), rel=1e-12)
    assert t_quantile(2) == pytest.approx(0.95 * math.sqrt(2 / (1 - 0.95**2)), rel=1e-12)
    assert t_quantile(10_000) == pytest.approx(statistics.NormalDist().inv_cdf(0.975), abs=3e-4)
    values = [t_quantile(freedom) for freedom in range(1, 60)]
    assert values == sorted(values, reverse=True)


def test_three_seeds_by_hand():
    """Differences 1, 2, 3: mean 2, standard deviation 1, so 2 -+ 4.3027 / sqrt(3)."""
    gain = gain_over_seeds({7: 11.0, 8: 12.0, 9: 13.0}, {9: 10.0, 8: 10.0, 7: 10.0})
    assert (gain.gain, gain.count) == (2.0, 3)
    assert gain.low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-6)
    assert gain.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-6)
    assert gain.verdict == "no difference seen"
    assert gain_over_seeds([11.0, 12.0, 13.0], [10.0, 10.0, 10.0]) == gain
    assert gain_over_seeds(np.array([11.0, 12.0, 13.0]), np.full(3, 10.0)) == gain


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.1, 0.3, "helps"),
        (-0.3, -0.1, "hurts"),
        (-0.1, 0.1, "no difference seen"),
        (0.0, 0.1, "no difference seen"),
        (-0.1, 0.0, "no difference seen"),
        (0.0, 0.0, "no difference seen"),
    ],
)
def test_verdicts(low, high, verdict):
    assert Gain((low + high) / 2, low, high, count=5).verdict == verdict


def test_identical_models_differ_by_exactly_zero():
    scores = {seed: 0.1 * seed for seed in range(5)}
    first, _ = correlated(0)
    upside_down = first.take(list(reversed(range(len(first)))))
    for gain in (
        gain_over_seeds(scores, dict(scores)),
        gain_over_sentences(first, first),
        gain_over_sentences(first, upside_down),
    ):
        assert (gain.gain, gain.low, gain.high) == (0.0, 0.0, 0.0)
        assert gain.verdict == "no difference seen"


@given(SCORES)
@settings(max_examples=40, deadline=None)
def test_changing_sides_changes_signs(scores):
    first, second = zip(*scores)
    for there, back in (
        (gain_over_seeds(first, second), gain_over_seeds(second, first)),
        (gain_over_sentences(table(first), table(second)), gain_over_sentences(table(second), table(first))),
    ):
        assert (there.gain, there.low, there.high) == pytest.approx((-back.gain, -back.high, -back.low), abs=1e-12)
        assert there.low <= there.high
    assert there.gain == pytest.approx(statistics.fmean(first) - statistics.fmean(second), abs=1e-12)


@given(SCORES, st.integers(-3, 3), st.sampled_from([0.25, 0.5, 4.0]))
@settings(max_examples=40, deadline=None)
def test_what_both_have_does_not_matter_and_the_unit_does(scores, shift, unit):
    first, second = zip(*scores)
    plain = gain_over_seeds(first, second)
    moved = gain_over_seeds([unit * s + shift for s in first], [unit * s + shift for s in second])
    expected = [unit * bound for bound in (plain.gain, plain.low, plain.high)]
    assert [moved.gain, moved.low, moved.high] == pytest.approx(expected, abs=1e-8)


@given(st.lists(st.floats(0, 0.5), min_size=2, max_size=8))
@settings(max_examples=40, deadline=None)
def test_a_gain_that_is_the_same_everywhere_has_no_width(scores):
    gain = gain_over_sentences(table([score + 0.25 for score in scores]), table(scores))
    assert (gain.gain, gain.low, gain.high) == pytest.approx((0.25, 0.25, 0.25))
    assert gain.verdict == "helps"


@given(st.permutations(range(12)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_rows_does_not_matter(order):
    first, second = correlated(3, count=12, images=4)
    assert gain_over_sentences(first.take(order), second) == gain_over_sentences(first, second)


def test_the_interval_over_seeds_holds_what_it_promises():
    """Of 1000 comparisons of four seeds with a true gain of 1, about 95 % hold it; the same with 1.96 would not."""
    generator = np.random.default_rng(0)
    gains = [gain_over_seeds(generator.normal(1, 1, 4), generator.normal(0, 1, 4)) for _ in range(1000)]
    assert np.mean([gain.low <= 1 <= gain.high for gain in gains]) == pytest.approx(0.95, abs=0.02)
    shrunk = 1.96 / t_quantile(3)
    assert np.mean([abs(gain.gain - 1) <= shrunk * (gain.high - gain.gain) for gain in gains]) < 0.9


def test_sentences_by_hand():
    """Image 1 gains 0.5 on each of two sentences, image 2 loses 0.25 on one: (0.5 + 0.5 - 0.25) / 3."""
    better = table([0.75, 1.0, 0.25], image_ids=[1, 1, 2])
    gain = gain_over_sentences(better, table([0.25, 0.5, 0.5], image_ids=[1, 1, 2]))
    assert (gain.gain, gain.count) == (pytest.approx(0.25), 2)
    assert (gain.low, gain.high) == (-0.25, 0.5)  # image 2 twice, image 1 twice


def test_sentences_of_an_image_stay_together():
    once = np.random.default_rng(0).random((2, 10))
    many = np.repeat(once, 30, axis=1)
    alone = gain_over_sentences(*map(table, once))
    images = np.repeat(np.arange(10), 30)
    together = gain_over_sentences(*(table(ious, images) for ious in many))
    assert [together.low, together.high] == pytest.approx([alone.low, alone.high])
    apart = gain_over_sentences(*map(table, many))
    assert apart.high - apart.low < 0.5 * (alone.high - alone.low)


def test_the_bootstrap_agrees_with_a_plain_loop_and_follows_the_seed():
    first, second = correlated(1)
    gain = gain_over_sentences(first, second, resamples=4000)
    generator, by_image = np.random.default_rng(9), {}
    columns = first["image_id"], first["iou"], second["iou"]
    for image, ours, theirs in zip(*(column.to_pylist() for column in columns)):
        by_image.setdefault(image, []).append(ours - theirs)
    images = list(by_image.values())
    means = []
    for _ in range(4000):
        drawn = generator.integers(len(images), size=len(images))
        means.append(np.mean([difference for k in drawn for difference in images[k]]))
    assert [gain.low, gain.high] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=5e-4)
    assert gain_over_sentences(first, second, resamples=4000) == gain
    assert gain_over_sentences(first, second, seed=1, resamples=4000) != gain


def test_paired_intervals_of_correlated_scores_are_narrower_than_unpaired_ones():
    generator = np.random.default_rng(0)
    luck = generator.normal(0, 0.05, 5)  # of the seed, shared by both
    first, second = 0.52 + luck + generator.normal(0, 0.003, 5), 0.50 + luck + generator.normal(0, 0.003, 5)
    gain = gain_over_seeds(first, second)
    unpaired = 2 * t_quantile(8) * math.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 5)
    assert gain.high - gain.low < 0.3 * unpaired
    assert gain.verdict == "helps"

    tables = correlated(2)
    gain = gain_over_sentences(*tables)
    widths = []
    for rows in tables:
        accumulator = Accumulator()
        counted = np.rint(1e6 * rows["iou"].to_numpy()).astype(np.int64)
        accumulator.update(counted, [10**6] * len(rows), rows["image_id"].to_pylist())
        low, high = accumulator.result().intervals["miou"]
        widths.append(high - low)
    assert gain.high - gain.low < 0.3 * math.hypot(*widths)
    assert gain.verdict == "helps"


TWO = table([0.5, 0.25])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gain_over_seeds({1: 0.5}, {1: 0.5}), "1 paired seeds; an interval needs at least 2"),
        (lambda: gain_over_seeds([], []), "0 paired seeds"),
        (
            lambda: gain_over_seeds({1: 0.5, 2: 0.5, 3: 0.5}, {1: 0.5, 2: 0.5}),
            r"scores of seeds \[3\] with it only; run the missing",
        ),
        (
            lambda: gain_over_seeds({1: 0.5, "a": 0.5}, {1: 0.5, 4: 0.5, 5: 0.5}),
            r"seeds \['a'\] with it only and \[4, 5\] without it only",
        ),
        (lambda: gain_over_seeds([0.5, 0.5], [0.5]), "2 scores with it, 1 without"),
        (lambda: gain_over_seeds({0: 0.5, 1: 0.5}, [0.5, 0.5]), "one side is a mapping"),
        (lambda: gain_over_seeds({0: 0.5, 7: math.nan}, {0: 0.5, 7: 0.5}), "scores of seed 7 are nan and 0.5"),
        (lambda: t_quantile(0), "freedom=0"),
        (lambda: gain_over_sentences(TWO, table([0.5])), "1 sentences stand in the rows only and 0 in the reference"),
        (lambda: gain_over_sentences(TWO, table([0.5, 0.25], sentence=["a", "b"])), "2 sentences .* and 2 in the"),
        (lambda: gain_over_sentences(TWO, table([0.5, 0.25], sentence_id=[0, 7])), "1 sentences .* and 1 in the"),
        (lambda: gain_over_sentences(TWO, TWO.drop_columns(["iou", "ref_id"])), "lacks ref_id, iou; expected"),
        (lambda: gain_over_sentences(TWO, table([0.5, 1.5])), r"iou holds 1.5; expected numbers in \[0, 1\]"),
        (lambda: gain_over_sentences(TWO, table([0.5, math.nan])), "iou holds nan"),
        (lambda: gain_over_sentences(table([1, 0], [3, 3]), table([1, 0], [3, 3])), "1 images; an interval needs"),
        (lambda: gain_over_sentences(TWO.slice(0, 0), TWO.slice(0, 0)), "0 images"),
        (lambda: gain_over_sentences(TWO, TWO, resamples=0), "resamples=0"),
        (
            lambda: gain_over_sentences(table([1, 0], protocol="original"), table([1, 0], protocol="cris_035")),
            "under protocol 'original', the reference under 'cris_035'",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
