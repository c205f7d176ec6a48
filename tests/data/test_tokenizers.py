"""Tokenisers: ids of other implementations, spans, words, what is cut, what is refused."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ris_lib.data.tokenizers import (
    ClipTokenizer,
    WordPieceTokenizer,
    WordTokenizer,
    base,
    split_words,
    tokenizer_from_config,
)
from ris_lib.data.tokenizers.wordpiece import VOCABULARY

SENTENCES = [
    "the man in the red shirt",
    "LEFT zebra",
    "person's  arm -- partially hidden",
    "unbelievably giraffelike skateboarder's kneepads",
    "2nd from right!",
    "Çafé naïve, T-shirt & the dog's tail",
]
WORDS = WordTokenizer.from_sentences(SENTENCES, length=12)
ALL = [WORDS, WordPieceTokenizer(24), WordPieceTokenizer(24, keep_separator=True), ClipTokenizer(24)]


def texts(tokenizer, sentence: str) -> list[str]:
    """What each content token covers in its sentence."""
    tokens = tokenizer([sentence])
    return [sentence[a:b] for (a, b), k in zip(tokens.spans[0].tolist(), tokens.word_index[0].tolist()) if k >= 0]


def test_split_words_by_hand():
    sentence = "The man's  T-shirt, don’t 2nd_row!"
    words = split_words(sentence)
    assert " ".join(word.text for word in words) == "the man 's t - shirt , don 't 2nd _ row !"
    assert all(sentence[word.start : word.end].lower().replace("’", "'") == word.text for word in words)
    assert [word.text for word in split_words("' s 'quoted'")] == ["'", "s", "'", "quoted", "'"]
    assert split_words(" \t") == []


@pytest.mark.parametrize("tokenizer", ALL, ids=lambda t: t.kind)
def test_shapes_and_what_padding_holds(tokenizer):
    tokens = tokenizer(SENTENCES)
    shape = (len(SENTENCES), tokenizer.length)
    assert tokens.token_ids.shape == tokens.word_mask.shape == tokens.word_index.shape == shape
    assert tokens.spans.shape == (*shape, 2)
    assert tokens.token_ids.dtype == tokens.word_index.dtype == tokens.spans.dtype == torch.long
    assert tokens.word_mask.dtype == torch.bool
    assert (tokens.token_ids < tokenizer.vocabulary_size).all()
    padding = ~tokens.word_mask
    assert (tokens.token_ids[padding] == tokenizer.pad_id).all()
    assert (tokens.word_index[padding] == -1).all()
    assert (tokens.spans[padding] == 0).all()
    assert (tokens.word_mask.long().diff(dim=1) <= 0).all()  # padding stands at the end
    assert not any(tokens.truncated)


@pytest.mark.parametrize("tokenizer", ALL, ids=lambda t: t.kind)
@pytest.mark.parametrize("sentence", SENTENCES)
def test_spans_cover_every_word_and_index_names_it(tokenizer, sentence):
    assert "".join(texts(tokenizer, sentence)) == "".join(sentence.split())
    words, tokens = split_words(sentence), tokenizer([sentence])
    for (start, _), index in zip(tokens.spans[0].tolist(), tokens.word_index[0].tolist()):
        if index >= 0:
            assert words[index].start <= start < words[index].end


@pytest.mark.parametrize("tokenizer", ALL[1:], ids=lambda t: t.kind)
@given(st.text(min_size=1, max_size=40))
@settings(max_examples=150, deadline=None)
def test_any_text_has_spans_inside_it(tokenizer, sentence):
    try:
        tokens = tokenizer([sentence])
    except ValueError:
        return
    for (start, end), real, index in zip(
        tokens.spans[0].tolist(), tokens.word_mask[0].tolist(), tokens.word_index[0].tolist()
    ):
        assert 0 <= start <= end <= len(sentence)
        assert real or index == -1


UNUSUAL = st.text(
    st.sampled_from("aB9 \t\n\x1c\x85\u3000'’.-&;<>_é\u0301ßİΣ中\u200d") | st.characters(exclude_categories=["Cs"])
)


@pytest.mark.parametrize("tokenizer", ALL, ids=lambda t: t.kind)
@given(UNUSUAL | st.lists(st.sampled_from([*SENTENCES, "the", "&amp;", "x" * 120]), max_size=4).map(" ".join))
@settings(max_examples=300, deadline=None)
def test_cut_in_parts_is_as_cut_whole(tokenizer, sentence):
    try:
        assert tokenizer.encode(sentence) == tokenizer.cut(sentence)
    except ValueError:
        assert tokenizer.read(sentence) is None


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [("the cup", True), ("", False), ("  ", False), ("?", False), ("a mug", False), ("cup " * 501, False), (7, False)],
)
def test_what_can_be_read(sentence, expected):
    tokenizer = WordTokenizer(["cup", "?"])
    assert (tokenizer.read(sentence) is not None) is expected


def test_what_is_remembered_is_bounded_and_stays_here(monkeypatch):
    monkeypatch.setattr(base, "_MOST_KEPT", 3)
    tokenizer = WordPieceTokenizer(20)
    for number in range(8):
        tokenizer.encode(f"cup {number} {'x' * 33}")
        assert len(tokenizer._kept) <= 3
    assert "x" * 33 not in tokenizer._kept
    assert tokenizer._kept
    assert not pickle.loads(pickle.dumps(tokenizer))._kept
    tokenizer.encode("cup").ids.append(0)
    assert tokenizer.encode("cup").ids == [2452]


def test_unusual_text_keeps_its_places():
    sentence = "Ünïcode  “quotes” &amp; don’t İstanbul 10"
    assert texts(ClipTokenizer(40), sentence)[-4:] == ["İ", "stanbul", "1", "0"]
    assert texts(ClipTokenizer(40), sentence)[4:8] == ["“", "quotes", "”", "&"]
    assert texts(ClipTokenizer(40), "schÃ¶n lamp") == ["sch", "Ã¶", "n", "lamp"]  # a wrong encoding, mended
    assert texts(WordPieceTokenizer(40), sentence)[-2:] == ["İstanbul", "10"]


def test_wordpiece_equals_transformers():
    transformers = pytest.importorskip("transformers")
    theirs = transformers.BertTokenizer(str(VOCABULARY), do_lower_case=True)
    ours = WordPieceTokenizer(20, keep_separator=True)(SENTENCES)
    expected = theirs(SENTENCES, padding="max_length", truncation=True, max_length=20, return_tensors="pt")
    assert torch.equal(ours.token_ids, expected["input_ids"])
    assert torch.equal(ours.word_mask, expected["attention_mask"].bool())
    assert WordPieceTokenizer(20).vocabulary_size == 30522
    assert theirs.mask_token_id == WordPieceTokenizer(20).mask_id


def test_wordpiece_cut_loses_the_separator_unless_kept():
    sentence = "the man in the red shirt"
    lost, kept = (WordPieceTokenizer(6, keep_separator=keep)([sentence]) for keep in (False, True))
    assert lost.token_ids[0].tolist() == [101, 1996, 2158, 1999, 1996, 2417]
    assert kept.token_ids[0].tolist() == [101, 1996, 2158, 1999, 1996, 102]
    assert kept.word_index[0].tolist() == [-1, 0, 1, 2, 3, -1]
    assert kept.spans[0, -1].tolist() == [0, 0]
    assert lost.truncated == kept.truncated == [True]
    assert WordPieceTokenizer(8)([sentence]).truncated == [False]


def test_special_names_in_a_sentence_are_text():
    ids = WordPieceTokenizer(12)(["the [MASK] dog"]).token_ids[0].tolist()
    assert 103 not in ids
    assert ids.count(102) == 1
    with pytest.raises(ValueError, match="special token"):
        ClipTokenizer(12)(["the <end_of_text> dog"])


def test_clip_restores_the_end_token():
    tokens = ClipTokenizer(5)(["the man in the red shirt"])
    assert tokens.token_ids[0].tolist() == [49406, 518, 786, 530, 49407]
    assert tokens.word_index[0].tolist() == [-1, 0, 1, 2, -1]
    assert tokens.truncated == [True]
    assert ClipTokenizer(5).vocabulary_size == 49408
    assert ClipTokenizer(5).mask_id is None


def test_clip_equals_open_clip():
    open_clip = pytest.importorskip("open_clip")
    theirs = open_clip.get_tokenizer("RN50", context_length=17)(SENTENCES)
    assert torch.equal(ClipTokenizer(17)(SENTENCES).token_ids, theirs)


def test_clip_without_open_clip_says_what_to_install(monkeypatch):
    from ris_lib.data.tokenizers import clip

    clip._clip.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "open_clip.tokenizer", None)
    with pytest.raises(ValueError, match="pip install open_clip_torch"):
        ClipTokenizer(17)


def test_words_unknown_are_reported_and_marks_are_no_words():
    tokenizer = WordTokenizer(["cup", "left", "the"], length=4)
    tokens = tokenizer(["The left Mug!", "the cup", "left left left cup the mug"])
    assert tokens.token_ids.tolist() == [[5, 4, 1, 0], [5, 3, 0, 0], [4, 4, 4, 3]]
    assert tokens.unknown == [["Mug"], [], ["mug"]]
    assert tokens.truncated == [False, False, True]
    assert (tokenizer.pad_id, tokenizer.unknown_id, tokenizer.mask_id, tokenizer.vocabulary_size) == (0, 1, 2, 6)


def test_wordpiece_reports_what_it_cannot_spell():
    tokens = WordPieceTokenizer(8)(["the 🦒 cup"])
    assert tokens.unknown == [["🦒"]]
    assert 100 in tokens.token_ids[0].tolist()


def test_from_sentences_knows_every_word():
    tokens = WORDS(SENTENCES)
    assert tokens.unknown == [[] for _ in SENTENCES]
    assert list(WORDS.vocabulary) == sorted(set(WORDS.vocabulary))
    assert WordTokenizer.from_sentences(reversed(SENTENCES)).vocabulary == WORDS.vocabulary


@pytest.mark.parametrize("tokenizer", ALL, ids=lambda t: t.kind)
def test_config_and_pickle_make_the_same_tokeniser(tokenizer):
    expected = tokenizer(SENTENCES).token_ids
    for again in (tokenizer_from_config(tokenizer.to_config()), pickle.loads(pickle.dumps(tokenizer))):
        assert torch.equal(again(SENTENCES).token_ids, expected)
        assert again.to_config() == tokenizer.to_config()


@pytest.mark.parametrize("tokenizer", ALL, ids=lambda t: t.kind)
@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        ([""], "is empty"),
        (["the man", " \t\n"], "is empty"),
        (["\x85"], "is empty"),  # a blank of which CLIP's cleaning makes a mark
        ([], "at least one"),
        ("the man", "list of sentences"),
        ([None], "NoneType"),
        (["cup " * 501], "has 2,004 characters; at most 2,000 are read"),
        (["cup \ud83d"], "half of a character"),
    ],
)
def test_what_is_no_sentence_is_refused(tokenizer, sentences, message):
    with pytest.raises(ValueError, match=message):
        tokenizer(sentences)


@pytest.mark.parametrize("tokenizer", ALL[1:], ids=lambda t: t.kind)
def test_text_that_leaves_no_token_is_refused(tokenizer):
    with pytest.raises(ValueError, match="is empty"):
        tokenizer(["\ufeff"])


@pytest.mark.parametrize("sentence", ["mug jugg", "!!!", "mug !"])
def test_no_known_word_is_refused_with_the_words(sentence):
    tokenizer = WordTokenizer(["cup", "jug", "!"], length=4)
    with pytest.raises(ValueError, match="no word that this vocabulary knows") as error:
        tokenizer([sentence])
    for word in split_words(sentence):
        assert word.text in str(error.value)
    if "jugg" in sentence:
        assert "Did you mean jug?" in str(error.value)


def test_wordpiece_refuses_a_sentence_that_it_cannot_spell_at_all():
    with pytest.raises(ValueError, match=r"'🦒 🦒' has no word that this vocabulary knows .unknown: 🦒, 🦒"):
        WordPieceTokenizer(8)(["🦒 🦒"])


def test_a_message_stays_short():
    for tokenizer in ALL[:2]:
        with pytest.raises(ValueError, match="no word that this vocabulary knows") as error:
            tokenizer(["\U0001f992 " * 900])
        assert len(str(error.value)) < 1000


def test_clip_places_what_it_mends_and_refuses_what_would_take_for_ever():
    tokens = ClipTokenizer(77)(["’cup’ &amp; x"])
    assert tokens.spans[0, 1:5].tolist() == [[0, 1], [1, 4], [4, 5], [6, 7]]
    assert ClipTokenizer()(["’'" * 1000]).truncated == [True]
    with pytest.raises(ValueError, match="some of them entities or in a wrong encoding"):
        ClipTokenizer()(["&lt;’'" * 300])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WordTokenizer([]), "at least one word"),
        (lambda: WordTokenizer("cup"), "list"),
        (lambda: WordTokenizer(["cup", "cup"]), "more than once"),
        (lambda: WordTokenizer(["Cup"]), "lower case"),
        (lambda: WordTokenizer(["red cup"]), "single words"),
        (lambda: WordTokenizer([""]), "single words"),
        (lambda: WordTokenizer.from_sentences([" "]), "the sentences hold not a single word"),
        (lambda: WordTokenizer(["cup"], length=0), "length=0"),
        (lambda: WordPieceTokenizer(2), "length=2"),
        (lambda: ClipTokenizer(2.5), "length=2.5"),
        (lambda: ClipTokenizer(10**9), "to 2000"),
        (lambda: tokenizer_from_config({"kind": []}), "unknown tokeniser"),
        (lambda: tokenizer_from_config({"kind": "word"}), "did you mean 'words'"),
        (lambda: tokenizer_from_config({}), "unknown tokeniser"),
        (lambda: tokenizer_from_config(None), "the configuration of a tokeniser is None; expected entries"),
        (lambda: tokenizer_from_config({"kind": "words", "length": 4}), "lacks 'vocabulary'"),
        (lambda: tokenizer_from_config({"kind": "clip", "len": 4}), "did you mean 'length'"),
    ],
)
def test_wrong_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
