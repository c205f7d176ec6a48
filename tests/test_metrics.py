"""Metrics: numbers by hand, exactness, merging, intervals, refusals."""

import json
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from ris_lib.contract import MaskOutput
from ris_lib.data import Index, ReferringDataset
from ris_lib.engine import evaluate
from ris_lib.metrics import PROTOCOLS, Accumulator, Protocol, binarise, count_pixels, get_protocol, resize_maps
from ris_lib.models import create_model

TWO = {"intersections": [1, 80], "unions": [4, 100], "image_ids": [1, 2]}  # IoU .25 and .8


def filled(protocol="original", **columns) -> Accumulator:
    accumulator = Accumulator(protocol)
    accumulator.update(**(columns or TWO))
    return accumulator


def random_columns(seed: int, count: int = 60, images: int = 12) -> dict:
    generator = np.random.default_rng(seed)
    unions = generator.integers(0, 500, count)
    return {
        "intersections": (unions * generator.random(count)).astype(np.int64),
        "unions": unions,
        "image_ids": generator.integers(images, size=count),
        "groups": {"kind": [("colour", "place", "size")[k % 3] for k in range(count)]},
    }


def test_two_sentences_by_hand():
    scores = filled().result(intervals=False)
    assert scores.miou == pytest.approx((0.25 + 0.8) / 2)
    assert scores.oiou == pytest.approx(81 / 104)
    assert scores.prec == {"0.5": 0.5, "0.6": 0.5, "0.7": 0.5, "0.8": 0.5, "0.9": 0.0}
    assert (scores.count, scores.images, scores.protocol, scores.intervals) == (2, 2, "original", None)


def test_target_against_itself_is_one_and_background_is_zero():
    target = torch.rand(5, 6, 7, generator=torch.Generator().manual_seed(0)) > 0.5
    for prediction, expected in ((target, 1.0), (torch.zeros_like(target), 0.0)):
        for protocol in PROTOCOLS:
            counted, union = count_pixels(prediction, target)
            scores = filled(protocol, intersections=counted, unions=union, image_ids=range(5)).result(intervals=False)
            assert [scores.miou, scores.oiou, *scores.prec.values()] == [expected] * 7


class Blank:
    """Pictures of nothing; the name of a file is its side."""

    def read(self, number, file_name):
        return np.zeros((int(file_name), int(file_name), 3), np.uint8)


def test_in_the_square_every_picture_weighs_the_same_and_else_a_large_one_weighs_more():
    """A small picture whose left half is meant and a large one that is meant whole; the answer is the left half."""
    rows = []
    for side, share in ((32, 2), (96, 1)):
        mask = np.zeros((side, side), np.uint8, order="F")
        mask[:, : side // share] = 1
        row = {"dataset": "scenes", "split": "train", "split_by": "", "category": "", "crowd": False}
        row |= dict.fromkeys(("image_id", "ref_id", "referent_id", "height", "width"), side)
        row |= {"file_name": str(side), "box": [0.0, 0.0, 1.0, 1.0], "rle": coco_mask.encode(mask)["counts"]}
        rows.append(row | {"sentences": ["the red person"], "sentence_ids": [side], "kinds": [""]})
    dataset = ReferringDataset(Index.from_rows(rows), Blank(), "scenes", "train")
    model = create_model("baseline_tiny", preprocess={"size": [32, 32]})
    left = torch.where(torch.arange(32) < 16, 20.0, -20.0).expand(1, 1, 32, 32)
    model.forward = lambda batch: MaskOutput(logits=left.expand(len(batch), -1, -1, -1))
    for protocol, expected in (("original", (512 + 4608) / (512 + 9216)), ("network_480", (1 + 1) / (1 + 2))):
        scores = evaluate(model, dataset, protocol, intervals=False, progress=False, device="cpu").scores
        assert scores.oiou == pytest.approx(expected)
        assert scores.miou == pytest.approx((1 + 0.5) / 2)


def test_empty_union_counts_zero():
    counted, union = count_pixels(np.zeros((3, 3), bool), np.zeros((3, 3), bool))
    scores = filled(intersections=[counted, 4], unions=[union, 4], image_ids=[1, 2]).result(intervals=False)
    assert (scores.miou, scores.oiou, scores.prec["0.5"]) == (0.5, 1.0, 0.5)
    nothing = filled(intersections=[0], unions=[0], image_ids=[1]).result(intervals=False)
    assert (nothing.miou, nothing.oiou, nothing.prec["0.5"]) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("tenths", [5, 6, 7, 8, 9])
def test_iou_exactly_at_the_threshold_reaches_it_only_where_inclusive(tenths):
    for union in (10, 30, 70, 490):  # tenths / 10 * union is whole, and often not exact as a float
        counted = tenths * union // 10
        key = f"0.{tenths}"
        for protocol, expected in (("original", 1.0), ("network_480", 1.0), ("cris_035", 0.0)):
            columns = {"intersections": [counted], "unions": [union], "image_ids": [0]}
            assert filled(protocol, **columns).result(intervals=False).prec[key] == expected
        columns = {"intersections": [counted - 1], "unions": [union], "image_ids": [0]}
        assert filled("original", **columns).result(intervals=False).prec[key] == 0.0


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 5)), min_size=1, max_size=20))
@settings(max_examples=40, deadline=None)
def test_equals_fractions(rows):
    rows = [(min(i, u), max(i, u), image) for i, u, image in rows]
    counted, union, image = zip(*rows)
    scores = filled(intersections=counted, unions=union, image_ids=image).result(intervals=False)
    exact = [Fraction(i, u) if u else Fraction(0) for i, u, _ in rows]
    assert scores.miou == pytest.approx(float(sum(exact) / len(exact)), abs=1e-14)
    assert scores.oiou == (float(Fraction(sum(counted), sum(union))) if sum(union) else 0.0)
    for name, share in scores.prec.items():
        assert share == sum(u > 0 and x >= Fraction(name) for x, u in zip(exact, union)) / len(rows)


