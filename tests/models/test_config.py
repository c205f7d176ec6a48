"""Configurations: round trip, overrides, wrong names."""

import json

import pytest

from ris_lib.models import ModelConfig, recipe


@pytest.fixture
def config():
    return recipe("baseline_tiny")


def test_round_trip_through_json(config):
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_recipe_is_made_anew_each_time(config):
    config.training["steps"] = -1
    assert recipe("baseline_tiny").training["steps"] > 0


def test_unknown_and_missing_entries_are_refused(config):
    values = config.to_dict()
    with pytest.raises(ValueError, match=r"unknown entry.*'decodr'.*did you mean 'decoder'"):
        ModelConfig.from_dict({**values, "decodr": {}})
    del values["head"], values["decoder"]
    with pytest.raises(ValueError, match="lacks decoder, head"):
        ModelConfig.from_dict(values)


def test_options_of_a_part_are_merged(config):
    changed = config.override(head={"classes": 2}, training={"steps": 3}, merge={"channels": 8})
    assert changed.head == {"name": "fixed_kernel", "classes": 2}
    assert changed.training == {**config.training, "steps": 3}
    assert changed.merge == {"channels": 8}
    assert "classes" not in config.head


def test_another_part_comes_with_its_own_options(config):
    assert config.override(decoder="light").decoder == {"name": "light"}
    assert config.override(decoder={"name": "light", "depth": 1}).decoder == {"name": "light", "depth": 1}
    assert config.override(decoder="top_down").decoder == config.decoder


def test_fusion_by_name_by_options_by_list_or_none(config):
    late = config.fusion[3]
    assert config.override(fusion="none").fusion == config.override(fusion=None).fusion == [None] * 4
    assert config.override(fusion="late").fusion == config.fusion
    assert config.override(fusion="none").override(fusion="late").fusion == [None, None, None, {"name": "late"}]
    assert config.override(fusion={"layers": 0}).fusion == [None, None, None, {**late, "layers": 0}]
    assert config.override(fusion=["late", None, None, "late"]).fusion == [{"name": "late"}, None, None, late]
    with pytest.raises(ValueError, match="'lat'; did you mean 'late'"):
        config.override(fusion="lat")
    with pytest.raises(ValueError, match="fusion has 3 entries"):
        config.override(fusion=["late"] * 3)
    with pytest.raises(ValueError, match="fusion is 5; expected the name of a block"):
        config.override(fusion=5)
    with pytest.raises(ValueError, match="names no part"):
        config.override(fusion="none").override(fusion=[None, None, None, {"layers": 1}])


def test_objectives_by_name_or_with_weights(config):
    kept = config.objectives["segmentation"]
    changed = config.override(objectives=["segmentation", "other"])
    assert changed.objectives == {"segmentation": kept, "other": {}}
    assert config.override(objectives=[]).objectives == {}
    changed = config.override(objectives={"segmentation": {"grid": "logits"}})
    assert changed.objectives == {"segmentation": {**kept, "grid": "logits"}}
    with pytest.raises(ValueError, match=r"objectives\['segmentation'\] is 'none'; expected options, or None"):
        config.override(objectives={"segmentation": "none"})


def test_unknown_overrides_name_the_nearest(config):
    with pytest.raises(ValueError, match="'heads'; did you mean 'head'"):
        config.override(heads="fixed_kernel")
    with pytest.raises(ValueError, match="unknown entry to change 'recipe'"):
        config.override(recipe="mine")


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 1.5},
        {"upsample": {"mode": "cubic"}},
        {"upsample": {"of": "masks"}},
        {"upsample": {"antialias": 1}},
        {"upsample": {"align_corners": "no"}},
    ],
)
def test_values_out_of_range_are_refused(config, change):
    with pytest.raises(ValueError, match=next(iter(change))):
        config.override(**change)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("decoder", None),
        ("decoder", "top_down"),
        ("head", {"classes": 1}),
        ("fusion", "late"),
        ("fusion", [None, None, None, "late"]),
        ("threshold", "half"),
        ("preprocess", [96, 96]),
        ("preprocess", {}),
        ("objectives", {"segmentation": 1}),
        ("training", None),
        ("recipe", 5),
        ("merge", 16),
    ],
)
def test_entries_of_the_wrong_kind_are_refused(config, name, value):
    with pytest.raises(ValueError, match=name):
        ModelConfig.from_dict({**config.to_dict(), name: value})
