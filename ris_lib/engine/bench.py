"""How fast data, models and metrics are on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from ris_lib._names import unknown
from ris_lib.contract import Batch
from ris_lib.data import load_dataset
from ris_lib.data.scenes import draw, make_scene
from ris_lib.data.scenes.build import scene_rows
from ris_lib.metrics import Accumulator, count_pixels
from ris_lib.models import ReferringSegmenter, create_model, list_models

#: What can be measured.
SUBJECTS = ("data", "models", "metrics")

_IMAGES, _SENTENCES, _SIZE = 4, 16, 96  # of a batch; pixels of a scene
_SCORED = 5000  # sentences, as many as a split of RefCOCO has


def measure(subject: str, seconds: float = 1.0, device: torch.device | str = "cpu") -> list[dict[str, Any]]:
    """Measure one subject.

    Args:
        subject: One of ``SUBJECTS``.
        seconds: Time for each number; everything runs once before, unmeasured.
        device: Of the models.

    Returns:
        Entries with ``subject``, ``what``, ``value`` and ``unit``, as JSON can hold them.

    Raises:
        ValueError: There is no such subject.

    Example:
        >>> [entry["unit"] for entry in measure("metrics", seconds=0.01)]
        ['masks/s', 'sentences/s', 's']
    """
    if subject not in SUBJECTS:
        raise unknown("subject", subject, SUBJECTS)
    entries = {"data": _data, "models": _models, "metrics": _metrics}[subject](seconds, torch.device(device))
    return [{"subject": subject, "what": what, "value": value, "unit": unit} for what, value, unit in entries]


Entries = Iterator[tuple[str, float, str]]


def _data(seconds: float, device: torch.device) -> Entries:
    scenes = [make_scene("val", index) for index in range(20)]
    yield f"draw a scene, {_SIZE} px", _rate(lambda k: draw(scenes[k % 20], _SIZE), seconds), "pictures/s"

    def complete(k: int) -> None:
        scene = make_scene("val", k)
        scene_rows(scene, draw(scene, _SIZE)[1])

    yield "complete sample: scene, picture, masks, sentences", _rate(complete, seconds), "samples/s"
    dataset = load_dataset("scenes", "val", size=_SIZE, limit=20)
    yield "sample from the cache", _rate(lambda k: dataset[k % 20], seconds), "samples/s"
    collator = create_model("baseline_tiny").collator()
    samples = [dataset[k] for k in range(_IMAGES)]
    yield "collate: resize, tokens, masks", _IMAGES * _rate(lambda k: collator(samples), seconds), "samples/s"


def _models(seconds: float, device: torch.device) -> Entries:
    for name in list_models():
        model = create_model(name).to(device)
        batch = _random_batch(model, device)
        what = f"{_IMAGES} images, {_SENTENCES} sentences, {' x '.join(map(str, batch.images.shape[2:]))} px"

        def predict(k: int, model: ReferringSegmenter = model, batch: Batch = batch) -> None:
            with torch.inference_mode():
                model(batch).logits.sum().item()

        def learn(k: int, model: ReferringSegmenter = model, batch: Batch = batch) -> None:
            model(batch, with_losses=True).loss.backward()
            model.zero_grad()
            next(model.parameters()).sum().item()  # waits for a GPU

        yield f"{name} forward: {what}", _SENTENCES * _rate(predict, seconds), "sentences/s"
        yield f"{name} forward and backward", _SENTENCES * _rate(learn, seconds), "sentences/s"


def _metrics(seconds: float, device: torch.device) -> Entries:
    generator = np.random.default_rng(0)
    masks = torch.from_numpy(generator.random((2, 8, 480, 640)) < 0.5)
    yield "count pixels, 480 x 640", 8 * _rate(lambda k: count_pixels(masks[0], masks[1]), seconds), "masks/s"
    unions = generator.integers(1, 100_000, _SCORED)
    columns = unions * 2 // 3, unions, np.arange(_SCORED) // 3
    accumulate = _rate(lambda k: Accumulator().update(*columns), seconds)
    yield f"accumulate {_SCORED} sentences", _SCORED * accumulate, "sentences/s"
    accumulator = Accumulator()
    accumulator.update(*columns)
    yield f"scores and intervals of {_SCORED} sentences", 1 / _rate(lambda k: accumulator.result(), seconds), "s"


def _random_batch(model: ReferringSegmenter, device: torch.device) -> Batch:
    """Pictures of noise at the model's input size, sentences of random words, random masks."""
    generator = torch.Generator().manual_seed(0)
    height, width = model.config.preprocess["size"]
    length, vocabulary = model.tokenizer.length, model.tokenizer.vocabulary_size
    words = torch.arange(length).expand(_SENTENCES, -1) < min(6, length)
    return Batch(
        images=torch.randn(_IMAGES, 3, height, width, generator=generator),
        token_ids=torch.randint(3, vocabulary, (_SENTENCES, length), generator=generator) * words,
        word_mask=words,
        word_index=torch.where(words, torch.arange(length), -1),
        spans=torch.zeros(_SENTENCES, length, 2, dtype=torch.long),
        image_index=torch.arange(_IMAGES).repeat_interleave(_SENTENCES // _IMAGES),
        original_size=torch.tensor([[height, width]] * _IMAGES),
        to_network=torch.tensor([[[1.0, 0.0], [1.0, 0.0]]] * _IMAGES, dtype=torch.float64),
        sentences=["noise"] * _SENTENCES,
        referent_id=torch.arange(_SENTENCES),
        masks=torch.rand(_SENTENCES, height, width, generator=generator) < 0.1,
    ).to(device)


def _rate(work: Callable[[int], Any], seconds: float) -> float:
    """Calls per second; the call gets its number."""
    work(0)
    started, calls = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds or not calls:
        work(calls)
        calls += 1
    return calls / passed
