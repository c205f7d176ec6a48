"""Mix and match: every fusion with every decoder with every head learns in all of its parts, or is refused in words.

All models here are built by ``create_model`` with towers of 16 to 24 channels.
"""

from itertools import product

import pytest
import torch

from ris_lib.data.tokenizers import WordTokenizer
from ris_lib.decoders import DECODERS, TopDown
from ris_lib.fusion import FUSIONS
from ris_lib.heads import HEADS
from ris_lib.models import create_model, list_models
from ris_lib.objectives import OBJECTIVES
from tests.tiny_batches import make_batch
from tests.whole_models import longer, one_sentence_an_image, unlearned, with_another_word, wrong_gradients

BATCH = make_batch()

TOWERS = {
    "tokenizer": WordTokenizer([f"word{k}" for k in range(9)], length=8),
    "image_tower": {"name": "tiny", "widths": [16, 16, 24, 24], "strides": [4, 8, 16, 16], "detail_channels": 8},
    "text_tower": {"name": "tiny", "width": 16, "layers": [1, 1, 0, 0]},
    "merge": {"channels": 8},
}
DECODER = {
    "top_down": {"width": 16},
    "clip_neck": {
        "width": 16,
        "layers": 1,
        "heads": 2,
        "feed_forward": 32,
        "dropout": 0.0,
        "norm": "group",
        "out_channels": 16,
    },
    "deformable": {"width": 16, "layers": 1, "heads": 2, "points": 2, "feed_forward": 32, "groups": 4},
    "light": {"width": 16, "word_layers": 1, "heads": 2},
}
HEAD = {
    "fixed_kernel": {},
    "sentence_kernel": {},
    "centre_embedding": {"layers": 3, "heads": 2, "feed_forward": 32},
    "sentence_mask_alignment": {"queries": 3, "layers": 1, "heads": 2, "width": 16, "feed_forward": 32},
    "vision_language_aligner": {"queries": 3, "width": 16},
    "masked_query": {"layers": 3, "heads": 2, "width": 16, "feed_forward": 32},
}
OBJECTIVE = {
    "segmentation": {"deep": True},
    "instance_contrast": {},
    "pixel_contrast": {"width": 8, "limit": 64},
    "cross_modal_alignment": {"limit": 64},
    "mask_grounding": {"width": 16, "layers": 1, "heads": 2, "feed_forward": 32, "dropout": 0.0},
}
ALL = list(product(["none", *FUSIONS], DECODERS, HEADS))

#: Neither these decoders (as above) nor these heads listen: without fusion the model would not know the question.
DEAF_DECODERS, DEAF_HEADS = {"top_down", "deformable"}, {"fixed_kernel", "masked_query"}


def deaf(fusion, decoder, head):
    return fusion == "none" and decoder in DEAF_DECODERS and head in DEAF_HEADS


def combine(fusion="late", decoder="top_down", head="fixed_kernel", **changes):
    """A model of parts by name, each at a tiny width; a dictionary changes the options of a part."""
    decoder, head = ({"name": p} if isinstance(p, str) else p for p in (decoder, head))
    torch.manual_seed(0)
    settings = {
        **TOWERS,
        "fusion": fusion,
        "decoder": {**DECODER.get(decoder["name"], {}), **decoder},
        "head": {**HEAD.get(head["name"], {}), **head},
        "objectives": ["segmentation"],
    }
    return create_model("baseline_tiny", **{**settings, **changes})


def test_the_product_is_whole():
    assert set(DECODER) == set(DECODERS)
    assert set(HEAD) == set(HEADS)
    assert set(OBJECTIVE) == set(OBJECTIVES)
    assert len(ALL) == 6 * 4 * 6
    assert sum(deaf(*parts) for parts in ALL) == 4


@pytest.mark.slow  # all of them together
@pytest.mark.parametrize(("fusion", "decoder", "head"), [parts for parts in ALL if not deaf(*parts)])
def test_every_part_learns_in_every_combination(fusion, decoder, head):
    model = combine(fusion, decoder, head, objectives=OBJECTIVE)
    assert unlearned(model, BATCH) == []


@pytest.mark.slow  # all of them together
@pytest.mark.parametrize(("fusion", "decoder", "head"), [parts for parts in ALL[::7] if not deaf(*parts)])
def test_gradients_are_what_a_small_step_shows(fusion, decoder, head):
    assert wrong_gradients(combine(fusion, decoder, head, objectives=OBJECTIVE), BATCH) == []


