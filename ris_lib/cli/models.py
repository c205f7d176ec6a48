"""``ris models``."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from rich.table import Table
from tyro.conf import Positional

from ris_lib.cli.output import JsonFile, check_json, make_table, report
from ris_lib.engine.counting import build_shapes, count_parameters
from ris_lib.models import ReferringSegmenter, list_models
from ris_lib.models.registry import RECIPES
from ris_lib.models.shipped import shipped_models, shipped_scores


def models(pattern: Positional[str] = "*", json: JsonFile = None) -> None:
    """List the models: sizes, parts, what is published of them and what is ours, and what shipped weights score.

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
    described = [{**describe(build_shapes(name)), **origin(name)} for name in names]
    rows = [
        [
            model["name"],
            "\n".join(f"{part}: {named}" for part, named in model["parts"].items()),
            f"{model['parameters'] / 1e6:.2f} M",
            " x ".join(map(str, model["input_size"])),
        ]
        for model in described
    ]
    tables = [make_table("models", ["name", "parts", "parameters", "input"], rows, text=2)]
    origins: dict[str, list[str]] = {}
    for model in described:
        origins.setdefault(model["origin"], []).append(f"{model['name']}: {model['what']}")
    rows = [["\n".join(names), text] for text, names in origins.items()]
    tables.append(make_table("what is published and what is ours", ["models", "origin"], rows, text=2))
    for model in described:
        model["shipped"] = shipped_scores(model["name"]) if model["name"] in shipped_models() else None
    tables += [_weights_table([model for model in described if model["shipped"]])]
    report([table for table in tables if table.row_count], described, json)


def _weights_table(described: list[dict[str, Any]]) -> Table:
    """The models whose weights ship: what they score, and what that cost."""
    rows, rules = [], set()
    for model in described:
        training, test = model["shipped"]["training"], model["shipped"]["results"]["test"]
        low, high = test["intervals"]["miou"]
        rules.add(f"{training['config']['data']} test, protocol {test['protocol']}, seed {training['config']['seed']}")
        rows.append(
            [
                model["name"],
                f"{model['parameters'] / 1e6:.2f} M",
                f"{test['miou']:.3f} [{low:.3f}, {high:.3f}]",
                f"{test['prec']['0.5']:.3f}",
                f"{training['samples']['pictures']:,}",
                f"{training['training_seconds'] / 60:.0f} min",
                f"{training['environment']['device']}, {training['environment']['threads']} thread(s)",
            ]
        )
    columns = ["name", "parameters", "mIoU [95 %]", "Prec@0.5", "pictures", "training", "device"]
    return make_table(f"weights that ship: {'; '.join(sorted(rules))}", columns, rows)


def describe(model: ReferringSegmenter) -> dict[str, Any]:
    """Name, parameters, input size and parts of a model, as JSON can hold them. Parameters of objectives are counted
    apart: a trained model needs none of them.

    Args:
        model: Also one on the device ``meta``: only shapes are read.

    Example:
        >>> describe(build_shapes("baseline_tiny"))["parts"]["text"]
        'tiny, 2+0+0+0 layers'
    """
    config = model.config
    parameters, of_objectives = count_parameters(model)
    return {
        "name": config.recipe,
        "parameters": parameters,
        "parameters_of_objectives": of_objectives,
        "input_size": config.preprocess["size"],
        "parts": {
            "image": _tower(config.image_tower),
            "text": _tower(config.text_tower),
            "fusion": _fusion(config.fusion),
            "decoder": config.decoder["name"],
            "head": config.head["name"],
            "objectives": " + ".join(config.objectives),
        },
    }


def origin(name: str) -> dict[str, str]:
    """What a recipe is, and what is published of it, in the words of its own documentation.

    Args:
        name: A name of ``list_models()``.

    Returns:
        ``what``, the first sentence about the recipe; ``origin``, the paragraph about its system that tells published
        and ours apart, or "" where a recipe from elsewhere has none.

    Example:
        >>> origin("lavt_base")["what"]
        'LAVT as released: official checkpoints fit it.'
        >>> origin("lavt_base")["origin"][:31]
        'Published: Swin-B and BERT-base'
    """
    function = RECIPES[name]
    paragraphs = (inspect.getdoc(sys.modules[function.__module__]) or "").split("\n\n")
    told = next((text for text in paragraphs if "ours" in text.lower() or "our decision" in text), "")
    first = (inspect.getdoc(function) or "").split("\n\n")[0]
    return {"what": _one_line(first), "origin": _one_line(told)}


def _fusion(blocks: list[dict[str, Any] | None]) -> str:
    """The blocks of the four stages; once where they are all of one kind."""
    names = [block["name"] if block else "none" for block in blocks]
    return " / ".join(names) if len(set(names)) > 1 else names[0]


def _tower(spec: dict[str, Any]) -> str:
    """A tower's name, and what tells it from others of that name."""
    layers = spec.get("layers") or spec.get("depths")
    told = [str(spec["model"])] if "model" in spec else []
    told += [f"width {spec['embed_dim']}"] if "embed_dim" in spec else []
    told += [f"{'+'.join(map(str, layers))} layers"] if layers else []
    return ", ".join([spec["name"], *told])


def _one_line(text: str) -> str:
    return " ".join(text.replace("``", "").split())
