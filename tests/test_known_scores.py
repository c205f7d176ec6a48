"""Scores that are known beforehand: right for sound masks, and a fault where a target is empty."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from ris_lib.data.verify import read_files
from ris_lib.metrics import Accumulator, known_scores
from ris_lib.metrics.known_scores import check_scores


def rle(pixels: int):
    mask = np.zeros((4, 5), dtype=np.uint8, order="F")
    mask.T.flat[:pixels] = 1
    return coco_mask.encode(mask)


def test_sound_masks_score_what_they_must():
    itself, nothing, by_hand = check_scores([(1, 3, rle(5)), (2, 1, rle(20))])
    assert itself.state == nothing.state == by_hand.state == "ok"
    assert itself.came == nothing.came == "4 sentences"


def test_an_empty_target_is_a_fault():
    itself, nothing, by_hand = check_scores([(1, 1, rle(5)), (2, 1, rle(0))])
    assert itself.faults[:2] == ("mIoU is 50, expected 100", "Prec@0.5 is 50, expected 100")
    assert nothing.state == by_hand.state == "ok"


def test_without_masks_only_the_two_by_hand_are_asked():
    assert [verdict.state for verdict in check_scores([])] == ["cannot", "cannot", "ok"]


def test_a_metric_that_counts_wrongly_is_noticed(monkeypatch):
    class Wrong(Accumulator):
        def update(self, intersections, unions, image_ids):
            super().update(intersections, [union + 1 for union in unions], image_ids)

    monkeypatch.setattr(known_scores, "Accumulator", Wrong)
    assert [verdict.state for verdict in check_scores([(1, 1, rle(5))])] == ["differs", "ok", "differs"]


@pytest.mark.parametrize(("name", "sentences"), [("refcoco", 68), ("refcoco+", 167), ("refcocog", 20)])
def test_real_masks(name, sentences, real_data):
    verdicts = check_scores(read_files(real_data / "mini_refcoco", name).scorable())
    assert [verdict.state for verdict in verdicts] == ["ok"] * 3
    assert verdicts[0].came == f"{sentences} sentences"
