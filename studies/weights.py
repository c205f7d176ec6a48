"""Train the tiny models whose weights ship, and write what ships: 16-bit weights, scores, a card, checksums.

    python -m studies.weights lavt_tiny        # one model
    python -m studies.weights                  # all of them, and the table of checksums

All are trained on the same number of samples, with the same schedule; recipes were chosen on ``val``. What is written
down was measured on the stored file, on every split, once. Per-sentence results of ``val`` go to
``book/results/sentences``, for error analysis.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from ris_lib.data import load_dataset
from ris_lib.data.cache import atomic_write
from ris_lib.engine import TrainConfig, evaluate, load_run, train
from ris_lib.engine.run import write_json
from ris_lib.models import create_model
from ris_lib.models.shipped import CARD, CHECKSUMS, SCORES, checksums, weights_folder
from studies.run import ROOT, RUNS, training_report
from studies.sentences import save_with_targets

MODELS = ("baseline_tiny", "lavt_tiny", "cris_tiny", "alignformer_tiny", "coupalign_tiny", "eavl_tiny", "magnet_tiny")
#: Steps of 8 pictures with up to 8 sentences each.
STEPS, SEED = 6000, 0
SPLITS = ("val", "test", "testA", "testB", "compositional")
#: The quick check of the stored numbers takes the first so many pictures of ``test``.
QUICK = 200
RESULTS = ROOT / "book" / "results"
#: Whose objectives ship too: the hidden-word bars of a chapter need them.
WITH_OBJECTIVES = frozenset({"magnet_tiny"})


def config_of(name: str, start: str | None = None, device: str = "cpu") -> TrainConfig:
    """The settings of the training; ``start="fresh"`` leaves out the common start."""
    return TrainConfig(
        out=RUNS.parent / "weights" / "-".join(filter(None, [name, start])),
        model=name,
        start=start,
        steps=STEPS,
        seed=SEED,
        evaluate_every=STEPS // 10,
        flip=True,
        device=device,
        threads=1,
        resume=True,
    )


def store(run: Path, folder: Path, objectives: bool) -> None:
    """Write the model of a run with 16-bit weights."""
    model = load_run(run).half()
    with atomic_write(folder) as partial:
        model.save_pretrained(partial, objectives=objectives)


def measure(name: str, folder: Path, sentences: Path | None = None) -> dict[str, Any]:
    """What the stored weights score.

    Args:
        name: Name of the model.
        folder: Its folder.
        sentences: Where the results of each sentence of ``val`` go.

    Returns:
        ``results`` by split; ``quick``: the first pictures of ``test`` alone; ``shuffled``: ``test`` with sentences of
        other pictures.
    """
    model = create_model(name, pretrained=folder)
    size = model.config.preprocess["size"][0]
    results = {}
    for split in SPLITS:
        result = evaluate(model, load_dataset("scenes", split, size=size), device="cpu")
        results[split] = result.to_json()
        if split == "val" and sentences is not None:
            save_with_targets(result, sentences)
    quick = evaluate(model, load_dataset("scenes", "test", size=size), limit=QUICK, device="cpu")
    shuffled = evaluate(model, load_dataset("scenes", "test", size=size), device="cpu", shuffle_sentences=True)
    return {"results": results, "quick": quick.to_json(), "shuffled": shuffled.to_json()}


def card(name: str, scores: dict[str, Any]) -> str:
    """The model card: data, recipe, numbers, limits."""
    training, results = scores["training"], scores["results"]
    config, environment = training["config"], training["environment"]
    rows = "\n".join(
        f"| {split} | {r['miou']:.3f} [{r['intervals']['miou'][0]:.3f}, {r['intervals']['miou'][1]:.3f}] | "
        f"{r['oiou']:.3f} | {r['prec']['0.5']:.3f} | {r['prec']['0.9']:.3f} | {r['counts']['sentences']:,} |"
        for split, r in results.items()
    )
    data = results["test"]["fixed_by"]
    return f"""---
license: apache-2.0
library_name: ris_lib
pipeline_tag: image-segmentation
---

# {name}

A referring segmentation model of 96-pixel drawn scenes, as `ris_lib` ships it:

    model = ris_lib.create_model("{name}", pretrained=True)

**Data.** `{data["version"]}` at {data["size"]} pixels: drawn pictures of simple objects with computer-made English
sentences. The image tower was trained before on the same pictures with labels of each pixel, which real data sets do
not have (`tiny_encoders/encoders.json`); the text tower began at random.

**Training.** {config["steps"]:,} steps of {config["images_per_step"]} pictures with at most
{config["sentences_per_image"]} sentences each ({training["samples"]["pictures"]:,} pictures), seed {config["seed"]},
half of the pictures mirrored (with left and right swapped in their sentences), peak learning rate
{config["learning_rate"]}, {training["training_seconds"] / 60:.0f} minutes {_where(environment)}. Command:
`{_command(name, config["device"])}`. The recipe was chosen on `val`; these are the weights after the last step, as
16-bit numbers.

**Scores** of these numbers as stored, protocol `original`, mIoU with 95 % bootstrap intervals over pictures:

| split | mIoU | oIoU | Prec@0.5 | Prec@0.9 | sentences |
| --- | --- | --- | --- | --- | --- |
{rows}

With sentences of other pictures, `test`: mIoU {scores["shuffled"]["miou"]:.3f}.

**Limits.** It knows the words of the drawn scenes and nothing else, and has never seen a photograph. One training run,
one seed: differences to other models of the size of the intervals say nothing about which design is better.
"""


def _where(environment: dict[str, Any]) -> str:
    """On what a model was trained."""
    device = environment["device"]
    return f"on one thread ({environment['platform']})" if device == "cpu" else f"on a GPU ({device})"


def _command(name: str, device: str) -> str:
    """What trains a model again."""
    return f"python -m studies.weights {name}" + ("" if device == "cpu" else f" --device {device}")


def ship(name: str, device: str = "cpu") -> None:
    """Train, store, measure and describe one model; measured is on the CPU, where most readers will run it."""
    run = train(config_of(name, device=device))
    folder = weights_folder() / name
    store(run, folder, name in WITH_OBJECTIVES)
    scores = {"training": training_report(run), **measure(name, folder, RESULTS / "sentences" / f"{name}.parquet")}
    write_json(folder / SCORES, scores)
    (folder / CARD).write_text(card(name, scores), encoding="utf-8")


def without_start(name: str, device: str = "cpu") -> None:
    """Train the same model from random weights, and keep its scores alone."""
    run = train(config_of(name, "fresh", device))
    folder = run.parent / f"{run.name}-16bit"
    store(run, folder, objectives=False)
    write_json(RESULTS / "fresh" / f"{name}.json", {"training": training_report(run), **measure(name, folder)})


def main() -> None:
    """Ship models, and write the table of checksums."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", choices=[*MODELS, []], metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--fresh", action="store_true", help="from random weights; nothing ships")
    parser.add_argument("--device", default="cpu", help="where they are trained")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in asked.models or MODELS:
        (without_start if asked.fresh else ship)(name, asked.device)
    if not asked.fresh:
        write_json(weights_folder() / CHECKSUMS, checksums(weights_folder()))


if __name__ == "__main__":
    main()
