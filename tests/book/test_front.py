"""The explorer on the first page: it is the one that the library makes, and the model finds what it is said to find."""

import pytest

from book._ext import front
from ris_lib import Predictor, create_model
from ris_lib.data import load_dataset
from tests.book.test_built_book import SITE, built  # noqa: F401  (a fixture)


def test_the_model_finds_every_object_of_the_first_page():
    split, number = front.SCENE
    sample = load_dataset("scenes", split, limit=number + 1)[number]
    targets = {expression.sentence: expression for expression in sample.expressions}
    predict = Predictor(create_model(front.MODEL, pretrained=True), device="cpu")
    masks = predict(sample.image, list(front.SENTENCES)).masks
    for sentence, mask in zip(front.SENTENCES, masks, strict=True):
        target = targets[sentence].mask()
        assert (mask & target).sum() >= 0.8 * (mask | target).sum(), sentence
    assert len({targets[sentence].referent_id for sentence in front.SENTENCES}) == len(front.SENTENCES)


@pytest.mark.book
def test_the_first_page_begins_with_the_explorer(built):  # noqa: F811
    page = (SITE / "intro.html").read_text(encoding="utf-8")
    shown = page[page.index("<article") : page.index("</article>")]
    assert shown.index('<figure class="ris-explorer"') < shown.index("<h2>")
    assert all(sentence in shown for sentence in front.SENTENCES)
    assert front.ALT in shown


def test_it_is_light():
    assert len(front.front()) < 150_000
