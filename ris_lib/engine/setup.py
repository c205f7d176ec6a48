"""What stands before the first step: which run it is, its data, and a model for them.

All checks are made here, before a folder exists, so that a refused run leaves nothing behind.
"""

from __future__ import annotations

import json
import os
from dataclasses import fields, replace

import torch

from ris_lib.data import ReferringDataset, load_dataset
from ris_lib.data.screen import screen
from ris_lib.data.tokenizers import WordTokenizer
from ris_lib.engine.config import FREE_ON_RESUME, TrainConfig, decided
from ris_lib.engine.run import check_free, is_run, read_run_config, skipped_pictures
from ris_lib.engine.shuffle import same_sentence, shuffle_sentences
from ris_lib.models import ReferringSegmenter, create_model, list_models, recipe
from ris_lib.models.config import ModelConfig
from ris_lib.models.registry import ENCODERS

#: ``TrainConfig.start`` without any weights.
FRESH = "fresh"

#: Where ``accelerate launch`` leaves the number format that it was configured with.
_LAUNCHED_PRECISION = "ACCELERATE_MIXED_PRECISION"

#: Settings of a run that a recipe gives a value to.
_OF_RECIPE = ("steps", "images_per_step", "sentences_per_image", "learning_rate")


def settle(config: TrainConfig) -> TrainConfig:
    """The complete settings: those of the run that is continued, or the given ones with the recipe's values filled in.

    Args:
        config: What was asked for.

    Raises:
        ValueError: The folder is taken, the run that is there was started with other settings, or no model is named.
        FileNotFoundError: There is no run to continue.

    Example:
        >>> settle(TrainConfig(out="runs/none", model="baseline_tiny")).steps
        600
    """
    if config.resume and is_run(config.out):
        saved = read_run_config(config.out)
        config.check_same_run(saved)
        given = {f.name: getattr(config, f.name) for f in fields(config) if f.name in FREE_ON_RESUME}
        defaults = {f.name: f.default for f in fields(config)}
        return replace(saved, **{name: value for name, value in given.items() if value != defaults[name]})
    if config.model is None and config.resume:
        raise FileNotFoundError(f"there is no run in {config.out} to continue; name a model to start one there.")
    settled = asked_for(config)
    check_free(config.out)
    missing = {name: settled.training[name] for name in _OF_RECIPE if getattr(config, name) is None}
    if config.start is None:
        missing["start"] = ENCODERS if _names_start(settled) else FRESH
    if config.precision is None:
        missing["precision"] = os.environ.get(_LAUNCHED_PRECISION, "no")
    return replace(config, **missing)


def asked_for(config: TrainConfig) -> ModelConfig:
    """The configuration of the run's model: its recipe with the run's changes.

    Raises:
        ValueError: No model is named, or the changes do not fit it.
    """
    if config.model is None:
        raise ValueError(f"no model is named; choose one: {', '.join(list_models())}.")
    return recipe(config.model).override(**json.loads(config.changes or "{}"))


def _names_start(config: ModelConfig) -> bool:
    """Whether a configuration names published weights for an encoder."""
    return any(tower.get("start") for tower in (config.image_tower, config.text_tower))


def _knows_words(config: ModelConfig) -> bool:
    """Whether the text tower starts with whole words that it knows: those of the drawn scenes."""
    return config.tokenizer["kind"] == WordTokenizer.kind and bool(config.text_tower.get("start"))


def load_split(config: TrainConfig, split: str, limit: int | None = None) -> ReferringDataset:
    """A split of the run's data set, with the sentences of the control that the run asks for.

    Every picture is looked at: see ``ris_lib.data.screen``.

    Raises:
        ValueError: As for ``load_dataset``, or pictures are bad.
        FileNotFoundError: As for ``load_dataset``.
    """
    size = config.size or asked_for(config).preprocess["size"][0]
    dataset = load_dataset(
        config.data,
        split,
        root=config.root,
        split_by=config.split_by,
        size=size if config.data == "scenes" else None,
        limit=limit,
    )
    dataset = screen(dataset, config.skip_bad, skipped_pictures(config.out))
    if config.same_sentence is not None:
        dataset = same_sentence(dataset, config.same_sentence)
    return shuffle_sentences(dataset, config.seed) if config.shuffle_sentences else dataset


def new_model(config: TrainConfig, dataset: ReferringDataset) -> ReferringSegmenter:
    """The model that a run begins with. One whose text tower starts at random learns the training sentences' words.

    Its configuration says how it was trained.

    Args:
        config: Complete settings.
        dataset: The training data.

    Raises:
        ValueError: The model is not known, the settings do not fit it, or the weights to start with do not.
        FileNotFoundError: The weights to start with are not there.
    """
    base = asked_for(config)
    keeps_words = config.start == ENCODERS and _knows_words(base)
    if keeps_words and config.data != "scenes":
        raise ValueError(
            f"start={ENCODERS!r}: the text tower knows the words of the drawn scenes, not those of {config.data}; take "
            f"start={FRESH!r}, or a text tower without a start."
        )
    trained = config.start not in (None, FRESH, ENCODERS)
    changes: dict = json.loads(config.changes or "{}")
    changes["training"] = changes.get("training", {}) | {name: getattr(config, name) for name in _OF_RECIPE}
    if config.start == FRESH:  # a factor protects what was learnt before; what starts at random has to learn itself
        changes["training"].setdefault("rate_factors", {})
    if config.size is not None:
        changes["preprocess"] = changes.get("preprocess", {}) | {"size": [config.size, config.size]}
    reads_words = base.tokenizer["kind"] == WordTokenizer.kind
    if reads_words and not trained and not keeps_words and "tokenizer" not in changes:
        tokenizer = WordTokenizer.from_sentences(dataset.sentences(), base.tokenizer["length"])
        changes["tokenizer"] = tokenizer.to_config()
    torch.manual_seed(config.seed)
    pretrained = False if config.start is None or config.start == FRESH else config.start
    return create_model(decided(config.model, "model"), pretrained, **changes).train()
