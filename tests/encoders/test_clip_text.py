"""CLIP's causal text tower."""

import pytest
import torch
from safetensors.torch import save_file

from ris_lib.data.tokenizers.clip import ClipTokenizer
from ris_lib.encoders.clip_text import ClipText
from tests.encoders.test_clip_start import published

IDS = torch.tensor([[18, 5, 6, 7, 19, 0, 0], [18, 8, 19, 0, 0, 0, 0], [18, 9, 0, 3, 4, 5, 19]])
MASK = torch.arange(7) < torch.tensor([5, 3, 7])[:, None]  # in the third row id 0 is a token
INDEX = torch.full_like(IDS, -1)


def make(layers=(1, 0, 2, 0), **options):
    torch.manual_seed(0)
    options = {"width": 16, "heads": 2, "embed_dim": 24, "context_length": 9, "length": 7, **options}
    return ClipText(20, None, layers=layers, **options).eval()


def encode(tower, ids=IDS, mask=MASK, hidden=None, stand_in=None):
    words = tower.embed(ids, mask, hidden, stand_in)
    for k in range(4):
        words = tower.group(k, words, mask)
    return tower.finish(words)


def test_groups_are_cuts_of_one_tower():
    tower = make()
    assert (tower.width, tower.sentence_width, tower.last_group) == (16, 24, 2)
    words = tower.embed(IDS, MASK)
    assert tower.group(1, words, MASK) is words
    assert tower.group(3, words, MASK) is words
    torch.testing.assert_close(encode(make((3, 0, 0, 0))), encode(tower))
    torch.testing.assert_close(encode(make((1, 1, 1, 0))), encode(tower))


@pytest.mark.parametrize("grad", [False, True])
def test_equals_open_clips_own_tower(tmp_path, grad):
    clip = published()
    save_file(clip.state_dict(), tmp_path / "clip.safetensors")
    tower = make((3, 0, 0, 0), start=str(tmp_path / "clip.safetensors"))
    tower.load_start()
    ids = IDS[:2]
    with torch.set_grad_enabled(grad):
        words = encode(tower, ids, MASK[:2])
        reference = clip.encode_text(torch.nn.functional.pad(ids, (0, 2)))
        torch.testing.assert_close(tower.sentence(words, MASK[:2], INDEX), reference, atol=1e-5, rtol=1e-5)


def test_quick_gelu_not_the_exact_one():
    gelu = make().blocks[0].mlp.gelu
    torch.testing.assert_close(gelu(torch.tensor(1.0)), 1 / (1 + torch.tensor(-1.702).exp()))


def test_padding_never_matters_and_words_always_do():
    tower = make()
    base = encode(tower)
    padded, changed = IDS.clone(), IDS.clone()
    padded[~MASK] = 11
    changed[:, 1] = 12
    torch.testing.assert_close(encode(tower, padded)[MASK], base[MASK])
    sentence = tower.sentence(base, MASK, INDEX)
    torch.testing.assert_close(tower.sentence(encode(tower, padded), MASK, INDEX), sentence)
    assert ((tower.sentence(encode(tower, changed), MASK, INDEX) - sentence).abs().amax(dim=1) > 1e-3).all()


def test_the_mask_is_cropped_to_the_sentence_so_more_padding_changes_nothing():
    tower = make()
    ids, mask = (torch.nn.functional.pad(x, (0, 2)) for x in (IDS, MASK))
    longer = encode(tower, ids, mask)
    torch.testing.assert_close(longer[:, :7][MASK], encode(tower)[MASK])
    torch.testing.assert_close(
        tower.sentence(longer, mask, INDEX), tower.sentence(encode(tower), MASK, INDEX), atol=1e-6, rtol=1e-5
    )


def test_no_token_sees_what_comes_after_it():
    tower = make()
    changed = IDS.clone()
    changed[2, 4] = 11
    before, after = encode(tower), encode(tower, changed)
    torch.testing.assert_close(after[2, :4], before[2, :4])
    assert not torch.allclose(after[2, 4:], before[2, 4:])
    start = encode(tower)[:, 0]
    torch.testing.assert_close(start, start[:1].expand_as(start))  # the start token is blind to the sentence


def test_the_sentence_is_the_last_real_token_projected():
    tower, words = make(), torch.randn(3, 7, 16)
    expected = words[[0, 1, 2], [4, 2, 6]] @ tower.text_projection
    torch.testing.assert_close(tower.sentence(words, MASK, INDEX), expected)
    holes = MASK.clone()
    holes[2, 2] = False
    torch.testing.assert_close(tower.sentence(words, holes, INDEX), expected)


