"""Checkpoints: a training run's state at one step, on disk whole or not at all.

A checkpoint is a folder ``step_00000200`` with the model as ``save_pretrained`` writes it (so it can be used as a
model), and ``state.pt``. It is written under another name, forced to the disk and renamed: whatever kills the process
or the machine, the folder of the highest step is complete.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from ris_lib._torch_files import check_torch_file
from ris_lib.data.cache import atomic_write
from ris_lib.models import ReferringSegmenter

STATE = "state.pt"

#: Version of the state: a change of what it holds or means changes it, and others are refused.
VERSION = 1

#: How many checkpoints stay.
KEEP = 2

_NAME = re.compile(r"step_(\d{8,})")


def save_checkpoint(folder: Path, step: int, model: ReferringSegmenter, state: dict[str, Any]) -> Path:
    """Write a checkpoint, then remove all but the last ``KEEP``.

    Args:
        folder: Folder of the checkpoints.
        step: Number of steps that were done.
        model: Its weights, configuration and objectives are saved.
        state: Tensors, numbers, strings, lists and dictionaries of such: what ``torch.load`` reads safely.

    Returns:
        The checkpoint's folder.

    Raises:
        DiskFullError: The disk is full; the checkpoints that were there stay.

    Example:
        >>> import tempfile
        >>> from ris_lib.models import create_model
        >>> folder = Path(tempfile.mkdtemp())
        >>> save_checkpoint(folder, 3, create_model("baseline_tiny"), {"note": "three"}).name
        'step_00000003'
        >>> load_state(latest_checkpoint(folder))
        {'note': 'three', 'step': 3, 'version': 1}
    """
    final = folder / f"step_{step:08d}"
    with atomic_write(final) as partial:
        model.save_pretrained(partial, objectives=True)
        with (partial / STATE).open("wb") as file:  # given a name only, torch hides why it could not write
            torch.save({**state, "step": step, "version": VERSION}, file)
        for path in (*partial.iterdir(), partial):
            _force_to_disk(path)
    _force_to_disk(folder)
    for old in _checkpoints(folder)[:-KEEP]:
        shutil.rmtree(old)
    return final


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the highest step, or None.

    Args:
        folder: Folder of the checkpoints; it need not exist.
    """
    return (_checkpoints(folder) or [None])[-1]


def checkpoint_step(checkpoint: Path) -> int:
    """The number of steps that were done at a checkpoint.

    Example:
        >>> checkpoint_step(Path("runs/a/checkpoints/step_00000200"))
        200
    """
    return int(checkpoint.name.removeprefix("step_"))


def load_checkpoint(checkpoint: Path, recipe: str) -> tuple[ReferringSegmenter, dict[str, Any]]:
    """The model of a checkpoint, in training mode, and its state.

    A damaged checkpoint is not passed over in silence: whoever deletes it, as the message says, goes on from the one
    before it and comes to the same weights. Our decision, because a file that went bad on the disk is worth knowing of.

    Args:
        checkpoint: Its folder.
        recipe: Name of the run's model.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged or was written by another version of this library, or the checkpoint is one of
            another model. Every message says how to go on.
    """
    state = load_state(checkpoint)
    try:
        model = ReferringSegmenter.from_pretrained(checkpoint)
    except (FileNotFoundError, ValueError) as error:
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
        raise kind(f"{error} To go on: {_way_out(checkpoint)}") from error
    if model.config.recipe != recipe:
        raise ValueError(
            f"{checkpoint} is a checkpoint of {model.config.recipe}, and the run trains {recipe}: it does not belong "
            f"there. To go on: {_way_out(checkpoint)}"
        )
    return model.train(), state


def load_state(checkpoint: Path) -> dict[str, Any]:
    """What was given to ``save_checkpoint`` as state, ``step`` and ``version``; tensors come to the CPU.

    Raises:
        FileNotFoundError: The checkpoint has no state.
        ValueError: The file is damaged, or was written by another version of this library.
    """
    path = checkpoint / STATE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing. To go on: {_way_out(checkpoint)}")
    try:
        check_torch_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not isinstance(state.get("step"), int):
            raise ValueError("this is not the state of a run")
    except Exception as error:  # torch, zipfile and the safe unpickler raise many kinds for damaged files
        raise ValueError(f"{path} is damaged ({type(error).__name__}). To go on: {_way_out(checkpoint)}") from error
    if (version := state.setdefault("version", VERSION)) != VERSION:
        raise ValueError(
            f"{path} is a state of version {version}; this library reads version {VERSION}. Finish the run with the "
            "library that began it (environment.json names it), or start a new one from its weights: ris train --start "
            f"{checkpoint} --model NAME --out FOLDER."
        )
    return state


def _way_out(checkpoint: Path) -> str:
    """What a person can do about a checkpoint that cannot be used."""
    others = [path.name for path in _checkpoints(checkpoint.parent) if path != checkpoint]
    return f"delete {checkpoint}; the run then continues from {others[-1] if others else 'its beginning'}."


def _checkpoints(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("step_*") if path.is_dir() and _NAME.fullmatch(path.name)]
    return sorted(found, key=checkpoint_step)


def _force_to_disk(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk and not only in the system's memory."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open a folder, and needs no such step
    number = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
