"""The weights that ship with the package: where they are, whether they are whole, and what they scored.

::

    ris_lib/weights/checksums.json             SHA-256 of every file
    ris_lib/weights/lavt_tiny/config.json      the model
    ris_lib/weights/lavt_tiny/model.safetensors    its weights, 16-bit
    ris_lib/weights/lavt_tiny/scores.json      how it was trained, what it scores
    ris_lib/weights/lavt_tiny/README.md        the same for people

``python -m studies.weights`` makes them.
"""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

CHECKSUMS, SCORES, CARD = "checksums.json", "scores.json", "README.md"


def weights_folder() -> Path:
    """The folder of everything that ships.

    Example:
        >>> weights_folder().name
        'weights'
    """
    return Path(str(files("ris_lib"))) / "weights"


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def checksums(folder: Path) -> dict[str, str]:
    """The checksums of all files below a folder of weights, by their path in it; its own table left out."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / CHECKSUMS)
    return {path.relative_to(folder).as_posix(): checksum(path) for path in found}


def shipped_models() -> list[str]:
    """Names of the models whose weights ship, sorted.

    Example:
        >>> all(name.endswith("_tiny") for name in shipped_models())
        True
    """
    return sorted(path.parent.name for path in weights_folder().glob(f"*/{SCORES}"))


def shipped_model(name: str) -> Path:
    """The folder of a model's weights, after a look at their checksums.

    Args:
        name: A name of ``shipped_models()``.

    Raises:
        ValueError: No weights ship for this model, or a file is not the one that was shipped.

    Example:
        >>> shipped_model("lavt_base")
        Traceback (most recent call last):
            ...
        ValueError: no weights ship with ris_lib for 'lavt_base'; ...
    """
    folder = weights_folder() / name
    if name not in shipped_models():
        raise ValueError(
            f"no weights ship with ris_lib for {name!r}; train it (`ris train --model {name}`) or give a folder or hub "
            "repository: pretrained='FOLDER'."
        )
    table = json.loads((weights_folder() / CHECKSUMS).read_text(encoding="utf-8"))
    for entry, expected in table.items():
        path = weights_folder() / entry
        if path.parent == folder and not (path.is_file() and checksum(path) == expected):
            raise ValueError(
                f"{path} is missing or not the file that was shipped (its SHA-256 is not {expected[:12]}...); install "
                "ris_lib again."
            )
    return folder


def shipped_scores(name: str) -> dict[str, Any]:
    """How a shipped model was trained, and what its stored weights score.

    Args:
        name: A name of ``shipped_models()``.

    Returns:
        ``training`` (settings, machine, samples, seconds, curve), ``results`` by split, ``quick`` (the first pictures
        of ``test``) and ``shuffled`` (sentences of other pictures), each as ``EvalResult.to_json`` writes it.

    Raises:
        ValueError: As for ``shipped_model``.

    Example:
        >>> shipped_scores("lavt_base")
        Traceback (most recent call last):
            ...
        ValueError: no weights ship with ris_lib for 'lavt_base'; ...
    """
    return json.loads((shipped_model(name) / SCORES).read_text(encoding="utf-8"))
