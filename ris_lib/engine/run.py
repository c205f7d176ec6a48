"""The folder of a training run, and the model that comes out of it.

::

    config.json       settings of the run
    environment.json  versions and machine, one entry for each start
    metrics.csv       one line for each step
    tensorboard/      the same as curves
    checkpoints/      the last two, to go on from
    model/            the trained model; it appears when the run is complete
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ris_lib.data.cache import atomic_write, check_new_folder
from ris_lib.engine.checkpoint import checkpoint_step, latest_checkpoint
from ris_lib.engine.config import TrainConfig
from ris_lib.models import ReferringSegmenter

CONFIG, ENVIRONMENT, METRICS = "config.json", "environment.json", "metrics.csv"
TENSORBOARD, CHECKPOINTS, MODEL = "tensorboard", "checkpoints", "model"

logger = logging.getLogger(__name__)


def load_run(folder: str | Path) -> ReferringSegmenter:
    """The model of a run, in evaluation mode.

    Args:
        folder: A run; where it is not complete, its last checkpoint is taken and a warning is logged. A folder that
            ``save_pretrained`` wrote is taken too.

    Raises:
        FileNotFoundError: There is no such folder, it holds no run, or the run has no checkpoint yet.
        ValueError: A file is damaged or belongs to another model.

    Example:
        >>> model = load_run("runs/first")  # doctest: +SKIP
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; expected a run that `ris train --out {folder}` made.")
    if (folder / MODEL).is_dir():
        return ReferringSegmenter.from_pretrained(folder / MODEL)
    if (folder / "model.safetensors").is_file():
        return ReferringSegmenter.from_pretrained(folder)
    if not is_run(folder):
        raise FileNotFoundError(
            f"{folder} holds no run: {CONFIG} or {CHECKPOINTS} is missing. Expected a folder that `ris train` made."
        )
    checkpoint = latest_checkpoint(folder / CHECKPOINTS)
    if checkpoint is None:
        raise FileNotFoundError(
            f"the run in {folder} has no checkpoint yet; continue it with: ris train --out {folder} --resume"
        )
    logger.warning("the run in %s is not complete; its model is that of step %d", folder, checkpoint_step(checkpoint))
    return ReferringSegmenter.from_pretrained(checkpoint)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run, complete or not."""
    return (folder / CONFIG).is_file() and (folder / CHECKPOINTS).is_dir()


def is_complete(folder: Path) -> bool:
    """Whether a folder is a run that has come to its end."""
    return is_run(folder) and (folder / MODEL).is_dir()


def create_run(config: TrainConfig) -> None:
    """Make the folder of a new run; it appears with its settings in it.

    Args:
        config: Settings, as they will be saved.
    """
    with atomic_write(config.out) as partial:
        partial.mkdir()
        (partial / CHECKPOINTS).mkdir()
        write_json(partial / CONFIG, config.to_dict() | {"resume": False})


def check_free(folder: Path) -> None:
    """Refuse a folder that holds something already.

    Raises:
        ValueError: It exists and is not empty, or cannot be made; the message says what can be done.
    """
    if is_complete(folder):
        raise ValueError(f"{folder} holds a complete run; choose another folder, or delete it first.")
    if is_run(folder):
        raise ValueError(
            f"{folder} holds a run that is not complete; continue it with: ris train --out {folder} --resume. "
            "Or choose another folder."
        )
    check_new_folder(folder)


def read_run_config(folder: Path) -> TrainConfig:
    """The settings of a run.

    Raises:
        FileNotFoundError: The folder holds no run.
        ValueError: The file is damaged.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; expected the folder of a run.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"it holds a {type(values).__name__}")
        return TrainConfig.from_dict(values | {"out": folder})
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} does not hold the settings of a run ({error}). Start another run in another folder."
        ) from error


def add_environment(folder: Path, step: int, environment: Mapping[str, Any]) -> None:
    """Note with what a run is started, or continued, at a step.

    Raises:
        ValueError: The file that is there is damaged.
    """
    path = folder / ENVIRONMENT
    starts = _starts(path) if path.is_file() else []
    write_json(path, [*starts, {"from_step": step, **environment}])


def skipped_pictures(folder: Path) -> list[str] | None:
    """Files of the pictures that a run left out when it began, of all its splits; None where it has not begun."""
    path = folder / ENVIRONMENT
    return _starts(path)[0].get("skipped", []) if path.is_file() else None


def _starts(path: Path) -> list[dict[str, Any]]:
    try:
        starts = json.loads(path.read_text(encoding="utf-8"))
        if not (isinstance(starts, list) and starts and all(isinstance(start, dict) for start in starts)):
            raise ValueError("it holds something else than starts")
        return starts
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}); delete it to go on: nothing is computed from it but which pictures are "
            "left out, and those are looked for again."
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON that people can read, whole or not at all."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
