"""The three terms of cross-modal alignment, by hand and at their limits (paper note on MagNet, sections 4.2 and 11)."""

import math
from dataclasses import replace

import pytest
import torch

from ris_lib.contract import Dims, Encoded, ModelState, PixelFeatures
from ris_lib.layers import masked_mean
from ris_lib.models import create_model
from ris_lib.objectives import OBJECTIVES, cross_modal_alignment
from ris_lib.objectives.cross_modal_alignment import CrossModalAlignment, attraction, pixel_terms
from tests.tiny_batches import make_batch

DIMS = Dims(pyramid=(8, 8, 8, 8), finest=4, memory=(), context=None, word=6, sentence=6, vocabulary_size=12)
NAMES = {"cal_positive", "cal_negative", "cal_language"}


def make_state(finest, words, word_mask):
    count = len(words)
    encoded = Encoded([], words, words[:, 0], word_mask, torch.zeros_like(word_mask).long(), torch.arange(count))
    return ModelState(encoded, PixelFeatures(finest, 4), None, None)


def random_state(batch, size=(16, 16), channels=4, seed=0):
    torch.manual_seed(seed)
    return make_state(torch.randn(len(batch), channels, *size), torch.randn(*batch.token_ids.shape, 6), batch.word_mask)


def alignment(**options):
    torch.manual_seed(1)
    return CrossModalAlignment(DIMS, **options)


def means(terms):
    return {name: (term.sum / term.count).item() for name, term in terms.items()}


def two_pixels(inside, outside, words, word_mask, **options):
    """The losses of an image of two pixels, the left one of which is the target; the words are compared as they are."""
    objective = CrossModalAlignment(replace(DIMS, finest=2, word=2), **options)
    with torch.no_grad():
        objective.sentence.weight.copy_(torch.eye(2))
        objective.sentence.bias.zero_()
    finest = torch.tensor([inside, outside]).T.view(1, 2, 1, 2)
    batch = replace(make_batch(index=(0,)), masks=torch.tensor([[[True, False]]]))
    return objective(make_state(finest, torch.tensor([words]), torch.tensor([word_mask])), batch)


def test_three_terms_by_hand_on_two_pixels():
    """Lengths 5 and 2 are brought to 1; the padded word does not count: T is the mean of (2, 0) and (0, 2)."""
    losses = two_pixels([3.0, 4.0], [2.0, 0.0], [[2.0, 0.0], [0.0, 2.0], [9.0, 9.0]], [True, True, False])
    cosine, towards, away = 0.6, (0.6 + 0.8) / math.sqrt(2), 1 / math.sqrt(2)
    assert set(losses) == NAMES
    assert all(term.count == 1 for term in losses.values())
    pulled = math.log(1 + math.exp((cosine - 1) / 0.1))
    expected = {
        "cal_positive": pulled,
        "cal_negative": pulled,
        "cal_language": math.log(1 + math.exp((away - towards) / 0.3)),
    }
    assert means(losses) == pytest.approx(expected, rel=1e-5)


def test_each_term_has_its_temperature():
    losses = two_pixels([3.0, 4.0], [2.0, 0.0], [[0.0, 2.0]], [True], temperatures=(0.5, 0.2, 1.0))
    exponents = {"cal_positive": -0.4 / 0.5, "cal_negative": -0.4 / 0.2, "cal_language": -0.8 / 1.0}
    expected = {name: math.log(1 + math.exp(value)) for name, value in exponents.items()}
    assert means(losses) == pytest.approx(expected, rel=1e-5)


