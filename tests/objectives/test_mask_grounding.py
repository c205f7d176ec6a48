"""Naming hidden words from the other words, picture and segment (paper note on MagNet, sections 3.5, 10 and 11)."""

import math
from dataclasses import replace

import pytest
import torch

from ris_lib.contract import Dims, ModelState
from ris_lib.encoders import StagedEncoder, TinyImage, TinyText
from ris_lib.fusion import LateFusion
from ris_lib.models import create_model
from ris_lib.objectives import OBJECTIVES, mask_grounding
from ris_lib.objectives.mask_grounding import GroundingLayer, MaskGrounding, mean_inside, segment_code
from ris_lib.positions import sine_1d
from tests.tiny_batches import make_batch

VOCABULARY = 12
DIMS = Dims(
    pyramid=(8, 8, 8, 16),
    finest=4,
    memory=(),
    context=None,
    word=16,
    sentence=16,
    vocabulary_size=VOCABULARY,
    mask_id=2,
)
SMALL = {"width": 32, "layers": 2, "heads": 4, "feed_forward": 64}


def make_encoder(mask_id=2, fused=False):
    """Two towers; without fusion no word ever touches the pixels."""
    torch.manual_seed(0)
    image = TinyImage(widths=(8, 8, 8, 16), strides=(4, 8, 16, 16), detail_channels=8)
    text = TinyText(VOCABULARY, mask_id=mask_id, width=16, heads=2, layers=(1, 1, 0, 0))
    return StagedEncoder(image, text, [None, None, None, LateFusion(16, 16) if fused else None])


def make_objective(**options):
    torch.manual_seed(1)
    dims = options.pop("dims", DIMS)
    return MaskGrounding(dims, **{**SMALL, **options}).eval()


def make_state(encoder, batch):
    return ModelState(encoder(batch), None, None, encoder.encode_text, encoder)


def one_hidden(batch, word=1):
    """The second word of every sentence."""
    return (batch.word_index == word) & batch.word_mask


@pytest.fixture
def encoder():
    return make_encoder()


def test_predictions_are_log_probabilities(encoder):
    batch, objective = make_batch(), make_objective()
    with torch.no_grad():
        prediction = objective.predict(make_state(encoder, batch), batch, one_hidden(batch))
    assert prediction.shape == (3, 5, VOCABULARY)
    assert not prediction.requires_grad
    torch.testing.assert_close(prediction.exp().sum(dim=-1), torch.ones(3, 5))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("mask_id", [2, None])
def test_words_are_hidden_before_the_encoder(mask_id, fused):
    """Whatever a hidden word was changes nothing: not at its place, at its neighbours', or in the fused picture."""
    encoder, batch = make_encoder(mask_id, fused), make_batch()
    objective = make_objective(dims=replace(DIMS, mask_id=mask_id))
    hidden = one_hidden(batch)

    def predict(token_ids):
        changed = replace(batch, token_ids=token_ids)
        return objective.predict(make_state(encoder, changed), changed, hidden)

    base = predict(batch.token_ids)
    torch.testing.assert_close(predict(batch.token_ids.masked_fill(hidden, 5)), base, atol=0, rtol=0)
    seen = batch.token_ids.clone()
    seen[:, 0] = 3 + (seen[:, 0] - 2) % 9
    assert not torch.allclose(predict(seen), base)


def test_only_the_label_of_a_hidden_word_changes(encoder, monkeypatch):
    batch, objective = make_batch(), make_objective()
    hidden = one_hidden(batch)
    monkeypatch.setattr(mask_grounding, "choose_hidden", lambda *arguments: hidden)
    prediction = objective.predict(make_state(encoder, batch), batch, hidden)[hidden]
    for label in (5, 6):
        changed = replace(batch, token_ids=batch.token_ids.masked_fill(hidden, label))
        loss = objective(make_state(encoder, changed), changed)["mask_grounding"].sum
        torch.testing.assert_close(loss, -prediction[:, label].sum())


def test_the_loss_is_the_cross_entropy_of_hidden_words_and_counts_them(encoder, monkeypatch):
    batch, objective = make_batch(length=9, index=(0, 0, 0, 1, 1)), make_objective(share=0.9)
    drawn = []

    def spy(word_index, word_mask, share):
        drawn.append(mask_grounding_choose(word_index, word_mask, share))
        assert share == 0.9
        return drawn[-1]

    mask_grounding_choose = mask_grounding.choose_hidden
    monkeypatch.setattr(mask_grounding, "choose_hidden", spy)
    state = make_state(encoder, batch)
    term = objective(state, batch)["mask_grounding"]
    (hidden,) = drawn
    prediction = objective.predict(state, batch, hidden)
    expected = [prediction[s, t, batch.token_ids[s, t]] for s, t in hidden.nonzero().tolist()]
    assert term.count == hidden.sum() == len(expected) >= len(batch)
    torch.testing.assert_close(term.sum, -torch.stack(expected).sum())


