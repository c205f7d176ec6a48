"""Configurations of any shape: a model no larger than its weights explain, the settings of a run, or a refusal."""

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import strategies as some

from ris_lib.data.tokenizers import tokenizer_from_config
from ris_lib.engine import Predictor, TrainConfig
from ris_lib.engine.run import load_run, read_run_config
from ris_lib.models import ReferringSegmenter, create_model
from tests.hostile.cases import CHANGES, DAMAGE, MEGABYTE, VALUES, attempt, damaged, fuzz, replaced

#: What loading a model of 2 MB may take, whatever its configuration says.
BOUND = 64 * MEGABYTE


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("configurations")


@pytest.fixture(scope="module")
def models(place) -> list[Path]:
    """Folders of small models, one without and one with objectives that learn; each loaded and asked once."""
    torch.manual_seed(0)
    folders = []
    for name in ("baseline_tiny", "eavl_tiny"):
        folders.append(place / name)
        create_model(name, preprocess={"size": [64, 64]}).save_pretrained(folders[-1], objectives=True)
        ask(ReferringSegmenter.from_pretrained(folders[-1]))
    return folders


def ask(model: ReferringSegmenter):
    return Predictor(model, "cpu")(np.zeros((20, 30, 3), dtype=np.uint8), ["the red ball"])


def load(folder: Path, data: bytes):
    """Load the model with another configuration, and ask it where it loads."""
    changed = folder.with_name("changed")
    shutil.rmtree(changed, ignore_errors=True)
    shutil.copytree(folder, changed)
    (changed / "config.json").write_bytes(data)
    model, message = attempt(lambda: load_run(changed), names=changed, bound=BOUND)
    if model is not None and max(model.config.preprocess["size"]) <= 128:
        attempt(lambda: ask(model), bound=BOUND)
    return model, message


def configuration(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_bytes())


@fuzz(25, which=some.integers(0, 1), changes=CHANGES)
def test_entries_of_any_kind(models, which, changes):
    load(models[which], json.dumps(replaced(configuration(models[which]), changes)).encode())


def numbers(value, path=()) -> list[tuple]:
    """Where the numbers of a configuration are."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [place for key, inner in entries for place in numbers(inner, (*path, key))]
    return [path] if isinstance(value, int | float) and not isinstance(value, bool) else found


HUGE = [0, -1, 1, 3, 7, 10**3, 10**5, 2 * 10**9, 2**31, 2**63, 10**30, 0.5, 1e308, float("nan"), float("inf"), True]


@fuzz(20, which=some.integers(0, 1), place=some.integers(0, 200), number=some.sampled_from(HUGE))
def test_numbers_of_any_size(models, which, place, number):
    values = configuration(models[which])
    places = numbers(values)
    *path, last = places[place % len(places)]
    inner = values
    for key in path:
        inner = inner[key]
    inner[last] = number
    load(models[which], json.dumps(values).encode())


PARTS = some.sampled_from(["image_tower", "text_tower", "decoder", "head", "merge"])
OPTIONS = some.sampled_from(
    [
        "width",
        "layers",
        "queries",
        "heads",
        "channels",
        "widths",
        "depths",
        "window",
        "length",
        "start",
        "model",
        "stem",
    ]
)


@fuzz(
    10,
    part=PARTS,
    option=OPTIONS,
    value=some.one_of(some.sampled_from(HUGE), some.lists(some.sampled_from(HUGE), max_size=5), VALUES),
)
def test_options_that_were_not_set(models, part, option, value):
    values = configuration(models[0])
    values[part] = {**(values[part] or {}), option: value}
    load(models[0], json.dumps(values).encode())


@fuzz(10, which=some.integers(0, 1), damage=DAMAGE)
def test_damaged_files(models, which, damage):
    load(models[which], damaged([(folder / "config.json").read_bytes() for folder in models], damage))


@pytest.mark.parametrize("depth", [500, 990, 100_000])
def test_nests_as_deep_as_they_like(models, depth):
    values = configuration(models[0]) | {"training": "@"}
    load(models[0], json.dumps(values).replace('"@"', '{"a":' * depth + "1" + "}" * depth).encode())


LARGE = {
    "wide": {"text_tower": {"width": 20_000}},
    "deep": {"text_tower": {"layers": [10**9, 0, 0, 0]}},
    "windows": {"image_tower": {"name": "swin", "window": 3000}},
    "long": {"tokenizer": {"length": 10**9}},
    "fine": {"preprocess": {"size": [10**6, 10**6]}},
    "objectives": {"objectives": {"mask_grounding": {"width": 10**6, "layers": 10}}},
}


@pytest.mark.parametrize("what", LARGE)
def test_a_configuration_never_asks_for_gigabytes(models, what):
    values = configuration(models[0])
    for part, options in LARGE[what].items():
        values[part] = options if "name" in options or part == "objectives" else {**values[part], **options}
    _, message = load(models[0], json.dumps(values).encode())
    assert message is not None


# Settings of a run.


@fuzz(10, changes=CHANGES)
def test_settings_of_a_run(place, changes):
    values = replaced(TrainConfig(out="runs/a", model="baseline_tiny", steps=20).to_dict(), changes)
    read_run(place, json.dumps(values).encode())


@fuzz(5, damage=DAMAGE)
def test_damaged_settings(place, damage):
    read_run(place, damaged([json.dumps(TrainConfig(out="runs/a", model="lavt_tiny").to_dict()).encode()], damage))


def read_run(place: Path, data: bytes) -> None:
    (place / "config.json").write_bytes(data)
    attempt(lambda: read_run_config(place), names="config.json", bound=BOUND)


# Vocabularies.


@fuzz(5, vocabulary=VALUES, length=VALUES, kind=some.sampled_from(["words", "wordpiece", "clip", "", None, [], {}]))
def test_tokenizers_of_any_settings(vocabulary, length, kind):
    settings = {"kind": kind, "vocabulary": vocabulary, "length": length}
    attempt(lambda: tokenizer_from_config(settings), bound=BOUND)
    attempt(lambda: tokenizer_from_config({"kind": kind, "length": copy.copy(length)}), bound=BOUND)