def test_equals_the_formulas_read_aloud():
    """Loops over pixels and sentences, with means that are normalised again."""
    batch = make_batch()
    state, objective = random_state(batch), alignment()
    objective.requires_grad_(False)
    terms = objective(state, batch)
    expected = dict.fromkeys(NAMES, 0.0)
    for s in range(3):
        pixels = torch.nn.functional.normalize(state.features.finest[s].flatten(1).T.double(), dim=1)
        target = batch.masks[s, ::4, ::4].flatten()
        words = state.encoded.words[s][batch.word_mask[s]].mean(dim=0)
        sentence = torch.nn.functional.normalize(objective.sentence(words).double(), dim=0)
        for name, t, own, others, centre in (
            ("cal_positive", 0.1, pixels[target], pixels[~target], None),
            ("cal_negative", 0.1, pixels[~target], pixels[target], None),
            ("cal_language", 0.3, pixels[target], pixels[~target], sentence),
        ):
            total = 0.0
            for pixel in own:
                middle = own.mean(dim=0) / own.mean(dim=0).norm() if centre is None else centre
                wrong = others @ pixel if centre is None else others @ centre
                right = math.exp(pixel @ middle / t)
                total -= math.log(right / (right + (wrong / t).exp().sum().item()))
            expected[name] += total / len(own)
    assert {name: term.sum.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-4)
    assert all(term.count == 3 for term in terms.values())


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
def test_equal_pixels_cost_the_logarithm_of_their_number(value):
    """The limit where nothing can be told apart: one of 1 + m; also for features of length zero."""
    batch = replace(make_batch(index=(0,)), masks=torch.zeros(1, 8, 8, dtype=torch.bool))
    batch.masks[:, :2] = True
    words = torch.randn(1, 5, 6)
    state = make_state(torch.full((1, 4, 8, 8), value), words, batch.word_mask)
    expected = {"cal_positive": math.log(1 + 48), "cal_negative": math.log(1 + 16), "cal_language": math.log(1 + 48)}
    # At length zero every similarity is 0, as here it is 1.
    assert means(alignment()(state, batch)) == pytest.approx(expected, rel=1e-5)


def test_aligned_pixels_cost_little_and_confused_ones_much():
    batch = make_batch()
    target = batch.masks[:, None, ::4, ::4].float()
    objective = alignment()
    direction = torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 4, 1, 1)
    with torch.no_grad():
        objective.sentence.weight.zero_()
        objective.sentence.bias.copy_(direction.flatten())
    words = torch.randn(3, 5, 6)
    good = objective(make_state((2 * target - 1) * direction, words, batch.word_mask), batch)
    bad = objective(make_state((1 - 2 * target) * direction, words, batch.word_mask), batch)
    for name in NAMES:
        # 256 pixels: even e^(-2 / 0.3) a pixel adds up.
        assert good[name].sum / 3 < (0.4 if name == "cal_language" else 1e-5)
    assert bad["cal_language"].sum / 3 > 5


@pytest.mark.parametrize("fill", [False, True])
def test_empty_and_full_targets_are_left_out(fill):
    batch = make_batch()
    state, objective = random_state(batch), alignment()
    apart = {}
    for k in (0, 2):
        alone = make_state(state.features.finest[[k]], state.encoded.words[[k]], batch.word_mask[[k]])
        for name, term in objective(alone, replace(batch, masks=batch.masks[[k]])).items():
            apart[name] = apart.get(name, 0) + term.sum.item()
    batch.masks[1] = fill
    terms = objective(state, batch)
    assert {name: term.sum.item() for name, term in terms.items()} == pytest.approx(apart, rel=1e-5)
    assert all(term.count == 2 for term in terms.values())


@pytest.mark.parametrize("fill", [False, True])
def test_nothing_to_compare_is_exactly_zero_with_gradients_of_zero(fill):
    batch = make_batch()
    batch.masks[:] = fill
    state, objective = random_state(batch), alignment(width=3)
    state.features.finest.requires_grad_()
    terms = objective(state, batch)
    assert all(term.sum == 0 and term.count == 0 for term in terms.values())
    sum(term.sum for term in terms.values()).backward()
    for tensor in (state.features.finest, *objective.parameters()):
        assert (tensor.grad == 0).all()


def test_a_target_that_vanishes_on_the_grid_is_left_out():
    batch = make_batch()
    batch.masks[0] = False
    batch.masks[0, 1, 1] = True  # nearest neighbour takes every fourth pixel from 0 on
    assert alignment()(random_state(batch), batch)["cal_positive"].count == 2


