"""Names, parts by name, tokenisers, shipped weights."""

import pytest
import torch
from torch import nn
from transformers import SwinConfig, SwinModel

from ris_lib.data.tokenizers import WordTokenizer
from ris_lib.models import create_model, list_models, recipe, register
from ris_lib.objectives import OBJECTIVES, Segmentation


def test_list_models():
    assert "baseline_tiny" in list_models()
    assert list_models("*_tiny") == [name for name in list_models() if name.endswith("_tiny")]
    assert list_models("nothing*") == []


@pytest.mark.parametrize("name", list_models())
def test_a_recipe_knows_its_name(name):
    assert recipe(name).recipe == name


def test_an_unknown_model_names_the_nearest():
    with pytest.raises(ValueError, match="unknown model 'baselin_tiny'; did you mean 'baseline_tiny'"):
        create_model("baselin_tiny")


def test_a_name_is_taken_once():
    def baseline_tiny():
        return None

    with pytest.raises(ValueError, match="already"):
        register(baseline_tiny)


def test_the_tokenizer_of_a_tiny_recipe_knows_the_scenes():
    model = create_model("baseline_tiny")
    assert model.tokenizer(["the left red car"]).unknown == [[]]
    assert model.encoder.text_tower.vocabulary_size == model.tokenizer.vocabulary_size


@pytest.mark.parametrize("as_config", [False, True])
def test_a_tokenizer_may_be_given(as_config):
    tokenizer = WordTokenizer(["cup", "red"], length=7)
    model = create_model("baseline_tiny", tokenizer=tokenizer.to_config() if as_config else tokenizer)
    assert model.tokenizer.to_config() == tokenizer.to_config() == model.config.tokenizer
    assert model.encoder.text_tower.embedding.num_embeddings == tokenizer.vocabulary_size
    assert len(model.encoder.text_tower.positions) == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder": "topdown"}, "unknown decoder 'topdown'; did you mean 'top_down'"),
        ({"head": "fixed_kernl"}, "unknown head 'fixed_kernl'; did you mean 'fixed_kernel'"),
        ({"image_tower": "tny"}, "unknown image tower 'tny'; did you mean 'tiny'"),
        ({"text_tower": "tny"}, "unknown text tower"),
        ({"fusion": [None, None, None, "lat"]}, "unknown fusion block 'lat'"),
        ({"objectives": ["segmentatoin"]}, "unknown objective 'segmentatoin'; did you mean 'segmentation'"),
        ({"head": {"classez": 2}}, "unknown option 'classez' of head 'fixed_kernel'; did you mean 'classes'"),
        ({"head": {"channels": 2}}, "unknown option 'channels' of head 'fixed_kernel'"),
        (
            {"objectives": {"segmentation": {"weights": {"dise": 1}}}},
            "unknown loss 'dise' of objective 'segmentation'; did",
        ),
        ({"merge": {"width": 3}}, "merge="),
        ({"tokenizer": {"kind": "wrds"}}, "wrds"),
    ],
)
def test_wrong_names_in_a_configuration_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        create_model("baseline_tiny", **change)


def test_a_merge_needs_a_detail_map(monkeypatch):
    from ris_lib.encoders import IMAGE_TOWERS, TinyImage

    class NoDetail(TinyImage):
        def __init__(self):
            super().__init__()
            self.detail_channels = None

    monkeypatch.setitem(IMAGE_TOWERS, "no_detail", NoDetail)
    with pytest.raises(ValueError, match="needs a detail map, and NoDetail has none"):
        create_model("baseline_tiny", image_tower="no_detail")
    assert create_model("baseline_tiny", image_tower="no_detail", merge=None).merge is None


def test_an_objective_needs_a_head_that_fills_what_it_reads(monkeypatch):
    class Needy(Segmentation):
        reads = frozenset({"query_logits", "centre"})

    monkeypatch.setitem(OBJECTIVES, "needy", Needy)
    with pytest.raises(ValueError, match="'needy' reads centre, query_logits, which head 'fixed_kernel' does not fill"):
        create_model("baseline_tiny", objectives=["needy"])


def test_weights_that_do_not_ship_are_asked_for_in_vain():
    with pytest.raises(ValueError, match="no weights ship with ris_lib for 'lavt_base'"):
        create_model("lavt_base", pretrained=True)


def test_no_objective_is_possible():
    model = create_model("baseline_tiny", objectives=[])
    assert isinstance(model.objectives, nn.ModuleDict)
    assert not model.weights


def test_encoders_start_from_published_weights_and_the_rest_is_fresh(tmp_path):
    sizes = {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 4), "window_size": 4}
    published = SwinModel(SwinConfig(**sizes), add_pooling_layer=False)
    published.save_pretrained(tmp_path / "swin")
    tower = {
        "embed_dim": 16,
        "depths": [1, 1, 1, 1],
        "heads": [1, 2, 2, 4],
        "window": 4,
        "start": str(tmp_path / "swin"),
    }
    changes = {"image_tower": {"name": "swin", **tower}, "merge": None}
    fresh = create_model("baseline_tiny", **changes)
    started = create_model("baseline_tiny", pretrained="encoders", **changes)
    theirs = published.embeddings.patch_embeddings.projection.weight
    assert started.training
    assert torch.equal(started.encoder.image_tower.embeddings.patch_embeddings.projection.weight, theirs)
    assert not torch.equal(fresh.encoder.image_tower.embeddings.patch_embeddings.projection.weight, theirs)


def test_without_named_encoders_there_is_nothing_to_start_from():
    with pytest.raises(ValueError, match="TinyImage and TinyText name no published weights to start from"):
        create_model("baseline_tiny", pretrained="encoders", image_tower={"start": None}, text_tower={"start": None})


def test_an_option_of_the_wrong_kind_names_its_part():
    with pytest.raises(ValueError, match=r"decoder 'light' with .*'width': '64'"):
        create_model("baseline_tiny", decoder={"name": "light", "width": "64"})