def test_an_untrained_model_knows_nothing(encoder):
    """The loss starts near that of a guess, log(12)."""
    batch = make_batch(length=9, index=(0,) * 8)
    term = make_objective()(make_state(encoder, batch), batch)["mask_grounding"]
    assert (term.sum / term.count).item() == pytest.approx(math.log(VOCABULARY), abs=1.0)


def test_padding_never_matters(encoder):
    batch, objective = make_batch(), make_objective()
    hidden = one_hidden(batch)
    base = objective.predict(make_state(encoder, batch), batch, hidden)
    other = replace(batch, token_ids=batch.token_ids.masked_fill(~batch.word_mask, 9))
    changed = objective.predict(make_state(encoder, other), other, hidden)
    torch.testing.assert_close(changed[batch.word_mask], base[batch.word_mask])


def moved(batch, masks):
    return replace(batch, masks=masks)


@pytest.mark.parametrize(
    ("kind", "shift", "size"), [("centre", True, False), ("box", True, True), ("none", False, False)]
)
def test_the_segment_code_tells_what_it_says(encoder, kind, shift, size):
    """Another place, and another size around the same centre: whether either changes the prediction."""
    batch, objective = make_batch(), make_objective(mask_code=kind)
    state, hidden = make_state(encoder, batch), one_hidden(batch)
    masks = torch.zeros_like(batch.masks)
    masks[:, 20:40, 20:40] = True
    base = objective.predict(state, moved(batch, masks), hidden)
    larger = torch.zeros_like(masks)
    larger[:, 10:50, 10:50] = True
    elsewhere = objective.predict(state, moved(batch, masks.roll(15, dims=1)), hidden)
    for prediction, matters in ((elsewhere, shift), (objective.predict(state, moved(batch, larger), hidden), size)):
        assert torch.allclose(prediction, base, atol=1e-6) != matters


def test_segment_codes_by_hand():
    masks = torch.zeros(3, 4, 8, dtype=torch.bool)
    masks[0, 1, 2:6] = True  # a line: centre (1.5, 4) of (4, 8)
    masks[1] = True
    expected = torch.tensor([[0.375, 0.5, 0.25, 0.5, 0.125], [0.5, 0.5, 1, 1, 1], [0, 0, 0, 0, 0]])
    torch.testing.assert_close(segment_code(masks, "box"), expected)
    torch.testing.assert_close(segment_code(masks, "centre"), expected[:, :2])
    hollow = torch.zeros(1, 4, 4, dtype=torch.bool)
    hollow[0, [0, 0, 3], [0, 3, 3]] = True  # the mean of its pixels, not the middle of its box
    torch.testing.assert_close(segment_code(hollow, "box"), torch.tensor([[1.5 / 4, 2.5 / 4, 1, 1, 3 / 16]]))


@pytest.mark.parametrize("kind", ["centre", "box"])
def test_an_empty_mask_tells_nothing(encoder, kind):
    """Its segment token is not looked at, so that the code's numbers do not matter; a full mask has a code."""
    batch, objective = make_batch(), make_objective(mask_code=kind)
    state, hidden = make_state(encoder, batch), one_hidden(batch)
    empty, full = (moved(batch, torch.full_like(batch.masks, fill)) for fill in (False, True))
    predictions = [objective.predict(state, b, hidden) for b in (empty, full)]
    with torch.no_grad():
        objective.segment[2].bias += torch.linspace(-2, 2, 32)
    changed = [objective.predict(state, b, hidden) for b in (empty, full)]
    torch.testing.assert_close(changed[0], predictions[0])
    assert not torch.allclose(changed[1], predictions[1])
    for b in (empty, full):
        term = objective(make_state(encoder, b), b)["mask_grounding"]
        term.sum.backward()
        assert torch.isfinite(term.sum)
        assert all(p.grad.isfinite().all() for p in objective.parameters())


