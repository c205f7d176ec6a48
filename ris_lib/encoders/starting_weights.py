"""Published weights that an encoder may start from: where they come from, and what is said where they cannot be had.

A constructor never fetches anything: it is also used to load a trained model, which brings its own weights. The name of
the starting weights is kept as ``tower.start``, and ``tower.load_start()`` reads them, once, before training.

Source: our decision. The files are read by the libraries that publish them, from their cache; safetensors come first,
and a file of the older format is read with ``weights_only=True``, so that no file can run code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

#: How many weights an error lists before it stops.
LISTED = 4


def read_pretrained(model_class: type, start: str, tower: str, **options: Any) -> Any:
    """A whole model of the library ``transformers``, with its published weights.

    Args:
        model_class: A class with ``from_pretrained``, such as ``transformers.BertModel``.
        start: Name on the Hugging Face hub, or a folder with ``config.json`` and ``model.safetensors``.
        tower: Name of the part that asks, for the messages.
        options: Further arguments of the model's constructor.

    Raises:
        FileNotFoundError: The files are not on this machine and cannot be fetched.
        ValueError: They are there, but cannot be read, or lack weights of the model.

    Example:
        >>> read_pretrained(nn.Module, "no/such/folder", "BertText")
        Traceback (most recent call last):
            ...
        FileNotFoundError: BertText: no folder 'no/such/folder' ...
    """
    if len(Path(start).parts) > 2 and not Path(start).is_dir():  # a hub name has at most one slash
        raise FileNotFoundError(
            f"{tower}: no folder {start!r} with starting weights; give one that holds config.json and "
            "model.safetensors, or a name on the Hugging Face hub."
        )
    try:
        model, report = model_class.from_pretrained(start, weights_only=True, output_loading_info=True, **options)
    except OSError as error:
        raise not_here(tower, start, cause=str(error)) from error
    except Exception as error:  # whatever a damaged or foreign file does to its reader
        raise ValueError(f"{tower}: the starting weights {start!r} cannot be read: {error}") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ValueError(
            f"{tower}: the starting weights {start!r} lack {len(missing)} weights of a {model_class.__name__} "
            f"({_listing(missing)}); is it a model of another kind?"
        )
    return model


def check_fit(tower: nn.Module, weights: Mapping[str, Tensor], start: str) -> None:
    """Refuse starting weights that are not exactly the weights of a tower.

    Args:
        tower: The tower.
        weights: Tensors by the tower's own names.
        start: Name of the starting weights, for the message.

    Raises:
        ValueError: The tower has other weights or other sizes; names and shapes are listed.

    Example:
        >>> import torch
        >>> check_fit(nn.Linear(2, 1, bias=False), {"weight": torch.zeros(1, 3)}, "example")
        Traceback (most recent call last):
            ...
        ValueError: Linear: the starting weights 'example' do not fit ... (weight (1, 3) there, (1, 2) here). ...
    """
    own = tower.state_dict()
    shapes = [
        f"{name} {tuple(weights[name].shape)} there, {tuple(own[name].shape)} here"
        for name in own.keys() & weights.keys()
        if weights[name].shape != own[name].shape
    ]
    only = [f"{name} only there" for name in weights.keys() - own.keys()]
    only += [f"{name} only here" for name in own.keys() - weights.keys()]
    if shapes or only:
        raise ValueError(
            f"{type(tower).__name__}: the starting weights {start!r} do not fit the tower: {len(shapes)} have another "
            f"shape, {len(only)} are on one side only ({_listing(sorted(shapes) + sorted(only))}). Take the sizes that "
            "they were trained with, or other starting weights."
        )


def check_settings(theirs: Mapping[str, Any], ours: Mapping[str, Any], start: str, tower: str) -> None:
    """Refuse weights that were trained with settings that no shape shows, such as the number of heads.

    Args:
        theirs: Settings of the model that the weights come from.
        ours: Settings of the tower; only these names are compared.
        start: Name of the starting weights, for the message.
        tower: Name of the part that asks, for the message.

    Raises:
        ValueError: They differ.

    Example:
        >>> check_settings({"heads": 12}, {"heads": 8}, "bert", "BertText")
        Traceback (most recent call last):
            ...
        ValueError: BertText: the starting weights 'bert' were trained with heads=12; this tower has heads=8.
    """
    differ = [name for name in ours if _plain(theirs[name]) != _plain(ours[name])]
    if differ:
        there, here = (", ".join(f"{name}={side[name]}" for name in differ) for side in (theirs, ours))
        raise ValueError(f"{tower}: the starting weights {start!r} were trained with {there}; this tower has {here}.")


def not_here(tower: str, start: str, cause: str, hub_id: str | None = None) -> FileNotFoundError:
    """The error for weights that are not on this machine: it says which file goes where.

    Args:
        tower: Name of the part that asks.
        start: Name of the starting weights.
        cause: What the library said.
        hub_id: Name on the Hugging Face hub where it is not ``start``.

    Example:
        >>> print(not_here("BertText", "google-bert/bert-base-uncased", "no network"))  # doctest: +ELLIPSIS
        BertText: the starting weights 'google-bert/bert-base-uncased' are not here. ...
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    hub_id = hub_id or start
    return FileNotFoundError(
        f"{tower}: the starting weights {start!r} are not here. With a network, 'hf download {hub_id}' fetches "
        f"config.json and model.safetensors; without one, run it elsewhere and copy its folder "
        f"models--{hub_id.replace('/', '--')} into the cache folder {HF_HUB_CACHE} (HF_HOME moves it), or name a "
        f"folder that holds the two files in the tower's options, {{'start': FOLDER}}. A training run that starts from "
        "random weights needs none of this: ris train --start fresh. "
        f"(The cause: {cause.splitlines()[0] if cause else 'unknown'})"
    )


def _listing(entries: Sequence[str]) -> str:
    rest = f", and {len(entries) - LISTED} more" if len(entries) > LISTED else ""
    return ", ".join(entries[:LISTED]) + rest


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value
