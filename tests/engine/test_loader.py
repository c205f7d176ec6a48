import numpy as np
import pytest
import torch

from ris_lib.data import Index
from ris_lib.data.tokenizers import ClipTokenizer, WordPieceTokenizer, WordTokenizer
from ris_lib.engine.loader import StepBatches, step_loader
from ris_lib.engine.shuffle import with_index
from ris_lib.models import create_model


@pytest.fixture(scope="module")
def collator():
    return create_model("baseline_tiny", preprocess={"size": [32, 32]}).collator()


def batches(scenes, collator, **changes) -> StepBatches:
    return StepBatches(scenes, collator, **{"seed": 0, "images_per_step": 2, "sentences_per_image": 2, **changes})


def same(one, two) -> bool:
    return one.sentences == two.sentences and torch.equal(one.images, two.images) and torch.equal(one.masks, two.masks)


def test_a_step_depends_on_seed_and_number_only(scenes, collator):
    one, two = batches(scenes, collator), batches(scenes, collator)
    forward = [one[k] for k in range(9)]
    backward = [two[k] for k in reversed(range(9))][::-1]
    assert all(same(a, b) for a, b in zip(forward, backward))
    assert not all(same(a, batches(scenes, collator, seed=1)[k]) for k, a in enumerate(forward))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_gives_the_steps_in_order_with_any_number_of_workers(scenes, collator, workers):
    source = batches(scenes, collator)
    loaded = list(step_loader(source, 3, 8, workers))
    assert len(loaded) == 5
    assert all(same(batch, source[3 + k]) for k, batch in enumerate(loaded))


def test_an_epoch_shows_every_picture_once_in_a_new_order(scenes, collator):
    source = batches(scenes, collator)
    epochs = [[pick.image for step in range(4 * e, 4 * e + 4) for pick in source.picks(step)] for e in range(3)]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_processes_and_parts_share_a_step_out(scenes, collator):
    whole = batches(scenes, collator, images_per_step=8)[2]
    shares = [
        batches(scenes, collator, images_per_step=8, accumulate=2, rank=rank, world=2)[2 * 2 + part]
        for part in range(2)
        for rank in range(2)
    ]
    assert [text for share in shares for text in share.sentences] == whole.sentences
    assert torch.equal(torch.cat([share.image_id for share in shares]), whole.image_id)
    with pytest.raises(ValueError, match=r"images_per_step=6 cannot be shared out.*multiple of 4"):
        batches(scenes, collator, images_per_step=6, accumulate=2, world=2)


def test_sentences_are_drawn_anew_and_never_twice(scenes, collator):
    source = batches(scenes, collator, images_per_step=8, sentences_per_image=2)
    seen = [source.sample(pick) for step in range(6) for pick in source.picks(step)]
    assert all(len({e.sentence_id for e in sample.expressions}) == len(sample.expressions) <= 2 for sample in seen)
    first = {tuple(e.sentence_id for e in s.expressions) for s in seen if s.image_id == seen[0].image_id}
    assert len(first) > 1
    everything = batches(scenes, collator, sentences_per_image=99)
    pick = everything.picks(0)[0]
    assert everything.sample(pick).expressions == scenes[pick.image].expressions


def test_fewer_pictures_than_a_step_has(scenes, collator):
    few = with_index(scenes, scenes.index, limit=3)
    assert sorted(p.image for p in batches(few, collator, images_per_step=6).picks(0)) == [0, 0, 1, 1, 2, 2]


def test_what_cannot_be_read_is_left_out_and_said(scenes, collator, caplog):
    rows = scenes.index.rows(np.arange(len(scenes.index)))
    first = rows[0]["image_id"]
    for row in rows:
        if row["image_id"] == first:
            row["sentences"] = ["xyzzy"] * len(row["sentences"])
    rows[-1]["sentences"][0] = "?!"
    source = batches(with_index(scenes, Index.from_rows(rows)), collator, sentences_per_image=99)
    assert source.unreadable == {"xyzzy", "?!"}
    assert "2 sentences cannot be read and are left out" in caplog.text
    seen = [source.sample(pick) for step in range(7) for pick in source.picks(step)]
    assert first not in {sample.image_id for sample in seen}
    assert source.unreadable.isdisjoint(e.sentence for sample in seen for e in sample.expressions)
    for row in rows:
        row["sentences"] = ["xyzzy"] * len(row["sentences"])
    with pytest.raises(ValueError, match="no sentence that the tokeniser can read"):
        batches(with_index(scenes, Index.from_rows(rows)), collator)


def test_sentences_that_are_cut_are_counted(scenes, collator, caplog):
    length = max(len(text.split()) for text in scenes.sentences())
    batches(scenes, collator)
    assert "are cut" not in caplog.text
    words = WordTokenizer.from_sentences(scenes.sentences(), length=length - 1)
    batches(scenes, type(collator)(words, collator.preprocess))
    assert f"are longer than {length - 1} tokens and are cut" in caplog.text


def test_a_mirrored_picture_has_mirrored_sentences(scenes, collator):
    source, plain = batches(scenes, collator, mirror=True), batches(scenes, collator)
    turned = 0
    for step in range(8):
        for pick in source.picks(step):
            sample, original = source.sample(pick), plain.sample(pick)
            if not np.array_equal(sample.image, original.image):
                turned += 1
                assert np.array_equal(sample.image[:, ::-1], original.image)
    assert 0 < turned < 16


def test_a_mirrored_sentence_that_cannot_be_read_is_not_used(scenes, collator):
    rows = scenes.index.rows(np.arange(len(scenes.index)))
    for row in rows:
        row["sentences"] = ["left"] * len(row["sentences"])
    only_left = type(collator)(WordTokenizer(["left"]), collator.preprocess)
    source = batches(with_index(scenes, Index.from_rows(rows)), only_left, mirror=True)
    assert {text for step in range(8) for text in source[step].sentences} == {"left"}


def test_objects_without_mask_are_refused(scenes, collator):
    rows = scenes.index.rows(np.arange(len(scenes.index)))
    rows[1]["rle"] = None
    with pytest.raises(ValueError, match=r"1 of \d+ refs of scenes train have no mask"):
        batches(with_index(scenes, Index.from_rows(rows)), collator)


@pytest.mark.parametrize("kind", [WordTokenizer, WordPieceTokenizer, ClipTokenizer])
def test_every_part_of_a_sentence_is_cut_once(scenes, collator, kind, monkeypatch):
    tokenizer = kind.from_sentences(scenes.sentences()) if kind is WordTokenizer else kind(20)
    cut, real = [], kind.cut
    monkeypatch.setattr(kind, "cut", lambda self, part: cut.append(part) or real(self, part))
    source = batches(scenes, type(collator)(tokenizer, collator.preprocess))
    assert sorted(cut) == sorted({part for text in scenes.sentences() for part in text.split()})
    assert source[0].token_ids.equal(tokenizer(source[0].sentences).token_ids)
    assert len(cut) == len(set(cut))


def test_a_sentence_that_is_too_long_is_found_at_the_start_and_not_in_the_middle_of_a_run(scenes, collator):
    rows = scenes.index.rows(np.arange(len(scenes.index)))
    endless = "the red cup " * 200
    rows[0]["sentences"][0] = endless
    source = batches(with_index(scenes, Index.from_rows(rows)), collator, sentences_per_image=99)
    assert source.unreadable == {endless}
    assert endless not in {text for step in range(4) for text in source[step].sentences}
