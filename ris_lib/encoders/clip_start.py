"""The pretrained weights of CLIP's two towers, through open_clip's own loading code and cache.

A tower's ``start`` says where its weights come from: None (fresh), ``"openai"`` (the published weights, which open_clip
fetches once and keeps), or a safetensors file, or a folder with one, that holds a CLIP state dict under CLIP's own
names (``visual.conv1.weight``, ``transformer.resblocks.0.ln_1.weight``, ...).

Source: sizes and names of Radford et al. 2021 (CLIP), as open_clip's configurations have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from ris_lib._names import unknown


class ClipSizes(NamedTuple):
    """What differs between CLIP's ResNets.

    Args:
        layers: Bottlenecks of the four stages.
        embed_dim: Channels of the space in which images and sentences meet.
        repository: Where open_clip finds the published weights on the Hugging Face hub.
    """

    layers: tuple[int, int, int, int]
    embed_dim: int
    repository: str


#: The models by name. Both have 64 channels after the stem and a text tower of 12 layers, 512 channels and 8 heads.
CLIP_MODELS = {
    "RN50": ClipSizes((3, 4, 6, 3), 1024, "timm/resnet50_clip.openai"),
    "RN101": ClipSizes((3, 4, 23, 3), 512, "timm/resnet101_clip.openai"),
}

#: The file of those repositories, and the first that is looked for in a folder.
FILE_NAME = "open_clip_model.safetensors"


def clip_sizes(model: str) -> ClipSizes:
    """Look a model up.

    Raises:
        ValueError: There is no such model; the nearest names are listed.

    Example:
        >>> clip_sizes("RN101").layers
        (3, 4, 23, 3)
    """
    if model not in CLIP_MODELS:
        raise unknown("CLIP model", model, CLIP_MODELS)
    return CLIP_MODELS[model]


def clip_weights(model: str, start: str) -> dict[str, Tensor]:
    """The whole CLIP state dict, both towers, float32.

    Args:
        model: ``"RN50"`` or ``"RN101"``; only read for ``start="openai"``.
        start: ``"openai"``, or the path of a safetensors file or of a folder that holds one.

    Raises:
        FileNotFoundError: The file or folder is not there; or the published weights are neither in open_clip's cache
            nor can they be fetched. The message says which file goes where.
        ValueError: The folder holds several safetensors files, or the file is damaged.

    Example:
        >>> clip_weights("RN50", "no_such_folder/clip.safetensors")
        Traceback (most recent call last):
        ...
        FileNotFoundError: CLIP RN50: start='no_such_folder/clip.safetensors' is neither 'openai' nor a safetensors ...
    """
    return _published(model) if start == "openai" else _from_file(model, Path(start))


def load_clip(tower: nn.Module, weights: Mapping[str, Tensor], fresh: tuple[str, ...], part: str) -> None:
    """Put weights into a tower, and complain about all that does not fit.

    Args:
        tower: The module to fill.
        weights: By the tower's own names.
        fresh: Beginnings of names that CLIP does not have and that keep their fresh values.
        part: Name of the part, for the message.

    Raises:
        ValueError: Names are missing or left over, or shapes differ; they are listed.

    Example:
        >>> load_clip(nn.Linear(2, 1), {"weight": nn.Linear(3, 1).weight}, ("bias",), "Demo")
        Traceback (most recent call last):
        ...
        ValueError: Demo: ... weight (1, 3) for (1, 2)...
    """
    own = {name: value for name, value in tower.state_dict().items() if not name.endswith("num_batches_tracked")}
    weights = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
    missing = [name for name in own if name not in weights and not name.startswith(fresh)]
    left_over = [name for name in weights if name not in own]
    unequal = [
        f"{name} {tuple(value.shape)} for {tuple(own[name].shape)}"
        for name, value in weights.items()
        if name in own and value.shape != own[name].shape
    ]
    if missing or left_over or unequal:
        raise ValueError(
            f"{part}: the start weights belong to another model. Missing: {missing[:5] or 'none'}; left over: "
            f"{left_over[:5] or 'none'}; other shapes: {'; '.join(unequal[:5]) or 'none'}. Set model and sizes to "
            "those of the file."
        )
    tower.load_state_dict(weights, strict=False)


def _published(model: str) -> dict[str, Tensor]:
    """open_clip's copy of OpenAI's weights. Its "quickgelu" configurations are the ones that fit them."""
    import open_clip

    repository = clip_sizes(model).repository
    try:
        return open_clip.create_model(f"{model}-quickgelu", pretrained="openai").state_dict()
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"CLIP {model}: the published weights are not in the cache and could not be fetched ({error}). On a "
            f"machine with a network run: hf download {repository} {FILE_NAME}. Then copy the file here and name its "
            f"path in the options of both towers, {{'start': PATH}}; or copy the folder "
            f"models--{repository.replace('/', '--')} into this machine's Hugging Face cache (HF_HUB_CACHE, usually "
            "~/.cache/huggingface/hub). A training run that starts from random weights needs none of this: ris train "
            "--start fresh."
        ) from error


def _from_file(model: str, path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.is_dir():
        found = sorted(path.glob("*.safetensors"))
        named = [file for file in found if file.name == FILE_NAME]
        if len(found) > 1 and not named:
            raise ValueError(
                f"CLIP {model}: {path} holds {len(found)} safetensors files; give the path of the one that is meant."
            )
        path = (named or found or [path / FILE_NAME])[0]
    if not path.is_file():
        raise FileNotFoundError(
            f"CLIP {model}: start={str(path)!r} is neither 'openai' nor a safetensors file that exists. Give the path "
            f"of a CLIP state dict saved as safetensors, for example {FILE_NAME} of {clip_sizes(model).repository}."
        )
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"CLIP {model}: {path} cannot be read as safetensors ({error}); copy it again.") from error
    return {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
