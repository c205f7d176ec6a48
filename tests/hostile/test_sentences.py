"""Sentences of every kind, through all tokenisers, a model, its files and its page: masks, or a refusal."""

import re
import warnings
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from hypothesis import strategies as some

from ris_lib.cli.predict import file_name
from ris_lib.data.scenes import VOCABULARY
from ris_lib.data.tokenizers import ClipTokenizer, WordPieceTokenizer, WordTokenizer
from ris_lib.data.tokenizers.base import LONGEST_SENTENCE
from ris_lib.engine import Predictor
from ris_lib.models import create_model
from ris_lib.show import explorer
from tests.hostile.cases import MEGABYTE, TEXTS, attempt, fuzz

BOUND = 32 * MEGABYTE

ODD = [
    "", " ", "\n", "\0", "a" * 100_000, "the left " * 12_000, "\u0301" * 100_000, "’'" * 1000, "&amp;" * 100,
    "\x1b[2J\x1b]0;red\x07 cup", "\u202ecup red eht", "\u2066red\u2069", "e\u0301" * 90 + " cup", "\ud83d cup",
    "İ" * 60, "<script>alert(1)</script> cup", "</script><img src=x onerror=alert(1)> red", "$\\frac{1}{0}$ red",
    "{0} %s red", "../../etc/passwd red", "<|startoftext|> red <|endoftext|>", "[MASK] [PAD] red",
    "ris predict; rm -rf ~ red", "כוס אדומה", "red كأس", "赤い cup", "\U0001f600" * 50,
    "cup\0red", "\ufeffcup", "1" * 5000, "red " * 400,
]  # fmt: skip
SENTENCES = some.one_of(
    some.sampled_from(ODD),
    TEXTS,
    some.text(max_size=60),
    some.builds("{} red {}".format, TEXTS, TEXTS),
    some.builds(lambda text, times: text * times, some.text(min_size=1, max_size=3), some.integers(1, 3000)),
    some.lists(some.sampled_from(["the", "red", "left", "ball", "\u0301", "\u200f", "’s", "\x7f", "\ud800"])).map(
        " ".join
    ),
)
TOKENIZERS = [WordTokenizer(VOCABULARY), WordPieceTokenizer(), WordPieceTokenizer(keep_separator=True), ClipTokenizer()]


@pytest.fixture(scope="module", autouse=True)
def _warm():
    """Vocabularies are read once a process."""
    for tokenizer in TOKENIZERS:
        tokenizer(["the red ball"])


@pytest.fixture(scope="module")
def predict():
    torch.manual_seed(0)
    made = Predictor(create_model("baseline_tiny", preprocess={"size": [32, 32]}), device="cpu")
    made(PICTURE, ["the red ball"])
    return made


PICTURE = np.zeros((20, 30, 3), dtype=np.uint8)


@fuzz(45, sentence=SENTENCES, which=some.integers(0, len(TOKENIZERS) - 1))
def test_every_tokenizer(sentence, which):
    tokenizer = TOKENIZERS[which]
    tokens, message = attempt(lambda: tokenizer([sentence]), bound=BOUND)
    if tokens is None:
        assert "sentence" in message
        return
    ids, mask = tokens.token_ids[0], tokens.word_mask[0]
    assert ids.shape == (tokenizer.length,)
    assert 0 <= ids.min() <= ids.max() < tokenizer.vocabulary_size
    assert (tokens.spans[0] >= 0).all()
    assert (tokens.spans[0] <= len(sentence)).all()
    assert (tokens.word_index[0][mask] >= -1).all()


@pytest.mark.parametrize("sentence", ODD, ids=range(len(ODD)))
def test_the_odd_ones_through_all(sentence):
    for tokenizer in TOKENIZERS:
        tokens, message = attempt(lambda tokenizer=tokenizer: tokenizer([sentence]), bound=BOUND)
        assert tokens is not None or "sentence" in message
        assert tokens is None or len(sentence) <= LONGEST_SENTENCE


@fuzz(15, sentences=some.lists(SENTENCES, max_size=3))
def test_a_model_and_its_page(predict, tmp_path_factory, sentences):
    folder = tmp_path_factory.getbasetemp()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        answer, message = attempt(lambda: predict(PICTURE, sentences), bound=BOUND)
    for warning in warned:
        assert len(str(warning.message)) < 2000
        assert str(warning.message).isprintable()
    if answer is None:
        assert "sentence" in message
        return
    assert answer.masks.shape == (len(sentences), 20, 30)
    names = [file_name(k, sentence) for k, sentence in enumerate(sentences, start=1)]
    assert all(re.fullmatch(r"[0-9a-z_-]{4,50}", name) for name in names)
    page = explorer(PICTURE, {"baseline": predict.explain(PICTURE, sentences)})
    attempt(lambda: page.save(folder / "page.html"), folder, bound=BOUND)
    assert active((folder / "page.html").read_text(encoding="utf-8")) == active(plain_page(predict))


@cache
def plain_page(predict: Predictor) -> str:
    return explorer(PICTURE, {"baseline": predict.explain(PICTURE, ["the red ball"])})._repr_html_()


def active(page: str) -> set[tuple[str, str]]:
    """What on a page could run or fetch something: elements of some kinds, attributes that begin with "on"."""
    found = set()

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag in ("script", "iframe", "object", "embed", "link", "base", "form"):
                found.add((tag, ""))
            found.update((tag, name) for name, _ in attributes if name.startswith("on") or name == "srcdoc")
            found.update((tag, "address") for name, value in attributes if name == "src" and value[:5] != "data:")

    Reader().feed(page)
    return found
