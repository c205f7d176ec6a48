"""The explorer on the first page: it is the one that the library makes, and the model finds what it is said to find."""

from pathlib import Path

from book import _teaser
from ris_lib import Predictor, create_model
from ris_lib.data import load_dataset

FRONT = Path(_teaser.__file__).parent / "_static" / "front.html"


def test_the_model_finds_every_object_of_the_first_page():
    split, number = _teaser.FRONT
    sample = load_dataset("scenes", split, limit=number + 1)[number]
    targets = {expression.sentence: expression for expression in sample.expressions}
    predict = Predictor(create_model(_teaser.MODEL, pretrained=True), device="cpu")
    masks = predict(sample.image, list(_teaser.FRONT_SENTENCES)).masks
    for sentence, mask in zip(_teaser.FRONT_SENTENCES, masks, strict=True):
        target = targets[sentence].mask()
        assert (mask & target).sum() >= 0.8 * (mask | target).sum(), sentence
    assert len({targets[sentence].referent_id for sentence in _teaser.FRONT_SENTENCES}) == len(_teaser.FRONT_SENTENCES)


def test_the_first_page_has_this_explorer():
    shown = FRONT.read_text(encoding="utf-8")
    assert '<figure class="ris-explorer"' in shown
    assert len(shown) < 150_000
    assert all(sentence in shown for sentence in _teaser.FRONT_SENTENCES)
    assert _teaser.FRONT_ALT in shown
