"""What models explain, as views: words joined from tokens, maps brought to the picture."""

import numpy as np
import pytest
import torch

from ris_lib import create_model
from ris_lib.contract import MaskOutput
from ris_lib.engine import Predictor
from ris_lib.engine.explain import explanation_views

SENTENCES = ["the red ball on the left", "largest cup"]
ROWS = {
    "baseline_tiny": [],
    "lavt_tiny": ["Words in each pixel"],
    "cris_tiny": ["Words in each pixel"],
    "alignformer_tiny": ["Words in each pixel", "Pixels of each word", "Steps"],
    "coupalign_tiny": ["Words in each pixel", "Pixels of each word", "Queries"],
    "eavl_tiny": ["Words in each pixel", "Queries"],
    "magnet_tiny": ["Words in each pixel", "Pixels of each word", "Steps"],
}


def image(height=96, width=96):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ROWS)
def test_every_model_explains_what_it_has(name):
    torch.manual_seed(0)
    predict = Predictor(create_model(name), device="cpu")
    views = predict.explain(image(), SENTENCES)
    assert [view.sentence for view in views] == SENTENCES
    for view in views:
        assert [row.title for row in view.rows] == ROWS[name]
        for row in view.rows:
            for layer in row.layers.values():
                if row.reading == "share":
                    np.testing.assert_allclose(layer.maps.sum(axis=0), 1, atol=1e-4)
                if row.reading == "spread":
                    np.testing.assert_allclose(layer.maps.sum(axis=(1, 2)), 1, atol=1e-4)
                for bars in layer.bars or ():
                    assert sum(value for _, value in bars) == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(views[0].mask, predict(image(), SENTENCES).probabilities[0], atol=1e-5)


def test_words_are_the_sentences_own():
    [view] = Predictor(create_model("lavt_tiny"), device="cpu").explain(image(), "The  largest cup")
    assert view.rows[0].items == ["the", "largest", "cup"]


def test_pieces_of_a_word_are_joined_and_special_tokens_stand_apart():
    """Four tokens: a special one, two pieces of the first word, the second word."""
    predict = Predictor(create_model("lavt_tiny"), device="cpu")
    batch = predict.collator.images_only(image(), ["red ball"])
    batch.word_index[0, :5] = torch.tensor([-1, 0, 0, 1, -1])
    batch.word_mask[0, :5] = torch.tensor([True, True, True, True, False])
    batch.word_mask[0, 5:], batch.word_index[0, 5:] = False, -1
    shares = torch.zeros(1, batch.word_mask.shape[1], 6, 6)
    shares[0, :4] = torch.tensor([0.1, 0.2, 0.3, 0.4])[:, None, None]
    spreads = torch.zeros_like(shares)
    spreads[0, 1, 0, 0], spreads[0, 2, 0, 1], spreads[0, 3], spreads[0, 0] = 1, 1, 1 / 36, 1 / 36
    explained = {"word_pixel_attention": [shares], "pixel_word_attention": [spreads]}
    output = MaskOutput(torch.zeros(1, 1, 6, 6), explanation=explained)
    [view] = explanation_views(batch, output, torch.zeros(1, 96, 96))
    words, pixels = view.rows
    assert words.items == ["red", "ball", "(other tokens)"]
    np.testing.assert_allclose(words.layers["attention"].maps[:, 0, 0], [0.5, 0.4, 0.1], atol=1e-6)
    np.testing.assert_allclose(pixels.layers["attention"].maps[0, 0, :3], [0.5, 0.5, 0], atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(40, 96), (96, 40), (50, 50)])
def test_maps_lie_on_the_picture_without_what_the_letterbox_added(height, width):
    """A map that is bright on the right half of the picture stays so, whatever was added around the picture."""
    preprocess = {"size": [96, 96], "resize": "letterbox", "mean": [0.5] * 3, "std": [0.5] * 3}
    predict = Predictor(create_model("lavt_tiny", preprocess=preprocess), device="cpu")
    batch = predict.collator.images_only(image(height, width), ["red"])
    (scale_y, _), (scale_x, offset_x) = batch.to_network[0].tolist()
    columns = (torch.arange(96) - offset_x) / scale_x  # where each network column lies on the picture
    bright = (columns > (width - 1) / 2).float().expand(96, 96)
    output = MaskOutput(torch.zeros(1, 1, 48, 48))
    [view] = explanation_views(batch, output, bright[None].clone())
    assert view.mask.shape == (round(height * scale_y), round(width * scale_x))
    half = view.mask.shape[1] / 2
    left, right = view.mask[:, : int(half - 1)], view.mask[:, int(half + 1) :]
    assert left.max() < 0.01
    assert right.min() > 0.99