def test_order_batches_and_processes_do_not_matter():
    columns = random_columns(0)
    whole = filled(**columns)
    shuffled = np.random.default_rng(1).permutation(60)
    parts = [Accumulator(), Accumulator()]
    for place, k in enumerate(shuffled):
        parts[place % 2].update(
            *([columns[name][k]] for name in ("intersections", "unions", "image_ids")),
            groups={"kind": [columns["groups"]["kind"][k]]},
        )
    parts[1].merge(parts[0])
    parts[1].merge(Accumulator())
    assert parts[1].result(seed=3) == whole.result(seed=3)
    assert parts[1].groups(intervals=True) == whole.groups(intervals=True)


@pytest.mark.parametrize("protocol", [*PROTOCOLS, Protocol("mine", 0.4, False, (8, 8), "bilinear")])
def test_state_survives_json_exactly(protocol):
    whole = filled(protocol, **random_columns(2))
    again = Accumulator.from_state(json.loads(json.dumps(whole.state())))
    assert again.result() == whole.result()
    assert again.groups() == whole.groups()
    assert again.protocol == whole.protocol
    assert Accumulator.from_state(Accumulator().state()).state() == Accumulator().state()


def test_groups_by_hand():
    accumulator = filled(**TWO, groups={"kind": ["colour", "place"], "split": ["val", "val"]})
    assert {name: s.miou for name, s in accumulator.groups("kind").items()} == {"colour": 0.25, "place": 0.8}
    assert accumulator.groups("split") == {"val": accumulator.result(intervals=False)}
    plain = filled(**TWO, groups=["colour", "place"])
    assert plain.groups() == accumulator.groups()


def test_intervals_resample_images_not_sentences():
    # 10 images; within an image all sentences are alike, so 30 copies of each must not make the interval narrower
    once = {"intersections": list(range(10)), "unions": [10] * 10, "image_ids": list(range(10))}
    many = {name: np.repeat(values, 30) for name, values in once.items()}
    assert filled(**once).result().intervals["miou"] == pytest.approx(filled(**many).result().intervals["miou"])


def test_intervals_agree_with_a_plain_loop():
    columns = random_columns(4)
    scores = filled(**columns).result(seed=0, resamples=4000)
    generator, by_image = np.random.default_rng(9), {}
    for i, u, image in zip(columns["intersections"], columns["unions"], columns["image_ids"]):
        by_image.setdefault(image, []).append((i, u))
    images = list(by_image.values())
    miou, oiou = [], []
    for _ in range(4000):
        rows = np.array([row for k in generator.integers(len(images), size=len(images)) for row in images[k]])
        miou.append(np.mean([i / u if u else 0 for i, u in rows]))
        oiou.append(rows[:, 0].sum() / rows[:, 1].sum())
    assert scores.intervals["miou"] == pytest.approx(np.quantile(miou, [0.025, 0.975]), abs=0.01)
    assert scores.intervals["oiou"] == pytest.approx(np.quantile(oiou, [0.025, 0.975]), abs=0.01)


def test_intervals_contain_the_score_and_follow_the_seed():
    accumulator = filled(**random_columns(5))
    first, same, other = accumulator.result(seed=0), accumulator.result(seed=0), accumulator.result(seed=1)
    assert first == same
    assert first.intervals != other.intervals
    for name in ("miou", "oiou"):
        low, high = first.intervals[name]
        assert low < getattr(first, name) < high
    for name, (low, high) in first.intervals["prec"].items():
        assert low <= first.prec[name] <= high
    json.dumps(first.to_dict())


def test_chunks_of_resamples_give_the_same_numbers(monkeypatch):
    accumulator = filled(**random_columns(6))
    whole = accumulator.result(resamples=50)
    monkeypatch.setattr("ris_lib.metrics.accumulator._CHUNK", 7 * 12)
    chunked = accumulator.result(resamples=50)
    assert chunked.intervals["oiou"] == whole.intervals["oiou"]
    assert chunked.intervals["miou"] == pytest.approx(whole.intervals["miou"], abs=1e-15)


