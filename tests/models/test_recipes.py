"""Every recipe: all of its parts learn, it shows what it does, and it is one function however it is asked.

The tiny models of these tests have been trained for a step: gates start closed, and a closed gate hides what is behind.
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ris_lib.contract import EXPLANATIONS
from ris_lib.engine.counting import build_shapes
from ris_lib.engine.optimizer import freeze, make_optimizer
from ris_lib.models import ReferringSegmenter, create_model, list_models, recipe
from tests.tiny_batches import make_batch
from tests.whole_models import (
    longer,
    one_sentence_an_image,
    sentence,
    sizes,
    unlearned,
    with_another_word,
    wrong_gradients,
)

TINY = list_models("*_tiny")
LARGE = [name for name in list_models() if not name.endswith("_tiny")]
BATCH = make_batch(index=(0, 0, 0, 1))

#: What a recipe shows: how many maps where there is one for each fusion or layer, None where there is one tensor.
SHOWN = {
    "alignformer_tiny": {"word_pixel_attention": 5, "pixel_word_attention": 4, "centre_states": None},
    "baseline_tiny": {},
    "coupalign_tiny": {"word_pixel_attention": 4, "pixel_word_attention": 4, "query_masks": None, "query_scores": None},
    "cris_tiny": {"word_pixel_attention": 1},
    "eavl_tiny": {
        "word_pixel_attention": 1,
        "query_masks": None,
        "query_scores": None,
        "query_word_attention": None,
    },
    "lavt_tiny": {"word_pixel_attention": 4},
    "magnet_tiny": {"word_pixel_attention": 4, "pixel_word_attention": 3, "query_masks": None, "centre_states": None},
}

#: What a recipe cannot feel: the last norm of the text tower moves all words alike, and what all words share PWAM's
#: softmax and instance norm take away.
NOT_FELT = {"lavt_tiny": {"encoder.text_tower.norm.bias"}}

#: Parameters in millions, without those of objectives, as counted; a change of a part's size shows here.
MILLIONS = {
    "alignformer_base": 269.95,
    "alignformer_small": 93.52,
    "coupalign_base": 216.4,
    "coupalign_small": 71.18,
    "cris_base": 161.25,
    "cris_small": 146.85,
    "eavl_base": 169.93,
    "eavl_small": 154.34,
    "lavt_base": 225.63,
    "lavt_small": 67.49,
    "lgformer_base": 269.95,
    "magnet_base": 288.38,
    "magnet_small": 113.66,
}


@pytest.fixture(scope="module", params=TINY)
def trained(request):
    """A model after one step, and the names of the parameters that did not learn."""
    torch.manual_seed(0)
    model = create_model(request.param)
    dead = unlearned(model, BATCH)
    return model.eval(), dead


def ask(model, batch, **options):
    with torch.inference_mode():
        return model(batch, **options)


def test_every_parameter_learns_and_is_optimised_once(trained):
    model, dead = trained
    assert set(dead) <= NOT_FELT.get(model.config.recipe, set())


def test_a_tiny_model_is_tiny(trained):
    assert 0.05e6 < sizes(trained[0])[0] < 1.9e6


def test_explanations_have_their_names_shapes_and_sums(trained):
    model = trained[0]
    output = ask(model, BATCH, explain=True)
    torch.testing.assert_close(output.logits, ask(model, BATCH).logits, atol=1e-5, rtol=1e-5)
    shown = output.explanation
    assert set(shown) <= set(EXPLANATIONS)
    assert {name: len(v) if isinstance(v, list) else None for name, v in shown.items()} == SHOWN[model.config.recipe]
    check_explanation(shown, output)


def check_explanation(shown, output):
    count, length = BATCH.token_ids.shape
    real = BATCH.word_mask
    for maps in shown.get("word_pixel_attention", []):
        assert maps.shape[:2] == (count, length)
        assert maps.dim() == 4
        torch.testing.assert_close(maps.sum(dim=1), torch.ones_like(maps[:, 0]))
        assert maps[~real].abs().max() == 0
    for maps in shown.get("pixel_word_attention", []):
        assert maps.shape[:2] == (count, length)
        torch.testing.assert_close(maps.sum(dim=(2, 3))[real], torch.ones(int(real.sum())))
    queries = output.query_logits.shape[1] if output.query_logits is not None else None
    if "query_masks" in shown:
        maps = shown["query_masks"]
        assert maps.shape[0] == count
        assert queries in (None, maps.shape[1])
        assert maps.shape[2:] == output.logits.shape[2:]
        assert 0 <= maps.min() <= maps.max() <= 1
    if "query_scores" in shown:
        assert shown["query_scores"].shape == (count, queries)
        torch.testing.assert_close(shown["query_scores"].sum(dim=1), torch.ones(count))
    if "query_word_attention" in shown:
        attention = shown["query_word_attention"]
        assert attention.shape == (count, queries, length)
        torch.testing.assert_close(attention.sum(dim=2), torch.ones(count, queries))
        assert attention.transpose(1, 2)[~real].abs().max() == 0
    if "centre_states" in shown:
        assert shown["centre_states"].shape == (count, len(output.aux_logits) + 1, output.centre.shape[1])
        torch.testing.assert_close(shown["centre_states"][:, -1], output.centre)


def test_padding_never_matters_and_words_always_do(trained):
    model = trained[0]
    base = ask(model, BATCH).logits
    torch.testing.assert_close(ask(model, longer(BATCH, 6)).logits, base, atol=1e-5, rtol=1e-5)
    garbage = replace(BATCH, token_ids=BATCH.token_ids.masked_fill(~BATCH.word_mask, 9))
    torch.testing.assert_close(ask(model, garbage).logits, base, atol=1e-5, rtol=1e-5)
    changed = (ask(model, with_another_word(BATCH)).logits - base).flatten(1).abs().amax(dim=1)
    assert (changed > 1e-4).all(), changed


def test_sentences_of_one_image_share_it_and_nothing_else(trained):
    model = trained[0]
    together = ask(model, BATCH).logits
    apart = ask(model, one_sentence_an_image(BATCH)).logits
    torch.testing.assert_close(apart, together, atol=1e-5, rtol=1e-4)
    for row in (0, 3):
        alone = ask(model, sentence(BATCH, row)).logits
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-4)


def test_bfloat16_autocast(trained):
    model = trained[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(BATCH, with_losses=True)
        output.loss.backward()
    assert output.loss.dtype == torch.float32
    assert all(torch.isfinite(value) for value in output.losses.values())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    change = (output.logits.float().sigmoid() - ask(model, BATCH).logits.sigmoid()).abs().mean()
    assert change < 0.03


@pytest.mark.slow  # all of them together
@pytest.mark.parametrize("name", TINY)
def test_gradients_are_what_a_small_step_shows(name):
    torch.manual_seed(0)
    assert wrong_gradients(create_model(name), BATCH) == []


@pytest.mark.parametrize("name", TINY)
def test_half_precision_weights(name):
    torch.manual_seed(0)
    model = create_model(name).eval()
    with torch.inference_mode():
        expected = model(BATCH).logits.sigmoid()
        half = model.half()(replace(BATCH, images=BATCH.images.half())).logits
    assert (half.float().sigmoid() - expected).abs().mean() < 0.01


@pytest.mark.slow
def test_a_fresh_process_gives_the_same_masks(tmp_path):
    """All recipes and some combinations in one process: most of the time is its start."""
    models = {name: create_model(name) for name in TINY}
    models |= {
        "vlba, many queries": create_model(
            "magnet_tiny",
            fusion="vlba",
            head={"name": "vision_language_aligner", "queries": 3, "width": 32},
            objectives=["segmentation", "mask_grounding"],
        ),
        "no fusion, a list": create_model("baseline_tiny", fusion=["pwam", None, "cam", None], merge=None),
        "CLIP's neck, batch norm": create_model("cris_tiny", decoder={"norm": "batch"}, fusion="late"),
    }
    for k, model in enumerate(models.values()):
        torch.manual_seed(k)
        step_of = torch.optim.SGD(model.parameters(), lr=1e-2)
        model(BATCH, with_losses=True).loss.backward()
        step_of.step()
        model.eval().save_pretrained(tmp_path / str(k), objectives=True)
    script = """
