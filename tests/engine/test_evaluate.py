import json

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from ris_lib.data import Index, load_dataset
from ris_lib.engine import evaluate
from ris_lib.engine.shuffle import with_index
from ris_lib.models import create_model


def ious(dataset, prediction) -> list[float]:
    """IoU of one mask with every object that is asked for, by hand."""
    found = []
    for k in range(len(dataset)):
        for expression in dataset.expressions(k):
            target = expression.mask()
            found.append((target & prediction).sum() / (target | prediction).sum())
    return found


def half(height, width) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[:, : width // 2] = True
    return mask


def changed(dataset, **columns):
    """The data set with some columns of its first row replaced."""
    rows = dataset.index.rows(np.arange(len(dataset.index)))
    rows[0] |= columns
    return with_index(dataset, Index.from_rows(rows))


def test_scores_by_hand(left_half, scenes):
    result = evaluate(left_half, scenes, progress=False, device="cpu")
    expected = ious(scenes, half(32, 32))
    assert result.scores.miou == pytest.approx(np.mean(expected))
    assert result.scores.count == len(expected) == result.counts["sentences"]
    for group in result.groups.values():
        assert 0 <= group.miou <= 1
    assert sum(group.count for group in result.groups.values()) == len(expected)


def test_masks_are_compared_at_the_original_size(left_half):
    large = load_dataset("scenes", "train", size=50, limit=3)
    result = evaluate(left_half, large, progress=False, device="cpu")
    assert result.scores.miou == pytest.approx(np.mean(ious(large, half(50, 50))))


def test_network_480_compares_on_its_own_grid(left_half):
    """A picture twice as wide as high: at 480 x 480 its halves are equal again."""
    scenes = load_dataset("scenes", "train", size=32, limit=1)
    wide = np.zeros((32, 64), bool)
    wide[8:24, 16:48] = True  # half of it lies in the left half: I = 256, U = 1024 + 256
    rle = coco_mask.encode(np.asfortranarray(wide, np.uint8))["counts"]
    row = {**scenes.index.row(0), "rle": rle, "width": 64}

    class Wide:
        def read(self, number, file_name):
            return np.zeros((32, 64, 3), np.uint8)

    dataset = type(scenes)(Index.from_rows([row]), Wide(), "scenes", "train")
    for protocol in ("original", "network_480", "cris_035"):
        result = evaluate(left_half, dataset, protocol, progress=False, device="cpu")
        assert result.scores.protocol == protocol
        assert result.scores.miou == pytest.approx(256 / 1280)


def test_the_result_says_everything_that_the_numbers_depend_on(left_half, scenes):
    values = json.loads(json.dumps(evaluate(left_half, scenes, seed=3, progress=False).to_json()))
    assert (values["protocol"], values["dataset"], values["split"], values["seed"]) == (
        "original",
        "scenes",
        "train",
        3,
    )
    assert values["counts"] == scenes.counts()
    assert values["model"] == "baseline_tiny"
    assert values["fixed_by"]["size"] == 32
    assert list(values["prec"]) == ["0.5", "0.6", "0.7", "0.8", "0.9"]
    for number in (values["miou"], values["oiou"], *values["prec"].values()):
        assert 0 <= number <= 1
    low, high = values["intervals"]["miou"]
    assert 0 <= low <= values["miou"] <= high <= 1
    assert evaluate(left_half, scenes, intervals=False, progress=False).to_json()["intervals"] is None


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_and_workers_do_not_change_the_scores(scenes, workers):
    torch.manual_seed(0)
    model = create_model("baseline_tiny", preprocess={"size": [32, 32]})
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter)  # a fresh head says no everywhere
    one = evaluate(model, scenes, images_per_batch=1, progress=False)
    many = evaluate(model, scenes, images_per_batch=5, workers=workers, progress=False)
    assert one.scores.miou == pytest.approx(many.scores.miou, abs=1e-3)
    assert one.scores.miou > 0