def test_the_last_real_token_of_clips_tokeniser_is_the_end_token_with_the_largest_id():
    tokens = ClipTokenizer(length=8)(["a cup", "the third of the five small cups on the left", "a !;: cup"])
    last = tokens.word_mask.sum(dim=1) - 1
    assert (tokens.token_ids[[0, 1, 2], last] == 49407).all()
    assert torch.equal(tokens.token_ids.argmax(dim=1), last)
    assert tokens.token_ids[2, 2] == 0  # id 0 is padding, and a "!" inside a run of marks
    assert tokens.word_mask[2, 2]


def test_an_exclamation_mark_is_no_padding():
    tower, changed = make(), IDS.clone()
    changed[2, 2] = 7
    assert not torch.allclose(
        tower.sentence(encode(tower, changed), MASK, INDEX)[2], tower.sentence(encode(tower), MASK, INDEX)[2]
    )


def test_hidden_tokens_need_a_stand_in_and_take_it():
    tower, hidden = make(), torch.zeros_like(MASK)
    hidden[0, 2] = True
    with pytest.raises(ValueError, match=r"ClipText.*\[MASK\].*stand_in"):
        tower.embed(IDS, MASK, hidden)
    stand_in = tower.token_embedding.weight[9].detach().clone().requires_grad_()
    ids = IDS.clone()
    ids[0, 2] = 9
    words = encode(tower, hidden=hidden, stand_in=stand_in)
    torch.testing.assert_close(words, encode(tower, ids))
    words.square().sum().backward()
    assert stand_in.grad.abs().sum() > 0


def test_a_tokeniser_with_a_mask_token_is_used():
    torch.manual_seed(0)
    tower = ClipText(20, 2, length=7, layers=(1, 0, 0, 0), width=16, heads=2, embed_dim=4, context_length=9)
    hidden = torch.zeros_like(MASK)
    hidden[0, 2] = True
    ids = IDS.clone()
    ids[0, 2] = 2
    torch.testing.assert_close(tower.embed(IDS, MASK, hidden), tower.embed(ids, MASK))


def test_every_parameter_learns():
    tower = make().train()
    optimizer = torch.optim.SGD(tower.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        words = encode(tower)
        state = tower.sentence(words, MASK, INDEX)
        generator = torch.Generator().manual_seed(1)
        loss = (words * torch.randn(words.shape, generator=generator)).sum()
        (loss + (state * torch.randn(state.shape, generator=generator)).sum()).backward()
        optimizer.step()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in tower.parameters())


def test_a_sentence_that_nobody_reads_has_no_projection(tmp_path):
    tower = make((3, 0, 0, 0), start=str(tmp_path))
    count = sum(p.numel() for p in tower.parameters())
    tower.drop_sentence()
    assert count - sum(p.numel() for p in tower.parameters()) == 16 * 24
    assert tower.sentence(encode(tower), MASK, INDEX).shape == (3, 16)
    save_file(published().state_dict(), tmp_path / "clip.safetensors")
    tower.load_start()  # the file's projection is left behind


def test_a_start_of_another_depth_is_refused(tmp_path):
    save_file(published().state_dict(), tmp_path / "clip.safetensors")
    with pytest.raises(ValueError, match=r"ClipText.*left over: \['blocks\.2"):
        make((2, 0, 0, 0), start=str(tmp_path)).load_start()


def test_low_precision_stays_close():
    tower = make()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        words = encode(tower)
        sentence = tower.sentence(words, MASK, INDEX)
    torch.testing.assert_close(words.float(), encode(tower).detach(), atol=0.1, rtol=0.1)
    assert torch.isfinite(sentence).all()


def test_the_models_have_clips_sizes():
    with torch.device("meta"):
        fifty, hundred = (ClipText(49408, None, 17, model=name) for name in ("RN50", "RN101"))
    assert (fifty.width, fifty.sentence_width, hundred.sentence_width) == (512, 1024, 512)
    assert sum(p.numel() for p in fifty.parameters()) == 63_690_240


def test_bad_word_masks_are_refused():
    tower = make()
    with pytest.raises(ValueError, match=r"ClipText: word_mask must be bool"):
        tower.group(0, tower.embed(IDS, MASK), MASK.float())


def test_too_many_tokens_are_refused():
    with pytest.raises(ValueError, match=r"ClipText: sentences of 10 tokens.*context_length=9"):
        make().embed(torch.zeros(1, 10, dtype=torch.long), torch.ones(1, 10, dtype=torch.bool))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": (2,)}, "layers"),
        ({"layers": (0, 0, 0, 0)}, "layers"),
        ({"layers": (2, -1, 0, 0)}, "layers"),
        ({"heads": 3}, "heads=3"),
        ({"length": 10}, "length=10"),
        ({"model": "RN51"}, "RN50"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
