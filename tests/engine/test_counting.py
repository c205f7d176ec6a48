"""Parameters and FLOPs, counted without computing, compared with formulas and with the models that compute."""

import pytest
import torch
from torch import nn

from ris_lib.attention import attend
from ris_lib.engine.counting import build_shapes, count_flops, count_parameters, full_batch, model_flops
from ris_lib.models import create_model, list_models

PIXELS, WORDS, CHANNELS, HEADS, HIDDEN = 7, 3, 8, 2, 16


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_one_attention_layer_has_the_flops_of_the_formula(device):
    """Four projections, the product of queries and keys, the product of weights and values; two for each product."""
    layer = nn.MultiheadAttention(CHANNELS, HEADS, batch_first=True, device=device).eval()
    pixels, words = (torch.zeros(1, count, CHANNELS, device=device) for count in (PIXELS, WORDS))
    projections = 2 * CHANNELS * CHANNELS * (PIXELS + 2 * WORDS + PIXELS)
    products = 2 * 2 * PIXELS * WORDS * CHANNELS
    assert count_flops(lambda: layer(pixels, words, words, need_weights=False)) == projections + products


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_fused_attention_is_counted_in_its_open_form(device):
    query, key = (torch.zeros(1, HEADS, count, CHANNELS // HEADS, device=device) for count in (PIXELS, WORDS))
    mask = torch.ones(1, WORDS, dtype=torch.bool, device=device)
    assert count_flops(lambda: attend(query, key, key, mask=mask)) == 2 * 2 * PIXELS * WORDS * CHANNELS


def test_fast_paths_are_counted_and_then_allowed_again():
    layer = nn.TransformerEncoderLayer(CHANNELS, HEADS, HIDDEN, batch_first=True).eval()
    words = torch.zeros(1, WORDS, CHANNELS)
    attention = 2 * CHANNELS * CHANNELS * 4 * WORDS + 2 * 2 * WORDS * WORDS * CHANNELS
    assert count_flops(lambda: layer(words)) == attention + 2 * 2 * WORDS * CHANNELS * HIDDEN
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models("*_tiny"))
def test_shapes_alone_give_the_numbers_of_the_real_model(name):
    real, shapes = create_model(name), build_shapes(name)
    assert count_parameters(shapes) == count_parameters(real)
    batch = full_batch(real, 1)
    assert model_flops(shapes) == count_flops(lambda: real.eval()(batch)) > 1e7
    assert {tensor.device.type for tensor in [*shapes.parameters(), *shapes.buffers()]} == {"meta"}


def test_building_on_meta_leaves_later_models_real():
    build_shapes("magnet_tiny")
    model = create_model("magnet_tiny")
    assert {tensor.device.type for tensor in [*model.parameters(), *model.buffers()]} == {"cpu"}


def test_counting_leaves_the_mode_of_the_model():
    model = build_shapes("baseline_tiny")
    model.head.eval()
    model_flops(model)
    assert model.training
    assert not model.head.training


def test_every_sentence_of_a_batch_fills_the_length():
    model = create_model("baseline_tiny")
    batch = full_batch(model, 3)
    assert batch.word_mask.shape == (3, model.tokenizer.length)
    assert batch.word_mask.all()
    assert (batch.word_index >= 0).any(dim=1).all()


def test_parameters_of_objectives_are_counted_apart():
    model = build_shapes("magnet_tiny")
    own, of_objectives = count_parameters(model)
    assert own + of_objectives == sum(parameter.numel() for parameter in model.parameters())
    assert of_objectives == sum(parameter.numel() for parameter in model.objectives.parameters()) > 0
