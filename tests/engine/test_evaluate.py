import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pycocotools import mask as coco_mask

from ris_lib.data import Index, load_dataset
from ris_lib.engine import evaluate
from ris_lib.engine.evaluate import SENTENCES
from ris_lib.engine.shuffle import with_index
from ris_lib.metrics import gain_over_sentences
from ris_lib.models import create_model

ROOT = Path(__file__).parents[2]


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


def varied():
    """A model of input size 32 whose answers differ from sentence to sentence."""
    torch.manual_seed(0)
    model = create_model("baseline_tiny", preprocess={"size": [32, 32]})
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter)  # a fresh head says no everywhere
    return model


def partly_unreadable(dataset):
    """The data set with a sentence of its first object that no vocabulary knows; its ids stay."""
    first = dataset.index.row(0)
    return changed(dataset, sentences=["xyzzy", *first["sentences"][1:]])


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
    model = varied()
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


def test_what_each_sentence_scored_by_hand(left_half, scenes):
    result = evaluate(left_half, scenes, images_per_batch=3, progress=False)
    rows = result.sentences.to_pylist()
    asked = [(scenes[k].image_id, e) for k in range(len(scenes)) for e in scenes.expressions(k)]
    expected = [(image, e.ref_id, e.sentence_id, e.sentence, e.kind) for image, e in asked]
    assert [tuple(row.values())[:5] for row in rows] == expected
    left = half(32, 32)
    for row, (_, expression) in zip(rows, asked):
        target = expression.mask()
        assert (row["intersection"], row["union"]) == ((target & left).sum(), (target | left).sum())
    assert [row["iou"] for row in rows] == pytest.approx(ious(scenes, left))
    assert result.sentences.schema.equals(SENTENCES)
    assert result.sentences.schema.metadata == {b"protocol": b"original"}
    assert "sentences" not in result.to_json()
    assert "pyarrow" not in repr(result)  # it would be pages long


@pytest.mark.parametrize("protocol", ["original", "network_480", "cris_035"])
def test_the_mean_of_the_sentences_is_the_score(scenes, protocol):
    result = evaluate(varied(), scenes, protocol, intervals=False, progress=False)
    table, scores = result.sentences, result.scores
    assert table["iou"].to_numpy().mean() == pytest.approx(scores.miou, abs=1e-12)
    assert table["intersection"].to_numpy().sum() / table["union"].to_numpy().sum() == scores.oiou
    for kind, group in result.groups.items():
        chosen = [row["iou"] for row in table.to_pylist() if row["kind"] == kind]
        assert np.mean(chosen) == pytest.approx(group.miou, abs=1e-12)
    assert 0 < scores.miou < 1


def test_an_unreadable_sentence_keeps_its_place_among_the_sentences(left_half, scenes):
    with pytest.warns(UserWarning, match="1 of .* sentences have no word"):
        spoilt = evaluate(left_half, partly_unreadable(scenes), progress=False).sentences.to_pylist()
    plain = evaluate(left_half, scenes, progress=False).sentences.to_pylist()
    assert spoilt[1:] == plain[1:]
    target = int(scenes.expressions(0)[0].mask().sum())
    assert spoilt[0] == plain[0] | {"sentence": "xyzzy", "intersection": 0, "union": target, "iou": 0.0}


def test_an_empty_union_scores_zero(left_half, scenes):
    first = scenes.index.row(0)
    nothing = coco_mask.encode(np.zeros((32, 32), np.uint8, order="F"))["counts"]
    empty = changed(scenes, rle=nothing, sentences=["xyzzy"] * len(first["sentences"]))
    with pytest.warns(UserWarning, match="no word that the model knows"):
        row = evaluate(left_half, empty, progress=False).sentences.to_pylist()[0]
    assert (row["intersection"], row["union"], row["iou"]) == (0, 0, 0.0)


def test_sentences_that_share_their_ids_all_count(left_half, scenes):
    """The numbers of sentences belong to the data set; one that repeats them is scored as any other."""
    count = len(scenes.index.row(0)["sentences"])
    result = evaluate(left_half, changed(scenes, sentence_ids=[0] * count), progress=False)
    assert result.scores == evaluate(left_half, scenes, progress=False).scores
    assert len(result.sentences) == result.counts["sentences"]


def test_two_models_are_compared_by_their_sentences(left_half, scenes):
    first, second = (evaluate(model, scenes, progress=False) for model in (varied(), left_half))
    gain = gain_over_sentences(first.sentences, second.sentences)
    assert gain.gain == pytest.approx(first.scores.miou - second.scores.miou, abs=1e-15)
    assert gain.low <= gain.gain <= gain.high
    assert gain.count == first.scores.images
    other = evaluate(left_half, scenes, shuffle_sentences=True, progress=False)
    with pytest.raises(ValueError, match=r"\d+ sentences stand in the rows only and \d+ in the reference only"):
        gain_over_sentences(first.sentences, other.sentences)
    square = evaluate(left_half, scenes, "network_480", progress=False)
    with pytest.raises(ValueError, match="the reference under 'network_480'"):
        gain_over_sentences(first.sentences, square.sentences)


SCRIPT = """
import sys
import pyarrow.parquet as pq
from accelerate import PartialState
from ris_lib.data import load_dataset
from ris_lib.engine import evaluate
from tests.engine.test_evaluate import partly_unreadable, varied
dataset = partly_unreadable(load_dataset("scenes", "train", size=32, limit=5))
state = PartialState(cpu=True)
assert state.num_processes == 2
result = evaluate(varied(), dataset, images_per_batch=1, progress=False, device="cpu")
assert result.unreadable == 1
pq.write_table(result.sentences, f"{sys.argv[1]}/{state.process_index}.parquet")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="gloo on one machine")
@pytest.mark.filterwarnings("ignore:.*no word that the model knows")
def test_two_processes_give_the_same_table(tmp_path, scenes):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    launch += [str(script), str(tmp_path)]
    done = subprocess.run(
        launch, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    dataset = partly_unreadable(with_index(scenes, scenes.index, limit=5))
    alone = evaluate(varied(), dataset, images_per_batch=1, progress=False, device="cpu").sentences
    for process in range(2):
        assert pq.read_table(tmp_path / f"{process}.parquet").equals(alone, check_metadata=True)
    assert len(set(alone["iou"].to_pylist())) > 5  # else equal tables would say little


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
    assert set(result.sentences["kind"].to_pylist()) == {""}
    assert result.sentences["sentence"].to_pylist() == dataset.sentences()