def test_another_sentence_of_the_batch_is_no_negative():
    batch = make_batch()
    state, objective = random_state(batch), alignment()
    before = objective(state, batch)
    state.features.finest[2] = torch.randn_like(state.features.finest[2])
    state.encoded.words[2] = torch.randn_like(state.encoded.words[2])
    masks = batch.masks.clone()
    masks[2] = False
    without = objective(state, replace(batch, masks=masks))
    alone = [
        objective(
            make_state(state.features.finest[[k]], state.encoded.words[[k]], batch.word_mask[[k]]),
            replace(batch, masks=batch.masks[[k]]),
        )
        for k in (0, 1)
    ]
    for name in NAMES:
        torch.testing.assert_close(sum(terms[name].sum for terms in alone), without[name].sum)
        assert not torch.allclose(without[name].sum, before[name].sum)


def test_padding_never_matters_and_words_always_do():
    batch = make_batch()
    state, objective = random_state(batch), alignment()
    base = objective(state, batch)["cal_language"].sum
    words = state.encoded.words
    padded = words.masked_fill(~batch.word_mask[..., None], 1e6)
    changed = words.clone()
    changed[0, 0] += 1
    outputs = [
        objective(replace(state, encoded=replace(state.encoded, words=w)), batch)["cal_language"].sum
        for w in (padded, changed)
    ]
    torch.testing.assert_close(outputs[0], base)
    assert not torch.allclose(outputs[1], base)


def test_the_length_of_features_does_not_matter():
    batch = make_batch()
    state, objective = random_state(batch), alignment()
    base = objective(state, batch)
    scale = torch.rand(3, 1, 16, 16) * 1e3 + 1
    scaled = replace(state, features=PixelFeatures(state.features.finest * scale, 4))
    for name, term in objective(scaled, batch).items():
        torch.testing.assert_close(term.sum, base[name].sum, atol=1e-4, rtol=1e-5)


def test_drawn_pixels_estimate_all_of_them():
    """Fewer negatives make the sums smaller; a limit above the number of pixels changes nothing."""
    batch = make_batch()
    state = random_state(batch)
    every, more, few = (means(alignment(limit=limit)(state, batch)) for limit in (256, 5000, 20))
    assert more == pytest.approx(every, rel=1e-5)
    assert all(0 < few[name] < every[name] for name in NAMES)


def test_at_most_1024_pixels_of_each_side_are_drawn():
    target = torch.zeros(1, 3000, dtype=torch.bool)
    target[:, :1500] = True
    drawn, real = alignment()._draw(torch.randn(1, 4, 50, 60), target)
    assert drawn.shape == (1, 2, 1024, 4)
    assert real.all()


def test_drawing_is_that_of_the_seed():
    batch = make_batch()
    state, objective = random_state(batch), alignment(limit=10)
    torch.manual_seed(3)
    first = means(objective(state, batch))
    assert means(objective(state, batch)) != first
    torch.manual_seed(3)
    assert means(objective(state, batch)) == first


def test_some_sentences_at_a_time_are_all_of_them(monkeypatch):
    batch = make_batch()
    state, objective = random_state(batch), alignment()
    results = []
    for pairs in (2**23, 1):
        monkeypatch.setattr(cross_modal_alignment, "PAIRS", pairs)
        state.features.finest = state.features.finest.detach().requires_grad_()
        total = sum(term.sum for term in objective(state, batch).values())
        results.append((total.detach(), *torch.autograd.grad(total, state.features.finest)))
    torch.testing.assert_close(results[0], results[1])


