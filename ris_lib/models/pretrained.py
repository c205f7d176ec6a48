"""A model on disk: ``config.json`` and ``model.safetensors``, and ``objectives.safetensors`` where training goes on.

Loading is strict. A key that is missing or left over means that the file belongs to another model, and half a model is
worse than none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from ris_lib._shown import listing, plain
from ris_lib.models.config import ModelConfig

if TYPE_CHECKING:
    from ris_lib.models.segmenter import ReferringSegmenter

CONFIG, WEIGHTS, OBJECTIVES = "config.json", "model.safetensors", "objectives.safetensors"

#: How many keys an error lists.
LISTED = 8

#: Parts of a model; those of the papers' sizes have up to 1402.
MOST_MODULES = 10_000

#: Numbers that a model may hold beside twice those of its weights: what only objectives need (400 MB).
SPARE = 100_000_000


def save(model: ReferringSegmenter, folder: Path) -> None:
    """Write configuration and weights; what only objectives need is left out."""
    (folder / CONFIG).write_text(json.dumps(model.config.to_dict(), indent=2) + "\n", encoding="utf-8")
    weights = {key: value for key, value in model.state_dict().items() if not key.startswith("objectives.")}
    save_file(_plain(weights), folder / WEIGHTS, metadata={"format": "pt"})


def save_objectives(model: ReferringSegmenter, folder: Path) -> None:
    """Write the weights of the objectives."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_plain(model.objectives.state_dict()), folder / OBJECTIVES, metadata={"format": "pt"})


def find(source: str | Path, **hub: Any) -> Path:
    """The folder of a model: a folder as it is, a hub repository after its download.

    Args:
        source: A folder, or ``owner/name`` on the hub.
        hub: As in ``huggingface_hub.snapshot_download``.

    Raises:
        FileNotFoundError: It is neither.
    """
    if Path(source).is_dir():
        return Path(source)
    parts = str(source).split("/")
    if len(parts) != 2 or not all(parts) or Path(source).is_absolute() or parts[0] in (".", "..", "~"):
        raise FileNotFoundError(
            f"{source} is not a folder; expected a folder with {CONFIG} and {WEIGHTS}, or owner/name on the Hugging "
            "Face hub."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(source), allow_patterns=[CONFIG, "*.safetensors"], **hub))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"{source} is neither a folder here nor a model that could be fetched from the Hugging Face hub "
            f"({type(error).__name__}). Check the name and the network."
        ) from error


def read_config(folder: Path) -> ModelConfig:
    """The configuration of the model in a folder.

    Raises:
        FileNotFoundError: There is no ``config.json``.
        ValueError: It is not JSON, or not a configuration of this library.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected a folder that model.save_pretrained wrote.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({plain(error)}); save the model again.") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds a {type(values).__name__}; expected the entries of a model configuration.")
    try:
        return ModelConfig.from_dict(values)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {plain(error, 1000)}") from error


def load(folder: Path, config: ModelConfig | None = None) -> ReferringSegmenter:
    """Build the model of a folder and fill in its weights; it comes in evaluation mode.

    Args:
        folder: What ``find`` returned.
        config: A changed configuration; None = the folder's.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged, or belongs to another model.
    """
    stored = read_config(folder)
    weights = read_weights(folder / WEIGHTS)
    model = _build(stored if config is None else config, weights, folder)
    fill(model, weights, _expected(model), folder / WEIGHTS)
    if model.config.objectives == stored.objectives and (folder / OBJECTIVES).is_file():
        objectives = model.objectives
        fill(objectives, read_weights(folder / OBJECTIVES), set(objectives.state_dict()), folder / OBJECTIVES)
    return model.eval()


def _build(config: ModelConfig, weights: dict[str, Tensor], folder: Path) -> ReferringSegmenter:
    """The model of a configuration, after a look at its size: a hostile ``config.json`` can describe one of any.

    It is built once without memory, on torch's device ``meta``, and made only where the weights fit.
    """
    with at_most_modules(MOST_MODULES), torch.device("meta"):
        outline = _described(config, folder)
    check_fit(outline, weights, _expected(outline), folder / WEIGHTS)
    room = sum(value.numel() for value in (*outline.parameters(), *outline.buffers()))
    if room > (limit := 2 * sum(value.numel() for value in weights.values()) + SPARE):
        raise ValueError(
            f"{folder / CONFIG} describes a model of {room:,} numbers, but {WEIGHTS} explains at most {limit:,}; save "
            "the model again."
        )
    return _described(config, folder)


def _described(config: ModelConfig, folder: Path) -> ReferringSegmenter:
    """What ``build`` makes, or one error for whatever a wrong option leads to deep inside a part."""
    from ris_lib.models.build import build

    try:
        model = build(config)
        model.collator()
    except Exception as error:
        raise ValueError(f"{folder / CONFIG}: no model can be built of it ({plain(error, 1000)})") from error
    return model


def _expected(model: ReferringSegmenter) -> set[str]:
    """The keys that a file of weights holds: what only objectives need is left out."""
    return {key for key in model.state_dict() if not key.startswith("objectives.")}


@contextmanager
def at_most_modules(most: int) -> Iterator[None]:
    """Refuse a model of more parts while it is built: a configuration can ask for a billion layers.

    Raises:
        ValueError: It has more.
    """
    left = most

    def count(*registered: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"it has over {most:,} parts")

    handle = register_module_module_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected a folder that model.save_pretrained wrote.")
    try:
        return load_file(path)
    except (SafetensorError, KeyError, AttributeError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(
            f"{path} is damaged or no safetensors file ({plain(error)}); fetch or save it again."
        ) from error


def fill(module: nn.Module, weights: dict[str, Tensor], expected: set[str], source: object) -> None:
    """Copy weights into a module, all of the expected keys and no other.

    Args:
        module: Where to.
        weights: What came.
        expected: Keys of the module's state that must come.
        source: Where the weights are from, for the message.

    Raises:
        ValueError: Keys are missing or left over, or a tensor has another shape; both lists are given, cut after
            ``LISTED``.
    """
    check_fit(module, weights, expected, source)
    module.load_state_dict(weights, strict=False)


def check_fit(module: nn.Module, weights: dict[str, Tensor], expected: set[str], source: object) -> None:
    """Refuse weights that ``fill`` could not copy; arguments and errors are the same.

    Raises:
        ValueError: As for ``fill``.
    """
    state = module.state_dict()
    missing, left_over = sorted(expected - set(weights)), sorted(set(weights) - expected)
    shapes = [
        f"{key} {plain(tuple(weights[key].shape), 60)} for {tuple(state[key].shape)}"
        for key in sorted(expected & set(weights))
        if weights[key].shape != state[key].shape
    ]
    if missing or left_over or shapes:
        raise ValueError(
            f"{source} holds the weights of another model: {_listing('missing', missing)}; "
            f"{_listing('left over', left_over)}; {_listing('of another shape', shapes)}. Load it with the "
            "configuration that it was saved with."
        )


def _listing(title: str, names: list[str]) -> str:
    return f"{len(names)} {title}" + (f" ({listing(names, LISTED)})" if names else "")


def _plain(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Detached, contiguous tensors on the CPU, as safetensors wants them."""
    return {key: value.detach().cpu().contiguous() for key, value in weights.items()}
