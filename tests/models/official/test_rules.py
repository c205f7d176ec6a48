"""Rules that rename weights: nothing unknown passes, and every rule can be read backwards."""

import json

import pytest
import torch

from ris_lib.models.official.rules import Rule, left_behind, listing, official_name, translate, under, unknown_names
from tests.models.official.small import system

RULES = [
    Rule(r"(?:module\.)?fuse\.(\d+)\.(weight|bias)", r"mix.\1.\2"),
    Rule(r"attn\.in_proj_(weight|bias)", (r"query.\1", r"key.\1", r"value.\1")),
    Rule(r"table", "rows", change=lambda value: value[1:]),
    Rule(r"fuse\..*", None, why="nobody reads it"),
]


def test_names_are_changed_split_and_left_behind():
    weights = {
        "module.fuse.3.bias": torch.tensor([1.0]),
        "attn.in_proj_bias": torch.arange(6.0),
        "table": torch.arange(3.0),
        "fuse.index": torch.zeros(1),
    }
    ours = {name: value.tolist() for name, value in translate(weights, RULES).items()}
    assert ours == {
        "mix.3.bias": [1.0],
        "query.bias": [0.0, 1.0],
        "key.bias": [2.0, 3.0],
        "value.bias": [4.0, 5.0],
        "rows": [1.0, 2.0],
    }
    assert left_behind(weights, RULES) == {"fuse.index": "nobody reads it"}
    assert unknown_names([*weights, "other"], RULES) == ["other"]


def test_unknown_names_are_listed_and_the_list_is_cut():
    with pytest.raises(ValueError, match=r"20 names of the checkpoint are not known \(w0, .*, w11, and 8 more\)"):
        translate({f"w{k}": torch.zeros(1) for k in range(20)}, RULES)
    assert listing([]) == "none"


def test_two_weights_for_one_name_are_refused():
    weights = {"fuse.3.bias": torch.zeros(1), "module.fuse.3.bias": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"1 of ours would be filled twice \(mix\.3\.bias\)"):
        translate(weights, RULES)


@pytest.mark.parametrize("name", ["table", "attn.in_proj_weight"])
def test_too_few_axes_are_refused(name):
    with pytest.raises(ValueError, match=rf"1 weights have too few axes \({name} \(\)\)"):
        translate({name: torch.tensor(1.0)}, RULES)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("mix.12.bias", "fuse.12.bias"),
        ("key.weight", "attn.in_proj_weight"),
        ("rows", "table"),
        ("strange", "strange"),
        ("part.key.bias", "part.key.bias"),
    ],
)
def test_the_way_back(ours, theirs):
    assert official_name(ours, RULES) == theirs


def test_the_way_back_goes_through_a_prefix_and_not_through_a_rule_that_comes_too_late():
    rules = [Rule(r"net\.a", None, why="first"), *under(r"net\.", "part.", [Rule("([ab])", r"\1")])]
    assert official_name("part.b", rules) == "net.b"
    assert official_name("part.a", rules) == "part.a"


@pytest.mark.parametrize(
    ("keys", "title"),
    [
        ("lavt", "LAVT"),
        ("cris_r50", "CRIS"),
        ("cris_r101", "CRIS"),
        ("magnet", "MagNet"),
        ("lgformer", "LGFormer"),
    ],
)
def test_every_released_name_comes_back(golden_folder, keys, title):
    listed = json.loads((golden_folder / f"keys_{keys}.json").read_text(encoding="utf-8"))["state_dicts"]
    rules = system(title).rules
    for part, entries in listed.items():
        for name, entry in entries.items():
            full = f"{part}.{name}" if part == "bert_model" else name
            ours = translate({full: torch.empty(entry["shape"], device="meta")}, rules)
            assert {official_name(key, rules) for key in ours} <= {full}