@pytest.mark.parametrize(("fusion", "decoder", "head"), [parts for parts in ALL if deaf(*parts)])
def test_a_model_that_does_not_listen_is_refused(fusion, decoder, head):
    message = f"last fusion block stands at stage none, and neither decoder '{decoder}' nor head '{head}' listens"
    for objectives in (["segmentation"], OBJECTIVE):  # a loss that reads words does not make masks listen
        with pytest.raises(ValueError, match=message):
            combine(fusion, decoder, head, objectives=objectives)


BY_NAME = {
    "magnet_tiny": {
        "fusion": "vlba",
        "head": "vision_language_aligner",
        "objectives": ["segmentation", "mask_grounding"],
    },
    "lavt_tiny": {"decoder": "light", "head": "masked_query", "objectives": ["segmentation", "pixel_contrast"]},
    "eavl_tiny": {"fusion": "wpa", "head": "sentence_mask_alignment"},
    "cris_tiny": {"fusion": "late", "head": "centre_embedding", "objectives": ["segmentation", "instance_contrast"]},
    "alignformer_tiny": {"fusion": "none", "decoder": "top_down", "head": "sentence_kernel"},
}


@pytest.mark.parametrize("name", BY_NAME)
def test_parts_by_name_alone(name):
    torch.manual_seed(0)
    model = create_model(name, **BY_NAME[name])
    assert unlearned(model, BATCH) == []


@pytest.mark.parametrize("name", list_models("*_tiny"))
def test_objectives_can_be_left_out(name):
    """A model without a loss has the parameters of the model with it, so that its weights fit."""
    whole = {key for key, _ in create_model(name).named_parameters() if not key.startswith("objectives.")}
    assert {key for key, _ in create_model(name, objectives=[]).named_parameters()} == whole


#: Each fusion with each decoder once, the heads in turn.
SPARSE = [
    (fusion, decoder, list(HEADS)[(i + j) % len(HEADS)])
    for i, fusion in enumerate(["none", *FUSIONS])
    for j, decoder in enumerate(DECODERS)
]


@pytest.mark.slow  # all of them together
@pytest.mark.parametrize(("fusion", "decoder", "head"), [parts for parts in SPARSE if not deaf(*parts)])
def test_every_part_learns_from_the_mask_alone(fusion, decoder, head):
    """Fewer parts are read without objectives that read words; what nobody reads is not built.

    Two steps: where only pixels are read, the gates of WPA's words wait for the gates of its pixels.
    """
    model = combine(fusion, decoder, head, merge=None if head == "sentence_kernel" else TOWERS["merge"])
    assert unlearned(model, BATCH, steps=2) == []


