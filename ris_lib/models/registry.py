"""The recipes by name, and ``create_model``, which turns a name into a model."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ris_lib._names import unknown
from ris_lib.models import pretrained as files_of
from ris_lib.models.build import build
from ris_lib.models.config import ModelConfig
from ris_lib.models.segmenter import ReferringSegmenter
from ris_lib.models.shipped import shipped_model

#: What ``create_model`` takes as ``pretrained`` for published encoders in an otherwise fresh model.
ENCODERS = "encoders"

#: The functions by name; a recipe enters itself with ``register``.
RECIPES: dict[str, Callable[[], ModelConfig]] = {}


def register(function: Callable[[], ModelConfig]) -> Callable[[], ModelConfig]:
    """Enter a recipe under the name of its function.

    Args:
        function: Takes nothing and returns a configuration whose ``recipe`` is the function's name.

    Raises:
        ValueError: There is a recipe of that name already.
    """
    if function.__name__ in RECIPES:
        raise ValueError(f"there is a recipe {function.__name__!r} already; choose another name for the function.")
    RECIPES[function.__name__] = function
    return function


def list_models(pattern: str | None = None) -> list[str]:
    """The names that ``create_model`` takes, sorted.

    Args:
        pattern: A shell pattern such as ``"*_tiny"``; None = all.

    Example:
        >>> list_models("baseline*")
        ['baseline_tiny']
    """
    return sorted(RECIPES) if pattern is None else sorted(fnmatch.filter(RECIPES, pattern))


def recipe(name: str) -> ModelConfig:
    """The configuration of a recipe.

    Raises:
        ValueError: There is no recipe of that name; the nearest names are listed.
    """
    if name not in RECIPES:
        raise unknown("model", name, RECIPES)
    return RECIPES[name]()


def create_model(
    name: str, pretrained: bool | str | Path = False, tokenizer: Any = None, **overrides: Any
) -> ReferringSegmenter:
    """Make a model by name.

    Args:
        name: A name of ``list_models()``.
        pretrained: False for fresh weights; ``"encoders"`` for those from which training usually begins: the encoders
            have the published weights that the recipe names, everything else is fresh (both: training mode). True for
            the weights that ship with this package; a folder or a hub repository for others; ``"official:refcoco"`` for
            those that the model's authors published, by the data that they trained on (these three: evaluation mode).
            The latter are fetched, checked, converted and kept, see ``ris_lib.models.official.published``.
        tokenizer: A tokeniser of ``ris_lib.data.tokenizers``, or its ``to_config()``; None = the recipe's.
        overrides: Changed entries of the configuration, as in ``ModelConfig.override``.

    Raises:
        ValueError: Unknown name or entry (the nearest are listed); no weights ship for this model, or its authors
            published none; the weights belong to another model, or do not fit the changed configuration; the recipe
            names no encoders' weights, or they were made with another tokeniser.
        FileNotFoundError: The folder holds no model; a published file could not be fetched.

    Example:
        >>> model = create_model("baseline_tiny", head={"classes": 2})
        >>> model.head.kernel.out_channels
        2
    """
    config = recipe(name)
    if tokenizer is not None:
        overrides["tokenizer"] = tokenizer if isinstance(tokenizer, dict) else tokenizer.to_config()
    if pretrained is False or pretrained == ENCODERS:
        changed = config.override(**overrides)
        starts = pretrained == ENCODERS and changed.text_tower.get("start")
        if starts and {**changed.tokenizer, "length": 0} != {**config.tokenizer, "length": 0}:
            raise ValueError(
                f"{name}: the text encoder's weights know words by the numbers of the recipe's tokeniser; with another "
                "one, start from random weights (pretrained=False)."
            )
        model = build(changed)
        if pretrained == ENCODERS:
            model.encoder.load_start()
        return model
    folder = shipped_model(name) if pretrained is True else _find(name, pretrained)
    config = files_of.read_config(folder)
    if config.recipe != name:
        raise ValueError(
            f"{folder} holds a model of recipe {config.recipe!r}, not {name!r}; ask for create_model("
            f"{config.recipe!r}, pretrained=...)."
        )
    return files_of.load(folder, config.override(**overrides) if overrides else None)


def _find(name: str, pretrained: str | Path) -> Path:
    """The folder of weights that are named by ``official:`` and their data, by a folder, or by a hub repository."""
    from ris_lib.models.official.published import PREFIX, fetch_published  # their recipes are looked up here

    if isinstance(pretrained, str) and pretrained.startswith(PREFIX):
        return fetch_published(name, pretrained.removeprefix(PREFIX))
    return files_of.find(pretrained)