def test_one_image_has_no_interval():
    assert filled(intersections=[1, 2], unions=[3, 3], image_ids=[5, 5]).result().intervals is None


def test_count_pixels_of_arrays_tensors_and_stacks():
    prediction = np.array([[True, True, False], [False, False, False]])
    target = np.array([[False, True, True], [False, False, False]])
    assert [int(n) for n in count_pixels(prediction, target)] == [1, 3]
    stacked = count_pixels(torch.from_numpy(np.stack([prediction, target])), np.stack([target, target]))
    assert [counts.tolist() for counts in stacked] == [[1, 2], [3, 2]]
    assert stacked[0].dtype == np.int64
    masks = np.random.default_rng(0).random((2, 3, 5, 7, 12)) < 0.5
    masks = masks[..., ::2]  # pixels that are not neighbours in memory
    stacked = count_pixels(masks[0], masks[1])
    assert (stacked[0] == (masks[0] & masks[1]).sum((-2, -1))).all()
    assert (stacked[1] == (masks[0] | masks[1]).sum((-2, -1))).all()
    assert [counts.shape for counts in count_pixels(masks[0, :, :0], masks[1, :, :0])] == [(3, 0), (3, 0)]


def test_threshold_is_strict():
    values = torch.tensor([0.35, 0.36, 0.5, 0.51])
    assert binarise(values, "original").tolist() == [False, False, False, True]
    assert binarise(values.double(), "cris_035").tolist()[1:] == [True, True, True]
    assert binarise(torch.tensor([0.35], dtype=torch.float64), "cris_035").tolist() == [False]
    assert binarise(torch.tensor([-0.2, 1.3])).tolist() == [False, True]  # cubic resampling overshoots


def test_resize_maps_equals_interpolate():
    maps = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    for mode in ("bilinear", "bicubic"):
        for aligned in (True, False):
            expected = F.interpolate(maps[None], (9, 11), mode=mode, align_corners=aligned)[0]
            torch.testing.assert_close(resize_maps(maps, (9, 11), mode, aligned), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: count_pixels(np.zeros((2, 2), bool), np.zeros((2, 3), bool)), r"\(2, 2\), the target \(2, 3\)"),
        (lambda: count_pixels(np.zeros((1, 2, 2), bool), np.zeros((2, 2), bool)), "expected the same"),
        (lambda: count_pixels(np.zeros(2, bool), np.zeros(2, bool)), "height, width"),
        (lambda: count_pixels(np.zeros((2, 2), np.uint8), np.zeros((2, 2), bool)), "prediction is torch.uint8"),
        (lambda: count_pixels(np.zeros((2, 2), bool), torch.zeros(2, 2)), "target is torch.float32"),
        (lambda: get_protocol("origin"), "did you mean 'original'"),
        (lambda: Accumulator("cris_35"), "did you mean 'cris_035'"),
        (lambda: binarise(torch.tensor([5.0, -7.0])), "sigmoid"),
        (lambda: binarise(torch.tensor([0.5, float("nan")])), "nan"),
        (lambda: binarise(torch.tensor([0, 1])), "torch.int64"),
        (lambda: resize_maps(torch.zeros(1, 1, 2, 2), (4, 4)), "height, width"),
        (lambda: resize_maps(torch.zeros(1, 2, 2, dtype=torch.long), (4, 4)), "float"),
        (lambda: resize_maps(torch.zeros(1, 2, 2), (4, 4), "cubic"), "did you mean 'bicubic'"),
        (lambda: filled(intersections=[3], unions=[2], image_ids=[9]), "image 9: intersection 3, union 2"),
        (lambda: filled(intersections=[-1], unions=[2], image_ids=[9]), "intersection -1"),
        (lambda: filled(intersections=[1.0], unions=[2], image_ids=[9]), "intersections is float64"),
        (lambda: filled(intersections=[[1]], unions=[2], image_ids=[9]), "shape"),
        (lambda: filled(intersections=[1], unions=[2, 3], image_ids=[9]), r"lengths \[1, 2\]"),
        (lambda: filled(**TWO, groups=["colour"]), r"lengths \[1, 2\]"),
        (lambda: filled(**TWO, groups=["a", "b"]).update(**TWO), "groupings"),
        (lambda: Accumulator().result(), "nothing was accumulated"),
        (lambda: filled().result(resamples=0), "resamples=0"),
        (lambda: filled(**TWO, groups={"split": ["val", "val"]}).groups("spilt"), "did you mean 'split'"),
        (lambda: filled().merge(filled("cris_035")), "cris_035"),
        (lambda: Accumulator.from_state({"rows": []}), "expected protocol"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_refused_update_leaves_nothing_behind():
    accumulator = filled()
    before = accumulator.state()
    with pytest.raises(ValueError, match="image 4"):
        accumulator.update([1, 5], [2, 2], [3, 4])
    assert accumulator.state() == before