#: Other towers, text in other groups, lists of blocks, options that change what is read.
SWIN = {"name": "swin", "embed_dim": 16, "depths": [1, 1, 1, 1], "heads": [1, 2, 2, 4], "window": 4, "drop_path": 0.0}
BERT = {"name": "bert", "width": 16, "heads": 2, "intermediate": 32, "layers": [1, 1, 0, 0], "dropout": 0.0}
CLIP_IMAGE = {"name": "clip", "layers": [1, 1, 1, 1], "width": 8, "heads": 2, "output_dim": 24, "resolution": 64}
CLIP_TEXT = {"name": "clip", "width": 16, "heads": 2, "embed_dim": 24, "layers": [1, 1, 0, 0]}
TIMM, WHOLE = {"name": "timm", "model": "resnet10t"}, {"name": "timm", "model": "hrnet_w18_small"}
OTHERS = {
    "swin, bert, cam, masked query": {
        "image_tower": SWIN,
        "text_tower": BERT,
        "fusion": "cam",
        "decoder": "deformable",
        "head": "masked_query",
    },
    "swin, clip, vlba, many queries": {
        "image_tower": SWIN,
        "text_tower": CLIP_TEXT,
        "fusion": "vlba",
        "head": "vision_language_aligner",
    },
    "clip, clip, none, sentence kernel": {
        "image_tower": CLIP_IMAGE,
        "text_tower": {**CLIP_TEXT, "layers": [2, 0, 0, 0]},
        "fusion": "none",
        "decoder": "clip_neck",
        "head": "sentence_kernel",
    },
    "clip, bert, wpa, proposals": {
        "image_tower": CLIP_IMAGE,
        "text_tower": {**BERT, "layers": [0, 1, 0, 1]},
        "fusion": "wpa",
        "decoder": "light",
        "head": "sentence_mask_alignment",
    },
    "timm, bert, pwam": {"image_tower": TIMM, "text_tower": BERT, "fusion": "pwam"},
    "timm whole, clip, late, centre": {
        "image_tower": WHOLE,
        "text_tower": CLIP_TEXT,
        "fusion": [None, None, None, "vlba"],
        "decoder": "light",
        "head": "centre_embedding",
    },
}
TINY_TOWERS = {
    "text first": {"text_tower": {"layers": [2, 0, 0, 0]}, "fusion": "vlba", "head": "centre_embedding"},
    "text last": {"text_tower": {"layers": [0, 0, 0, 1]}, "fusion": "wpa"},
    "a layer a stage": {"text_tower": {"layers": [1, 1, 1, 1]}, "fusion": "cam", "head": "vision_language_aligner"},
    "groups with gaps": {"text_tower": {"layers": [0, 1, 0, 1]}, "fusion": "pwam"},
    "blocks of all kinds": {
        "fusion": [{"name": "cam"}, {"name": "vlba"}, {"name": "wpa"}, {"name": "pwam"}],
        "decoder": "clip_neck",
    },
    "first stage alone": {"fusion": ["pwam", None, None, None], "head": "sentence_kernel"},
    "first stage, unread map": {
        "fusion": ["cam", None, None, None],
        "decoder": "clip_neck",
        "text_tower": {"layers": [1, 0, 0, 1]},
    },
    "a gap": {"fusion": ["vlba", None, "vlba", None], "decoder": "light"},
    "strides of 4": {"image_tower": {"strides": [4, 4, 4, 4]}, "fusion": "pwam", "decoder": "clip_neck"},
    "strides to 32": {"image_tower": {"strides": [4, 8, 16, 32]}, "fusion": "wpa", "decoder": "deformable"},
    "words in the deformable decoder": {
        "fusion": "vlba",
        "decoder": {"name": "deformable", "words": True, "levels": 3},
        "head": "centre_embedding",
    },
    "words heard by the decoder alone": {"fusion": "none", "decoder": "light"},
    "hard grouping": {"head": {"name": "centre_embedding", "grouping": "hard", "tokens": "content"}},
    "cosine grouping": {"head": {"name": "centre_embedding", "grouping": "cosine", "layers": 1}},
    "centre of the words": {"head": {"name": "centre_embedding", "layers": 0}},
    "proposals that hear": {"head": {"name": "sentence_mask_alignment", "words_in_memory": True, "queries": 1}},
    "projected proposals": {"head": {"name": "sentence_mask_alignment", "variant": "projected"}},
    "linear proposals": {"head": {"name": "sentence_mask_alignment", "variant": "linear"}},
    "queries that look": {
        "fusion": "none",
        "head": {"name": "vision_language_aligner", "decoder_mode": "queries", "heads": 2, "scores": "sigmoid"},
    },
    "queries that look everywhere": {
        "head": {"name": "vision_language_aligner", "decoder_mode": "both", "heads": 2, "mix": "prob"},
    },
    "one query": {"head": {"name": "vision_language_aligner", "queries": 1}},
    "two classes": {"head": {"name": "fixed_kernel", "classes": 2}, "merge": None},
    "a short masked query": {"fusion": "pwam", "head": {"name": "masked_query", "layers": 1}},
    "released language side": {"fusion": {"name": "cam", "language_side": "fixed01"}, "decoder": "clip_neck"},
}


@pytest.mark.slow  # all of them together
@pytest.mark.parametrize("name", TINY_TOWERS)
def test_other_settings(name):
    changes = dict(TINY_TOWERS[name])
    for tower in ("image_tower", "text_tower"):
        changes[tower] = {**TOWERS[tower], **changes.get(tower, {})}
    assert unlearned(combine(**changes, objectives=OBJECTIVE), BATCH) == []


@pytest.mark.slow  # all of them together
@pytest.mark.parametrize("name", OTHERS)
def test_other_towers(name):
    model = combine(**OTHERS[name], merge=None, objectives=OBJECTIVE)
    assert unlearned(model, BATCH) == []


def test_clips_own_tokeniser_has_no_mask_token_and_words_are_hidden_all_the_same():
    changes = OTHERS["clip, clip, none, sentence kernel"]
    model = combine(**changes, merge=None, tokenizer={"kind": "clip", "length": 9}, objectives=OBJECTIVE)
    assert model.objectives["mask_grounding"].stand_in is not None
    assert unlearned(model, BATCH) == []


