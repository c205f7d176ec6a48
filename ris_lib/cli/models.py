"""``ris models``."""

from __future__ import annotations

from typing import Any

from tyro.conf import Positional

from ris_lib.cli.output import JsonFile, check_json, make_table, report
from ris_lib.models import ReferringSegmenter, create_model, list_models


def models(pattern: Positional[str] = "*", json: JsonFile = None) -> None:
    """List the models with their sizes and parts.

    $ ris models
    $ ris models "baseline*" --json models.json

    Args:
        pattern: Names to list; * stands for any letters.
        json: File.
    """
    check_json(json)
    names = list_models(pattern)
    if not names:
        raise ValueError(f"no model fits {pattern!r}; there are: {', '.join(list_models())}.")
    described = [describe(create_model(name)) for name in names]
    rows = [
        [
            model["name"],
            ", ".join(f"{part} {named}" for part, named in model["parts"].items()),
            f"{model['parameters'] / 1e6:.2f} M",
            " x ".join(map(str, model["input_size"])),
        ]
        for model in described
    ]
    report([make_table("models", ["name", "parts", "parameters", "input"], rows, text=2)], described, json)


def describe(model: ReferringSegmenter) -> dict[str, Any]:
    """Name, parameters, input size and parts of a model, as JSON can hold them. Parameters of objectives are counted
    apart: a trained model needs none of them.
    """
    config = model.config
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    objectives = sum(size for name, size in sizes.items() if name.startswith("objectives."))
    return {
        "name": config.recipe,
        "parameters": sum(sizes.values()) - objectives,
        "parameters_of_objectives": objectives,
        "input_size": config.preprocess["size"],
        "parts": {
            "image": config.image_tower["name"],
            "text": config.text_tower["name"],
            "fusion": "/".join(block["name"] if block else "-" for block in config.fusion),
            "decoder": config.decoder["name"],
            "head": config.head["name"],
            "objectives": "+".join(config.objectives),
        },
    }