import sys, torch
from ris_lib.models import ReferringSegmenter
from tests.tiny_batches import make_batch
torch.set_num_threads(1)
folder, count = sys.argv[1], int(sys.argv[2])
with torch.inference_mode():
    batch = make_batch(index=(0, 0, 0, 1))
    made = [ReferringSegmenter.from_pretrained(f"{folder}/{k}")(batch).logits for k in range(count)]
torch.save(made, folder + "/logits.pt")
"""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", script, str(tmp_path), str(len(models))], cwd=root, check=True, timeout=300)
    made = torch.load(tmp_path / "logits.pt", weights_only=True)
    for k, (name, model) in enumerate(models.items()):
        torch.testing.assert_close(made[k], ask(model, BATCH).logits, msg=lambda text, name=name: f"{name}: {text}")
        again = ReferringSegmenter.from_pretrained(tmp_path / str(k)).state_dict()
        assert all(torch.equal(again[key], value) for key, value in model.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_large_recipes_are_built_with_fresh_weights(name):
    with torch.device("meta"):  # shapes alone: the same constructors, without gigabytes
        model = create_model(name)
    assert round(sizes(model)[0] / 1e6, 2) == MILLIONS[name]
    assert model.config.recipe == name
    strides, side = model.encoder.strides, model.config.preprocess["size"][0]
    assert strides[0] == 4
    assert side % strides[0] == 0


#: What the papers and released code fix for training and scoring, by recipe: path in the configuration, value.
PUBLISHED = {
    "lavt_base": {
        "training.learning_rate": 5e-5,
        "training.weight_decay": 0.01,
        "training.schedule": "polynomial",
        "training.images_per_step": 32,
        "training.gradient_clip": None,
        "upsample.align_corners": True,
        "threshold": 0.5,
        "objectives.segmentation.positive_weight": 1.1 / 0.9,
        "objectives.segmentation.weights": {"bce": 1.0, "dice": 0.0},
        "preprocess.size": [480, 480],
        "tokenizer.length": 20,
    },
    "lgformer_base": {
        "training.frozen": ["encoder.text_tower.embeddings."],
        "upsample.align_corners": False,
        "objectives.segmentation.positive_weight": 1.1,
        "objectives.segmentation.deep": True,
        "objectives.segmentation.weights": {"bce": 1.0, "dice": 0.0},
    },
    "cris_base": {
        "training.learning_rate": 1e-4,
        "training.schedule": "step",
        "training.images_per_step": 64,
        "training.rate_factors": {"encoder.image_tower.": 0.1, "encoder.text_tower.": 0.1},
        "upsample.of": "probabilities",
        "upsample.mode": "bicubic",
        "threshold": 0.35,
        "objectives.segmentation.shrink": "nearest",
        "preprocess.resize": "letterbox_cris",
        "preprocess.size": [416, 416],
        "tokenizer.length": 17,
    },
    "eavl_base": {"threshold": 0.35, "objectives.segmentation.shrink": "nearest", "tokenizer.length": 17},
    "coupalign_base": {"objectives.pixel_contrast.weights": {"pixel_contrast": 0.1}},
    "magnet_base": {"upsample.align_corners": True, "threshold": 0.5, "objectives.segmentation.deep": True},
}


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, fixed in PUBLISHED.items() for path in fixed])
def test_training_and_scoring_are_as_published(name, path):
    value = recipe(name).to_dict()
    for entry in path.split("."):
        value = value[entry]
    assert value == PUBLISHED[name][path]


@pytest.mark.parametrize("name", list_models())
def test_what_training_freezes_and_slows_down_is_there(name):
    model = build_shapes(name)
    training = model.config.training
    freeze(model, training.get("frozen", ()))
    make_optimizer(model, training["learning_rate"], rate_factors=training.get("rate_factors"))
    frozen = {key for key, parameter in model.named_parameters() if not parameter.requires_grad}
    assert bool(frozen) == bool(training.get("frozen"))