@pytest.mark.parametrize("image", [True, False])
def test_the_picture_is_seen_only_where_asked_for(encoder, image):
    batch, objective = make_batch(), make_objective(image=image)
    hidden = one_hidden(batch)
    base = objective.predict(make_state(encoder, batch), batch, hidden)
    other = replace(batch, images=torch.randn_like(batch.images))
    assert torch.allclose(objective.predict(make_state(encoder, other), other, hidden), base) != image
    objective(make_state(encoder, batch), batch)["mask_grounding"].sum.backward()
    assert (encoder.image_tower.stages[3][0].body[0][0].weight.grad is not None) == image
    assert encoder.text_tower.embedding.weight.grad.any()


def test_each_sentence_sees_its_own_picture(encoder):
    batch, objective = make_batch(), make_objective()
    hidden = one_hidden(batch)
    base = objective.predict(make_state(encoder, batch), batch, hidden)
    images = batch.images.clone()
    images[1] = torch.randn_like(images[1])
    other = objective.predict(make_state(encoder, batch), replace(batch, images=images), hidden)
    torch.testing.assert_close(other[:2], base[:2])
    assert not torch.allclose(other[2], base[2])


def test_visual_tokens_know_their_places(encoder):
    """The picture's left and right halves exchanged: the same means, elsewhere."""
    batch, objective = make_batch(), make_objective(mask_code="none")
    state, hidden = make_state(encoder, batch), one_hidden(batch)
    base = objective.predict(state, batch, hidden)

    def encode_rolled(*given, **options):
        encoded = encoder(*given, **options)
        coarsest = encoded.image_map
        rolled = replace(coarsest, values=coarsest.values.roll(coarsest.values.shape[3] // 2, dims=3))
        return replace(encoded, image_map=rolled)

    exchanged = replace(state, encode=encode_rolled)
    assert not torch.allclose(objective.predict(exchanged, batch, hidden), base, atol=1e-5)
    with torch.no_grad():
        objective.places.weight.zero_()
    without = [objective.predict(s, batch, hidden) for s in (state, exchanged)]
    torch.testing.assert_close(*without, atol=1e-5, rtol=1e-5)


def test_word_order_matters_to_the_transformer():
    """The text tower's own positions aside: sines tell the words apart, and equal no two places."""
    positions = sine_1d(22, 32, torch.zeros(1))
    distances = torch.cdist(positions, positions) + 9 * torch.eye(22)
    assert distances.min() > 0.5
    torch.testing.assert_close(positions[3, :2], torch.tensor([math.sin(3), math.cos(3)]))


def test_a_layer_without_dropout_is_the_library_layer():
    torch.manual_seed(0)
    layer, x, mask = (
        GroundingLayer(8, 2, 2, dropout=0.5),
        torch.randn(2, 4, 8),
        torch.tensor([[True] * 4, [True] * 3 + [False]]),
    )
    expected = super(GroundingLayer, layer).forward(x, mask=mask)
    torch.testing.assert_close(layer.eval()(x, mask), expected)
    assert not torch.allclose(layer.train()(x, mask), expected)


def test_dropout_acts_in_training_alone(encoder):
    batch, objective = make_batch(), make_objective()
    state, hidden = make_state(encoder, batch), one_hidden(batch)
    first, again = (objective.predict(state, batch, hidden) for _ in range(2))
    torch.testing.assert_close(first, again, atol=0, rtol=0)
    objective.train()
    assert not torch.allclose(objective.predict(state, batch, hidden), first)


@pytest.mark.parametrize("options", [{}, {"mask_code": "box"}, {"mask_code": "none"}, {"image": False}])
@pytest.mark.parametrize("mask_id", [2, None])
def test_gradients_reach_both_towers_and_every_parameter(mask_id, options):
    encoder, batch = make_encoder(mask_id), make_batch(index=(0, 0, 1, 1))
    objective = make_objective(dims=replace(DIMS, mask_id=mask_id), **options).train()
    objective(make_state(encoder, batch), batch)["mask_grounding"].sum.backward()
    parts = {"objective": objective, "text": encoder.text_tower}
    if objective.image:
        parts["image"] = encoder.image_tower
    for name, part in parts.items():
        for key, parameter in part.named_parameters():
            assert parameter.grad is not None, (name, key)
            assert parameter.grad.isfinite().all(), (name, key)
            assert parameter.grad.any(), (name, key)


def test_only_a_vocabulary_without_mask_has_a_stand_in():
    assert make_objective().stand_in is None
    assert make_objective(dims=replace(DIMS, mask_id=None)).stand_in.shape == (16,)


def test_a_sentence_without_words_to_hide_costs_nothing(encoder):
    batch, objective = make_batch(), make_objective()
    batch.word_index[:] = -1
    term = objective(make_state(encoder, batch), batch)["mask_grounding"]
    assert (term.sum, term.count) == (0, 0)
    term.sum.backward()
    assert all((p.grad == 0).all() for p in objective.parameters())


def test_without_a_code_no_masks_are_needed(encoder):
    batch = replace(make_batch(), masks=None)
    state = make_state(encoder, batch)
    assert make_objective(mask_code="none")(state, batch)["mask_grounding"].sum > 0
    with pytest.raises(ValueError, match="MaskGrounding: the batch has no masks"):
        make_objective()(state, batch)


@pytest.mark.parametrize("size", [(17, 33), (64, 96)])
def test_any_map_becomes_four_by_four(encoder, size):
    """Also one of 2 x 3 cells."""
    batch, objective = make_batch(size), make_objective()
    term = objective(make_state(encoder, batch), batch)["mask_grounding"]
    assert torch.isfinite(term.sum)


@pytest.mark.parametrize("mask_id", [2, None])
def test_bfloat16_autocast(mask_id):
    encoder, batch = make_encoder(mask_id), make_batch()
    objective = make_objective(dims=replace(DIMS, mask_id=mask_id))
    state, hidden = make_state(encoder, batch), one_hidden(batch)
    exact = objective.predict(state, batch, hidden)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        term = objective(state, batch)["mask_grounding"]
        prediction = objective.predict(make_state(encoder, batch), batch, hidden)
    assert term.sum.dtype == term.count.dtype == prediction.dtype == torch.float32
    term.sum.backward()
    assert all(p.grad.isfinite().all() for p in objective.parameters())
    torch.testing.assert_close(prediction, exact, atol=0.1, rtol=0.05)


@pytest.mark.slow
def test_it_learns_what_only_the_segment_tells(encoder):
    """One picture, one sentence of one word, whose name is its segment's half: 60 steps are enough."""
    batch = make_batch(index=(0,) * 4, length=1)
    batch.token_ids[:, 0] = torch.tensor([5, 5, 6, 6])
    batch.masks[:] = False
    for row, (top, left) in enumerate([(4, 4), (30, 10), (8, 40), (40, 50)]):
        batch.masks[row, top : top + 10, left : left + 10] = True
    objective = make_objective(dropout=0.0).train()
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    state = make_state(encoder, batch)
    state = replace(
        state,
        encoded=replace(state.encoded, pyramid=[replace(m, values=m.values.detach()) for m in state.encoded.pyramid]),
    )
    for _ in range(60):
        loss = objective(state, batch)["mask_grounding"].sum / 4
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "mask_grounding", MaskGrounding)
    torch.manual_seed(0)
    return create_model("baseline_tiny", objectives={"segmentation": {}, "mask_grounding": SMALL})


def test_it_can_be_left_out_without_touching_the_segmentation_path(model):
    batch = make_batch()
    model.eval()
    plain = create_model("baseline_tiny").eval()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("objectives.")})
    expected = plain(batch).logits
    torch.testing.assert_close(model(batch).logits, expected, atol=0, rtol=0)
    torch.testing.assert_close(model(batch, with_losses=True).logits, expected, atol=0, rtol=0)
    del model.objectives["mask_grounding"]
    torch.testing.assert_close(model(batch).logits, expected, atol=0, rtol=0)


