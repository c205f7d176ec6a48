"""``ris predict``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from PIL import Image
from tyro.conf import Positional

from ris_lib.cli.output import JsonFile, Threads, check_json, make_table, report, set_threads
from ris_lib.cli.source import Device, ModelName, RunFolder, load_model
from ris_lib.data import read_picture
from ris_lib.data.cache import atomic_files, check_place
from ris_lib.engine import Prediction, Predictor
from ris_lib.engine.run import write_json
from ris_lib.models.shipped import shipped_models
from ris_lib.show import overlay

_LONGEST_NAME = 40
_SUMMARY = "prediction.json"


def predict(
    photo: Positional[Path],
    sentences: Positional[tuple[str, ...]],
    run: RunFolder = None,
    model: ModelName = None,
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None,
    device: Device = "auto",
    threads: Threads = None,
    json: JsonFile = None,
) -> None:
    """Find what sentences mean in a picture.

    $ ris predict --run runs/a photo.jpg "left person" "the red car"

    For each sentence a mask (0 and 255) and an overlay are written, at the picture's size, and one prediction.json.

    Args:
        photo: The picture's file.
        sentences: One or several, each in quotes.
        run: Folder of a run.
        model: Name of a model.
        out: Folder for the files; by default predictions/ and the picture's name. Files of these names are replaced.
        device: Where to compute.
        threads: Threads.
        json: File.
    """
    check_json(json)
    set_threads(threads)
    folder = Path("predictions") / photo.stem if out is None else out
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {folder} is a file; name a folder.")
    check_place(folder / _SUMMARY)
    if not sentences:
        raise ValueError('no sentence given; say what to find, for example: ris predict --run runs/a photo.jpg "cup"')
    picture = read_picture(photo)
    segmenter = load_model(run, model)
    prediction = Predictor(segmenter, device)(picture, sentences)
    names = [file_name(k, sentence) for k, sentence in enumerate(sentences, start=1)]
    values = {
        "photo": photo.name,
        "height": picture.shape[0],
        "width": picture.shape[1],
        "model": segmenter.config.recipe,
        "run": None if run is None else run.as_posix(),
        "threshold": segmenter.config.threshold,
        "predictions": [_values(prediction, k, name) for k, name in enumerate(names)],
    }
    write_prediction(folder, picture, prediction.masks, values)
    rows = [[p["sentence"], p["mask"], f"{p['score']:.3f}", p["pixels"]] for p in values["predictions"]]
    title = f"{photo.name}, {picture.shape[0]} x {picture.shape[1]} pixels (height x width); files in {folder}"
    table = make_table(title, ["sentence", "mask", "score", "pixels"], rows, text=2)
    if model in shipped_models():
        table.caption = f"{model} has seen drawn scenes only; on a photograph it guesses."
        table.caption_justify = "left"
    report([table], values, json)


def write_prediction(folder: Path, picture: np.ndarray, masks: Iterable[np.ndarray], values: dict[str, Any]) -> None:
    """Write all files of a prediction, or none; files of these names are replaced together.

    Args:
        folder: Made where it does not exist.
        picture: ``(H, W, 3)`` uint8.
        masks: A ``(H, W)`` bool for each sentence.
        values: What ``prediction.json`` holds; each of its ``predictions`` names the files ``mask`` and ``overlay``.

    Raises:
        DiskFullError: The disk is full; what was there before is unchanged.
    """
    with atomic_files(folder, _SUMMARY) as partial:
        for entry, mask in zip(values["predictions"], masks, strict=True):
            Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(partial / entry["mask"], format="PNG")
            Image.fromarray(overlay(picture, mask)).save(partial / entry["overlay"], format="PNG")
        write_json(partial / _SUMMARY, values)


def file_name(number: int, sentence: str) -> str:
    """A name that every file system takes: a number, then what can be kept of the sentence.

    Example:
        >>> file_name(3, "The man's LEFT cup?"), file_name(4, "../..")
        ('03_the-man-s-left-cup', '04_sentence')
    """
    words = re.sub(r"[^a-z0-9]+", "-", sentence.lower())[:_LONGEST_NAME].strip("-")
    return f"{number:02d}_{words or 'sentence'}"


def _values(prediction: Prediction, k: int, name: str) -> dict[str, Any]:
    return {
        "sentence": prediction.sentences[k],
        "score": round(float(prediction.scores[k]), 6),
        "pixels": int(prediction.masks[k].sum()),
        "unknown": list(prediction.unknown[k]),
        "mask": f"{name}_mask.png",
        "overlay": f"{name}_overlay.png",
    }