def test_the_mode_stays(scenes):
    model = create_model("baseline_tiny", preprocess={"size": [32, 32]}).train()
    evaluate(model, scenes, limit=1, progress=False)
    assert model.training


def test_a_limit_takes_the_first_pictures(left_half, scenes):
    result = evaluate(left_half, scenes, limit=3, progress=False)
    assert result.counts == with_index(scenes, scenes.index, limit=3).counts()
    assert result.scores.images == 3
    with pytest.raises(ValueError, match="limit is 0"):
        evaluate(left_half, scenes, limit=0)


@pytest.mark.parametrize("text", ["xyzzy plugh", "", "?!"])
def test_a_sentence_that_cannot_be_read_counts_as_an_empty_mask(left_half, scenes, text):
    one = with_index(scenes, scenes.index, limit=2)
    first = one.index.row(0)
    count = len(first["sentences"])
    spoilt = changed(one, sentences=[text] * count)
    with pytest.warns(UserWarning, match=f"{count} of .* sentences have no word that the model knows"):
        result = evaluate(left_half, spoilt, progress=False)
    expected = ious(one, half(32, 32))
    assert result.unreadable == count
    assert result.scores.count == len(expected)  # not skipped
    assert result.scores.miou == pytest.approx(sum(expected[count:]) / len(expected))
    assert result.to_json()["unreadable"] == count


def test_nothing_readable_at_all(left_half, scenes):
    rows = scenes.index.rows(np.arange(len(scenes.index)))
    for row in rows:
        row["sentences"] = ["xyzzy"] * len(row["sentences"])
    with pytest.warns(UserWarning, match="no word that the model knows"):
        result = evaluate(left_half, with_index(scenes, Index.from_rows(rows)), progress=False)
    assert result.scores.oiou == 0


def test_shuffled_sentences_are_scored_against_other_objects(scenes):
    torch.manual_seed(0)
    model = create_model("baseline_tiny", preprocess={"size": [32, 32]})
    seen = []
    forward = model.forward
    model.forward = lambda batch, **options: (
        seen.extend(zip(batch.sentences, batch.image_index.tolist())),
        forward(batch),
    )[1]
    result = evaluate(model, scenes, shuffle_sentences=True, seed=5, images_per_batch=8, progress=False)
    assert result.to_json()["shuffle_sentences"] is True
    own = {(e.sentence, k) for k in range(len(scenes)) for e in scenes.expressions(k)}
    assert sorted(text for text, _ in seen) == sorted(scenes.sentences())
    assert sum(pair in own for pair in seen) < len(seen) / 2


def test_bad_input(left_half, scenes):
    with pytest.raises(ValueError, match="unknown protocol 'origin'; did you mean 'original'"):
        evaluate(left_half, scenes, "origin")
    with pytest.raises(ValueError, match=r"1 of \d+ refs of scenes train have no mask to compare with"):
        evaluate(left_half, changed(scenes, rle=None), progress=False)
    for setting, value, least in (("images_per_batch", 0, 1), ("seed", -1, 0), ("workers", -1, 0)):
        with pytest.raises(ValueError, match=f"{setting}={value}; expected a whole number of at least {least}"):
            evaluate(left_half, scenes, **{setting: value}, progress=False)
    with pytest.raises(ValueError, match="scenes train has no picture"):
        evaluate(left_half, with_index(scenes, scenes.index.take([])), progress=False)


@pytest.mark.filterwarnings("ignore:.*no word that the model knows")
@pytest.mark.parametrize(("split", "refs"), [("val", 11), ("testA", 6), ("testB", 6)])
def test_real_counts(real_data, left_half, split, refs):
    """The counts of the real sample, from its own description; nothing is skipped."""
    dataset = load_dataset("refcoco+", split, root=real_data / "mini_refcoco", split_by="unc")
    result = evaluate(left_half, dataset, progress=False)
    assert result.counts["refs"] == refs
    assert result.scores.count == result.counts["sentences"]
    assert 0 < result.scores.miou < 0.5
    assert result.groups == {}