def test_every_parameter_of_a_model_learns(model):
    batch = make_batch()
    for _ in range(2):
        output = model(batch, with_losses=True)
        model.zero_grad()
        output.loss.backward()
        torch.optim.SGD(model.parameters(), 0.01).step()
    assert model.weights["mask_grounding"] == 1.0
    bad = [k for k, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]
    assert bad == []


def test_it_is_no_reason_to_listen(model, monkeypatch):
    """A model whose masks do not hear the sentence is refused, whether or not it names hidden words."""
    with pytest.raises(ValueError, match="nobody reads the words"):
        create_model("baseline_tiny", fusion="none", objectives={"segmentation": {}, "mask_grounding": SMALL})


def test_sizes_of_the_published_transformer():
    """33.6 M for the encoder and 15.9 M for the head, as in the note's section 3.5; 1.2 M lift what comes in."""
    dims = Dims((128, 256, 512, 1024), 256, (), None, 768, 768, 30522, mask_id=103)
    with torch.device("meta"):
        objective = MaskGrounding(dims)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in objective.named_children()}
    assert count["layers"] == 33_615_872
    assert count["vocabulary"] == 15_921_466
    assert sum(p.numel() for p in objective.parameters()) == 50_724_666
    assert (objective.side, len(objective.layers), objective.layers[0].attention.heads) == (4, 8, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_code": "center"}, "mask_code='center'; expected one of centre, box, region, none"),
        ({"feed_forward": 65}, "feed_forward=65 is not a multiple of width=32"),
        ({"visual_tokens": 15}, "visual_tokens=15; expected a square number"),
        ({"visual_tokens": 0}, "visual_tokens=0"),
        ({"heads": 5}, "not a multiple of heads=5"),
        ({"layers": 0}, "layers=0"),
        ({"share": 0}, "share=0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_objective(**options)


def test_region_code_reads_the_map_inside_the_target_alone(encoder):
    """Pixels outside of the mask reach the segment's token neither through the mean nor through its gradient."""
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, 2:4, 4:8] = True
    values = torch.randn(2, 3, 4, 4, requires_grad=True)
    mean = mean_inside(values, masks)
    torch.testing.assert_close(mean[0], values[0, :, 1, 2:4].mean(dim=1))
    assert (mean[1] == 0).all()
    mean.sum().backward()
    assert (values.grad[0, :, 1, 2:4] == 0.5).all()
    assert values.grad.abs().sum() == 3.0


def test_region_code_makes_the_word_depend_on_what_is_inside(encoder):
    """Same centre, other pixels inside: another guess. The centre alone tells them apart by its place only."""
    batch, objective = make_batch(), make_objective(mask_code="region")
    state, hidden = make_state(encoder, batch), one_hidden(batch)
    base = objective.predict(state, batch, hidden)
    middle = torch.zeros_like(batch.masks)
    height, width = middle.shape[1:]
    middle[:, height // 2 - 4 : height // 2 + 4, width // 2 - 4 : width // 2 + 4] = True
    torch.testing.assert_close(segment_code(middle, "centre"), segment_code(torch.ones_like(middle), "centre"))
    small, large = (
        objective.predict(state, replace(batch, masks=masks), hidden) for masks in (middle, torch.ones_like(middle))
    )
    assert not torch.allclose(small, large, atol=1e-5)
    assert not torch.allclose(base, large, atol=1e-5)
    plain = make_objective(mask_code="centre")
    small, large = (
        plain.predict(state, replace(batch, masks=masks), hidden) for masks in (middle, torch.ones_like(middle))
    )
    torch.testing.assert_close(small, large)


def test_wrong_inputs_are_refused(encoder):
    batch, objective = make_batch(), make_objective()
    state, hidden = make_state(encoder, batch), one_hidden(batch)
    with pytest.raises(ValueError, match=r"hidden has shape \(3, 4\) and type torch\.bool; expected \(3, 5\)"):
        objective.predict(state, batch, hidden[:, :4])
    with pytest.raises(ValueError, match=r"hidden has shape .* and type torch\.int64"):
        objective.predict(state, batch, hidden.long())
    with pytest.raises(ValueError, match="hidden is True for padding"):
        objective.predict(state, batch, ~batch.word_mask)
    with pytest.raises(ValueError, match=r"words have shape \(3, 5, 16\); expected \(S, L, 20\)"):
        make_objective(dims=replace(DIMS, word=20))(state, batch)
    with pytest.raises(ValueError, match=r"last map has shape \(2, 16, 4, 4\); expected 20 channels"):
        make_objective(dims=replace(DIMS, pyramid=(8, 8, 8, 20)))(state, batch)
    with pytest.raises(ValueError, match="word_mask must be bool"):
        objective(state, replace(batch, word_mask=batch.word_mask.long()))
    with pytest.raises(ValueError, match="the state has no encode"):
        objective(replace(state, encode=None), batch)


def test_training_may_ask_some_sentences_of_each_picture(encoder, monkeypatch):
    """Asking two of three is asking those two alone."""
    batch, objective = make_batch(index=(0, 0, 0, 1)), make_objective(most=2, dropout=0.0)
    state, chosen = make_state(encoder, batch), torch.tensor([True, False, True, True])
    monkeypatch.setattr(mask_grounding, "choose_sentences", lambda index, most: chosen)
    monkeypatch.setattr(mask_grounding, "choose_hidden", lambda index, mask, share: (index == 1) & mask)
    whole = objective(state, batch)["mask_grounding"]
    assert whole.count == 4, "evaluation asks all"
    part = objective.train()(state, batch)["mask_grounding"]
    alone = make_objective()(state, batch.take(chosen))["mask_grounding"]
    assert part.count == alone.count == 3
    torch.testing.assert_close(part.sum, alone.sum)
    with pytest.raises(ValueError, match="most=0; expected at least one sentence"):
        make_objective(most=0)