NO_FUSION_INSIDE = "TimmImage gives all of its maps at once, so words can join after its last stage only"
REFUSED = {
    "fusion inside a tower that is not separable": (
        {"image_tower": WHOLE, "fusion": "pwam", "merge": None},
        NO_FUSION_INSIDE,
    ),
    "a pyramid of one stride": (
        {"image_tower": {"name": "timm", "model": "vit_tiny_patch16_224"}, "merge": None},
        "have stride 16: that is no pyramid",
    ),
    "a merge without a detail map": (
        {"image_tower": TIMM},
        "merge={'channels': 8} needs a detail map, and TimmImage has none; set merge=None",
    ),
    "text after the last block": (
        {"fusion": ["pwam", None, None, None], "text_tower": {**TOWERS["text_tower"], "layers": [1, 1, 0, 0]}},
        "nobody reads the words after text group 2: the last fusion block stands at stage 1",
    ),
    "a finer map than there is": (
        {"image_tower": {**TOWERS["image_tower"], "strides": [2, 2, 2, 2]}, "decoder": "clip_neck"},
        "ClipNeck: in_strides=.2, 2, 2, 2.; the third must be a multiple of 4",
    ),
    "channels that do not divide": (
        {"image_tower": {**TOWERS["image_tower"], "widths": [16, 16, 24, 22], "attention": [0] * 4}, "fusion": "cam"},
        "CAM: pixel_dim=22; expected a multiple of 4",
    ),
    "heads that do not divide": ({"decoder": {"name": "light", "heads": 3}}, "not a multiple of heads=3"),
    "groups that do not divide": (
        {"decoder": {"name": "deformable", "groups": 32}},
        "Deformable: width=16; expected a multiple of groups=32",
    ),
    "a head without its options' range": (
        {"head": {"name": "centre_embedding", "layers": 0, "grouping": "hard"}},
        "hard grouping needs layers",
    ),
    "a loss that is not there": ({"objectives": ["mask_ground"]}, "did you mean 'mask_grounding'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_with_the_reason(name):
    changes, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        combine(**changes)


class Bare(TopDown):
    """A decoder that hands on its finest map alone."""

    def __init__(self, in_channels, in_strides, word_dim, sentence_dim):
        super().__init__(in_channels, in_strides, word_dim, sentence_dim, width=16)
        self.memory_channels, self.context_channels = (), None

    def forward(self, encoded, explain=False):
        features = super().forward(encoded, explain)
        features.memory, features.context = [], None
        return features


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("centre_embedding", "CentreEmbedding: layers=3 need memory maps to look at, and this decoder has none"),
        ("sentence_mask_alignment", "SentenceMaskAlignment: the decoder hands on no coarser maps"),
        ("masked_query", "MaskedQuery: memory_channels is empty"),
        ("vision_language_aligner", "VisionLanguageAligner: the decoder gives no context map"),
    ],
)
def test_heads_that_need_coarser_maps_say_so(monkeypatch, head, message):
    monkeypatch.setitem(DECODERS, "bare", Bare)
    with pytest.raises(ValueError, match=message):
        combine(decoder="bare", head=head)


@pytest.mark.parametrize("head", ["fixed_kernel", "sentence_kernel", {"name": "centre_embedding", "layers": 0}])
def test_heads_that_need_none_work_without(monkeypatch, head):
    monkeypatch.setitem(DECODERS, "bare", Bare)
    assert unlearned(combine(decoder="bare", head=head, objectives=OBJECTIVE), BATCH) == []


def test_batch_norm_needs_more_than_one_sentence():
    # No attention at the last stage: batch norm takes away what its last bias adds to a whole channel.
    tower = {**TOWERS["image_tower"], "attention": [0, 0, 1, 0]}
    model = combine(image_tower=tower, decoder={"name": "clip_neck", "norm": "batch"}, fusion="none")
    assert unlearned(model, BATCH) == []
    one = make_batch(index=(0,))
    with pytest.raises(ValueError, match=r"at least two of them in training, got 1\. Take larger batches, or norm="):
        model(one)
    assert model.eval()(one).logits.shape == (1, 1, 32, 32)


@pytest.mark.parametrize("image_tower", [SWIN, CLIP_IMAGE, TIMM], ids=lambda spec: spec["name"])
def test_a_sentence_of_another_image_does_not_matter_with_real_towers(image_tower):
    model = combine("none", "clip_neck", "sentence_kernel", image_tower=image_tower, text_tower=BERT, merge=None)
    model.eval()
    with torch.inference_mode():
        assert_same_masks(model)


def assert_same_masks(model):
    base = model(BATCH).logits
    for other in (longer(BATCH, 2), one_sentence_an_image(BATCH)):
        torch.testing.assert_close(model(other).logits, base, atol=1e-5, rtol=1e-4)
    assert ((model(with_another_word(BATCH)).logits - base).flatten(1).abs().amax(dim=1) > 1e-5).all()
