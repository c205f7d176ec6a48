"""A batch holds every picture once and every sentence in its place."""

import json
import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from ris_lib.data import load_dataset
from ris_lib.data.collate import Collator, Preprocess
from ris_lib.data.sample import Expression, Sample


@dataclass
class Tokens:
    token_ids: torch.Tensor
    word_mask: torch.Tensor
    word_index: torch.Tensor
    spans: torch.Tensor


class LetterTokenizer:
    """One token for each letter, four at most."""

    def __init__(self, drop=0):
        self.drop = drop

    def __call__(self, sentences):
        rows = sentences[self.drop :]
        ids = torch.tensor([[ord(c) for c in text[:4].ljust(4, "\0")] for text in rows])
        spans = torch.stack([torch.arange(4), torch.arange(1, 5)], dim=-1).expand(len(rows), 4, 2)
        return Tokens(ids, ids > 0, torch.where(ids > 0, 0, -1), spans)


def make_sample(image_id, height, width, sentences, corner=(0, 0), side=4):
    image = np.full((height, width, 3), image_id, dtype=np.uint8)
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[corner[0] : corner[0] + side, corner[1] : corner[1] + side] = 1
    rle = coco_mask.encode(np.asfortranarray(mask))
    expressions = tuple(
        Expression(text, 10 * image_id, 100 * image_id + k, image_id, "cup", f"kind{k}", (0.0, 0.0, 4.0, 4.0), rle)
        for k, text in enumerate(sentences)
    )
    return Sample(image, image_id, expressions)


def make_collator(**options):
    return Collator(LetterTokenizer(), Preprocess(size=(16, 24), mean=(0, 0, 0), std=(1, 1, 1)), **options)


def test_pictures_of_mixed_sizes_and_sentences_in_order():
    samples = [make_sample(51, 16, 24, ["ab", "cde"]), make_sample(102, 40, 20, ["f"], corner=(20, 10), side=10)]
    batch = make_collator()(samples)
    assert len(batch) == 3
    assert batch.images.shape == (2, 3, 16, 24)
    assert batch.images.dtype == torch.float32
    torch.testing.assert_close(batch.images[:, 0, 0, 0], torch.tensor([0.2, 0.4]))
    assert batch.sentences == ["ab", "cde", "f"]
    assert batch.image_index.tolist() == [0, 0, 1]
    assert batch.original_size.tolist() == [[16, 24], [40, 20]]
    assert batch.to_network.shape == (2, 2, 2)
    assert batch.to_network.dtype == torch.float64
    assert batch.to_network[1, :, 0].tolist() == pytest.approx([16 / 40, 24 / 20])
    assert batch.referent_id.tolist() == [510, 510, 1020]
    assert batch.sentence_id.tolist() == [5100, 5101, 10200]
    assert batch.image_id.tolist() == [51, 102]
    assert batch.kinds == ["kind0", "kind1", "kind0"]
    assert batch.token_ids.shape == batch.word_mask.shape == batch.word_index.shape == (3, 4)
    assert batch.spans.shape == (3, 4, 2)
    assert batch.masks.shape == (3, 16, 24)
    assert batch.masks.dtype == torch.bool
    assert batch.masks.sum((1, 2)).tolist() == [16, 16, 4 * 12]
    assert batch.masks[2, 8:12, 12:24].all()
    assert batch.targets == [e.rle for sample in samples for e in sample.expressions]


def test_without_targets_no_mask_is_needed():
    sample = make_sample(1, 8, 8, ["a"])
    no_mask = replace(sample, expressions=(replace(sample.expressions[0], rle=None),))
    batch = make_collator(with_targets=False)([no_mask])
    assert batch.masks is None
    assert batch.targets is None
    assert batch.referent_id.tolist() == [10]
    with pytest.raises(ValueError, match="has no mask"):
        make_collator()([no_mask])


def test_a_mask_that_vanishes_stays_in_the_batch():
    batch = make_collator()([make_sample(1, 200, 200, ["tiny", "tiny again"], side=1)])
    assert len(batch) == 2
    assert not batch.masks.any()
    assert coco_mask.area(batch.targets[0]) == 1


