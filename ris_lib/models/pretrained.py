"""A model on disk: ``config.json`` and ``model.safetensors``, and ``objectives.safetensors`` where training goes on.

Loading is strict. A key that is missing or left over means that the file belongs to another model, and half a model is
worse than none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ris_lib.models.config import ModelConfig

if TYPE_CHECKING:
    from ris_lib.models.segmenter import ReferringSegmenter

CONFIG, WEIGHTS, OBJECTIVES = "config.json", "model.safetensors", "objectives.safetensors"

#: How many keys an error lists.
LISTED = 8


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
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); save the model again.") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds a {type(values).__name__}; expected the entries of a model configuration.")
    return ModelConfig.from_dict(values)


def load(folder: Path, config: ModelConfig | None = None) -> ReferringSegmenter:
    """Build the model of a folder and fill in its weights; it comes in evaluation mode.

    Args:
        folder: What ``find`` returned.
        config: A changed configuration; None = the folder's.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged, or belongs to another model.
    """
    from ris_lib.models.build import build

    stored = read_config(folder)
    model = build(stored if config is None else config)
    weights = {key for key in model.state_dict() if not key.startswith("objectives.")}
    fill(model, read_weights(folder / WEIGHTS), weights, folder / WEIGHTS)
    if model.config.objectives == stored.objectives and (folder / OBJECTIVES).is_file():
        objectives = model.objectives
        fill(objectives, read_weights(folder / OBJECTIVES), set(objectives.state_dict()), folder / OBJECTIVES)
    return model.eval()


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
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error}); fetch or save it again.") from error


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
    state = module.state_dict()
    missing, left_over = sorted(expected - set(weights)), sorted(set(weights) - expected)
    shapes = [
        f"{key} {tuple(weights[key].shape)} for {tuple(state[key].shape)}"
        for key in sorted(expected & set(weights))
        if weights[key].shape != state[key].shape
    ]
    if missing or left_over or shapes:
        raise ValueError(
            f"{source} holds the weights of another model: {_listing('missing', missing)}; "
            f"{_listing('left over', left_over)}; {_listing('of another shape', shapes)}. Load it with the "
            "configuration that it was saved with."
        )
    module.load_state_dict(weights, strict=False)


def _listing(title: str, names: list[str]) -> str:
    shown = ", ".join(names[:LISTED]) + (f", and {len(names) - LISTED} more" if len(names) > LISTED else "")
    return f"{len(names)} {title}" + (f" ({shown})" if names else "")


def _plain(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Detached, contiguous tensors on the CPU, as safetensors wants them."""
    return {key: value.detach().cpu().contiguous() for key, value in weights.items()}