def test_large_half_precision_features_do_not_overflow():
    """Dot products of 256 such channels would be 2.6e7, over a temperature of 0.1."""
    batch = make_batch()
    torch.manual_seed(0)
    objective = CrossModalAlignment(replace(DIMS, finest=256))
    finest = (torch.randn(3, 256, 16, 16) * 300).half().requires_grad_()
    state = make_state(finest, (torch.randn(3, 5, 6) * 300).half(), batch.word_mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = objective(state, batch)
    assert all(term.sum.dtype == term.count.dtype == torch.float32 for term in terms.values())
    sum(term.sum for term in terms.values()).backward()
    assert torch.isfinite(finest.grad).all()
    exact = objective(make_state(finest.detach().float(), state.encoded.words.float(), batch.word_mask), batch)
    for name in NAMES:
        torch.testing.assert_close(terms[name].sum, exact[name].sum)


def test_features_of_length_zero_have_finite_gradients():
    batch = make_batch()
    finest = torch.zeros(3, 4, 16, 16, requires_grad=True)
    terms = alignment()(make_state(finest, torch.randn(3, 5, 6), batch.word_mask), batch)
    sum(term.sum for term in terms.values()).backward()
    assert finest.grad.abs().max() < 1e4


def test_gradients_agree_with_finite_differences():
    torch.manual_seed(0)
    inside, outside = (torch.randn(2, n, 3, dtype=torch.float64, requires_grad=True) for n in (3, 4))
    real = torch.tensor([[True, True, False], [True, True, True]]), torch.tensor([[True] * 4, [False] + [True] * 3])
    assert torch.autograd.gradcheck(lambda x, y: pixel_terms(x, y, *real, (0.5, 0.7)), (inside, outside))
    assert torch.autograd.gradcheck(attraction, (inside[0, 0], outside[0, 0]))
    assert torch.autograd.gradcheck(lambda x: masked_mean(x, real[0]), (inside,))


@pytest.mark.parametrize("width", [None, 3])
def test_every_parameter_and_every_input_gets_a_gradient(width):
    batch = make_batch()
    state, objective = random_state(batch), alignment(width=width)
    state.features.finest.requires_grad_()
    state.encoded.words.requires_grad_()
    sum(term.sum for term in objective(state, batch).values()).backward()
    for tensor in (state.features.finest, state.encoded.words, *objective.parameters()):
        assert torch.isfinite(tensor.grad).all()
        assert tensor.grad.any()
    assert len(list(objective.parameters())) == (2 if width is None else 4)


def test_the_similarity_map_is_the_cosine_with_the_sentence():
    batch = make_batch()
    state, objective = random_state(batch), alignment(width=3)
    cosine = objective.similarity_map(state)
    assert cosine.shape == (3, 16, 16)
    assert not cosine.requires_grad
    words = state.encoded.words[1][batch.word_mask[1]].mean(dim=0)
    expected = torch.cosine_similarity(
        objective.pixels(state.features.finest[1, :, 2, 5]), objective.sentence(words), 0
    )
    torch.testing.assert_close(cosine[1, 2, 5], expected.detach())


def test_inside_a_model_and_out_of_it(monkeypatch):
    """Both towers learn from it; without it the masks are the same."""
    monkeypatch.setitem(OBJECTIVES, "cross_modal_alignment", CrossModalAlignment)
    torch.manual_seed(0)
    batch = make_batch()
    model = create_model("baseline_tiny", objectives=["segmentation", "cross_modal_alignment"])
    for _ in range(2):
        output = model(batch, with_losses=True)
        model.zero_grad()
        output.loss.backward()
        torch.optim.SGD(model.parameters(), 0.01).step()
    assert set(output.losses) >= NAMES
    assert {name: model.weights[name] for name in NAMES} == dict.fromkeys(NAMES, 0.5)
    bad = [k for k, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]
    assert bad == []
    plain = create_model("baseline_tiny")
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("objectives.")})
    torch.testing.assert_close(plain(batch).logits, model(batch).logits, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperatures": (0.1, 0.1)}, "three positive numbers"),
        ({"temperatures": (0.1, 0.0, 0.3)}, "three positive numbers"),
        ({"limit": 0}, "limit=0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CrossModalAlignment(DIMS, **options)


def test_wrong_inputs_are_refused():
    batch, objective = make_batch(), alignment()
    state = random_state(batch)
    with pytest.raises(ValueError, match="CrossModalAlignment: the batch has no masks"):
        objective(state, replace(batch, masks=None))
    with pytest.raises(ValueError, match=r"pixel features have shape \(3, 5, 16, 16\); expected \(S, 4, h, w\)"):
        objective(random_state(batch, channels=5), batch)
    with pytest.raises(ValueError, match=r"words have shape \(3, 5, 7\); expected \(S, L, 6\)"):
        objective(make_state(state.features.finest, torch.randn(3, 5, 7), batch.word_mask), batch)
    with pytest.raises(ValueError, match="CrossModalAlignment: word_mask must be bool"):
        objective(make_state(state.features.finest, state.encoded.words, batch.word_mask.long()), batch)