def test_one_picture_and_sentences_for_prediction():
    batch = make_collator().images_only(np.zeros((10, 20, 3), dtype=np.uint8), ["a", "b"])
    assert batch.images.shape == (1, 3, 16, 24)
    assert batch.image_index.tolist() == [0, 0]
    assert batch.original_size.tolist() == [[10, 20]]
    assert batch.masks is batch.targets is batch.referent_id is batch.kinds is batch.image_id is None


@pytest.mark.parametrize("sentences", ["a cup", [], [1], None])
def test_sentences_for_prediction_are_a_list_of_strings(sentences):
    with pytest.raises(ValueError, match="expected a list of at least one"):
        make_collator().images_only(np.zeros((10, 20, 3), dtype=np.uint8), sentences)


def test_what_is_no_batch():
    with pytest.raises(ValueError, match="no samples"):
        make_collator()([])
    with pytest.raises(ValueError, match="image 3 has no sentence"):
        make_collator()([make_sample(3, 8, 8, [])])
    with pytest.raises(ValueError, match="made 1 rows of 2 sentences"):
        Collator(LetterTokenizer(drop=1), Preprocess((8, 8)))([make_sample(3, 8, 8, ["a", "b"])])
    sample = make_sample(3, 8, 8, ["a"])
    with pytest.raises(ValueError, match=r"mask has .* \(8, 8\), its picture \(8, 9\)"):
        make_collator()([replace(sample, image=np.zeros((8, 9, 3), dtype=np.uint8))])
    with pytest.raises(ValueError, match=r"expected .H, W, 3. uint8"):
        make_collator()([replace(sample, image=np.zeros((8, 8), dtype=np.uint8))])


def test_worker_processes_make_the_same_batches(tmp_path):
    dataset = load_dataset("scenes", "val", root=tmp_path, size=32, limit=4)
    collator = pickle.loads(pickle.dumps(make_collator()))
    batches = [
        list(torch.utils.data.DataLoader(dataset, batch_size=2, num_workers=workers, collate_fn=collator))
        for workers in (0, 2)
    ]
    for here, there in zip(*batches, strict=True):
        assert here.sentences == there.sentences
        assert torch.equal(here.images, there.images)
        assert torch.equal(here.masks, there.masks)
    assert len(batches[0]) == 2


def test_preprocess_survives_json():
    preprocess = Preprocess((96, 128), "letterbox", (0.1, 0.2, 0.3), (1, 2, 3))
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess
    image = np.full((10, 10, 3), 255, dtype=np.uint8)
    picture, to_network = preprocess(image)
    assert picture.shape == (3, 96, 128)
    torch.testing.assert_close(picture[:, 50, 64], torch.tensor([0.9, 0.4, 0.7 / 3]))
    torch.testing.assert_close(picture[:, 0, 0], torch.zeros(3))  # the frame has the mean colour
    assert to_network.shape == (2, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": (0, 4)}, "two positive whole numbers"),
        ({"size": (4,)}, "two positive whole numbers"),
        ({"size": (4.5, 4)}, "two positive whole numbers"),
        ({"resize": "streetch"}, "did you mean 'stretch'"),
        ({"mean": (0.5,)}, "three finite numbers"),
        ({"mean": (float("nan"), 0, 0)}, "three finite numbers"),
        ({"std": (1, 1, 0)}, "positive"),
        ({"size": (4, 5000)}, "of at most 4096"),
        ({"mean": ("a", 0, 0)}, "three finite numbers"),
        ({"mean": (10**400, 0, 0)}, "three finite numbers"),
        ({"sizes": (4, 4)}, "did you mean 'size'"),
    ],
)
def test_bad_preprocess_settings(values, message):
    with pytest.raises(ValueError, match=message):
        Preprocess.from_dict(values)


@pytest.mark.parametrize("name", ["size", "mean", "std"])
def test_a_number_where_a_list_belongs_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is 96; expected a list"):
        Preprocess.from_dict({"size": (8, 8)} | {name: 96})
