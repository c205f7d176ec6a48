"""Which words are hidden: whole ones, between one and a share of them, never special tokens or padding."""

import pytest
import torch

from ris_lib.data.tokenizers import WordPieceTokenizer
from ris_lib.objectives.hidden_words import choose_hidden, choose_sentences

# One, two, five and ten words; the third word of the last two has two and three pieces; special tokens at both ends.
WORD_INDEX = torch.full((4, 15), -1)
for _row, _words in enumerate(([0], [0, 1], [0, 1, 2, 2, 3, 4], [0, 1, 2, 2, 2, 3, 4, 5, 6, 7, 8, 9])):
    WORD_INDEX[_row, 1 : 1 + len(_words)] = torch.tensor(_words)
WORD_MASK = torch.arange(15) < (WORD_INDEX >= 0).sum(dim=1, keepdim=True) + 2


def draws(share=0.4, times=200):
    torch.manual_seed(0)
    return [choose_hidden(WORD_INDEX, WORD_MASK, share) for _ in range(times)]


def words_hidden(hidden):
    return [len(set(index[row].tolist())) for index, row in zip(WORD_INDEX, hidden)]


@pytest.mark.parametrize(
    ("share", "most"), [(0.4, (1, 1, 2, 4)), (0.3, (1, 1, 1, 3)), (0.7, (1, 1, 3, 7)), (1.0, (1, 2, 5, 10))]
)
def test_at_least_one_word_and_at_most_the_share(share, most):
    counts = torch.tensor([words_hidden(hidden) for hidden in draws(share)])
    assert counts.amin(dim=0).tolist() == [1, 1, 1, 1]
    assert counts.amax(dim=0).tolist() == list(most)


def test_never_a_special_token_and_never_padding():
    assert not any((hidden & (WORD_INDEX < 0)).any() for hidden in draws())


def test_all_pieces_of_a_word_or_none():
    pieces = [hidden[3, 3:6].tolist() for hidden in draws()]
    assert {tuple(row) for row in pieces} == {(True,) * 3, (False,) * 3}


def test_every_word_is_hidden_sometimes():
    hidden = torch.stack(draws()).any(dim=0)
    assert torch.equal(hidden, WORD_INDEX >= 0)


def test_every_word_is_hidden_equally_often():
    hidden = torch.stack(draws(times=2000)).float().mean(dim=0)
    torch.testing.assert_close(hidden[0, 1], torch.tensor(1.0))  # the only word, always
    torch.testing.assert_close(hidden[1, 1:3], torch.full((2,), 0.5), atol=0.05, rtol=0)
    torch.testing.assert_close(hidden[2, 1:7], torch.full((6,), 0.3), atol=0.05, rtol=0)  # (1 + 2) / 2 of five
    torch.testing.assert_close(hidden[3, 1:13], torch.full((12,), 0.25), atol=0.05, rtol=0)


def test_with_real_word_pieces():
    torch.manual_seed(0)
    tokens = WordPieceTokenizer(length=10)(["two giraffelike kneepads", "man", "the left red cup of the woman in blue"])
    for _ in range(50):
        hidden = choose_hidden(tokens.word_index, tokens.word_mask)
        assert not (hidden & ((tokens.token_ids == 101) | (tokens.token_ids == 102) | (tokens.token_ids == 0))).any()
        for index, row in zip(tokens.word_index, hidden):
            chosen = set(index[row].tolist())
            assert 1 <= len(chosen) <= max(1, int(0.4 * len(set(index[index >= 0].tolist()))))
            assert all(row[index == word].all() for word in chosen)


def test_a_sentence_of_special_tokens_alone_hides_nothing():
    word_mask = torch.tensor([[True, True, False]])
    assert not choose_hidden(torch.full((1, 3), -1), word_mask).any()


def test_the_draw_is_that_of_the_seed():
    first, again = draws(times=20), draws(times=20)
    assert all(torch.equal(one, other) for one, other in zip(first, again))
    assert not all(torch.equal(first[0], other) for other in first)


@pytest.mark.parametrize("share", [0, -0.1, 1.1])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match=f"share={share}"):
        choose_hidden(WORD_INDEX, WORD_MASK, share)


def test_wrong_masks_are_refused():
    with pytest.raises(ValueError, match="choose_hidden: word_mask must be bool"):
        choose_hidden(WORD_INDEX, WORD_MASK.long())
    with pytest.raises(ValueError, match="choose_hidden: word_mask has shape"):
        choose_hidden(WORD_INDEX, WORD_MASK[:, :4])


def test_some_sentences_of_each_image_are_chosen():
    index = torch.tensor([0, 0, 0, 0, 1, 2, 2])
    torch.manual_seed(0)
    draws = torch.stack([choose_sentences(index, 2) for _ in range(200)])
    for image, most in ((0, 2), (1, 1), (2, 2)):
        assert (draws[:, index == image].sum(dim=1) == most).all()
    share = draws[:, index == 0].double().mean(dim=0)
    assert (share - 0.5).abs().max() < 0.15, "each as often as the others"
    with pytest.raises(ValueError, match="most=0"):
        choose_sentences(index, 0)
