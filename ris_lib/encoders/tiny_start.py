"""The weights that the tiny towers start from: trained once on the drawn scenes, without a single mask, and shipped.

They play the part that ImageNet, CLIP and BERT play in the papers. ``studies/encoders.py`` made them and says how;
``REPORT`` in their folder says what they know.

Source: our decision, because nothing that is published fits towers of this size.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ris_lib.encoders.starting_weights import check_fit

#: The name by which a recipe asks for them, and of their folder in ``ris_lib/weights``.
SHIPPED = "tiny_encoders"
#: The files of such a folder.
IMAGE, TEXT, REPORT = "image.safetensors", "text.safetensors", "encoders.json"


def shipped_folder() -> Path:
    """The folder that ships with the package.

    Example:
        >>> shipped_folder().name
        'tiny_encoders'
    """
    return Path(str(files("ris_lib"))) / "weights" / SHIPPED


def load_tiny(tower: nn.Module, start: str | None, name: str) -> None:
    """Fill a tiny tower with starting weights.

    Args:
        tower: The tower; layers of a text tower may be grouped in any way.
        start: ``SHIPPED``, or a folder with files of the same names.
        name: ``IMAGE`` or ``TEXT``.

    Raises:
        ValueError: No start was named, the file is damaged, or its weights have other sizes.
        FileNotFoundError: There is no such file.

    Example:
        >>> load_tiny(nn.Linear(1, 1), None, IMAGE)
        Traceback (most recent call last):
            ...
        ValueError: Linear: no starting weights were named; build it with start='tiny_encoders'.
    """
    kind = type(tower).__name__
    if start is None:
        raise ValueError(f"{kind}: no starting weights were named; build it with start={SHIPPED!r}.")
    path = (shipped_folder() if start == SHIPPED else Path(start)) / name
    if not path.is_file():
        raise FileNotFoundError(f"{kind}: no file {path} with starting weights; start={SHIPPED!r} needs none.")
    try:
        stored = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({error}); fetch or make it again.") from error
    own = flat_names(tower)
    weights = {own.get(name, name): weight.float() for name, weight in stored.items()}
    check_fit(tower, weights, start)
    tower.load_state_dict(weights)


def flat_names(tower: nn.Module) -> dict[str, str]:
    """Names of a tower's weights by the name in the file, where layers are counted through all groups.

    Example:
        >>> from ris_lib.encoders.tiny_text import TinyText
        >>> names = flat_names(TinyText(5, None, width=8, layers=(1, 1, 0, 0), heads=2))
        >>> names["layers.1.attention_norm.weight"]
        'layers.1.0.attention_norm.weight'
    """
    groups = [len(group) for group in getattr(tower, "layers", ())]
    found = {}
    for name in tower.state_dict():
        first, *rest = name.split(".")
        if first == "layers":
            group, layer = int(rest[0]), int(rest[1])
            found[".".join(["layers", str(sum(groups[:group]) + layer), *rest[2:]])] = name
        else:
            found[name] = name
    return found


def stored_weights(tower: nn.Module) -> dict[str, Tensor]:
    """The weights of a tiny tower as its file holds them: 16-bit numbers under the names of ``flat_names``."""
    state = tower.state_dict()
    return {stored: state[own].detach().half().contiguous() for stored, own in flat_names(tower).items()}
