"""What each of two processes does for tests/engine/test_two_processes.py:  python -m tests.engine.two_processes FOLDER

The folder gets a file of each process for each question. RANK and the like are in the environment, as accelerate and
torchrun leave them there.
"""

import contextlib
import io
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator

from ris_lib.cli import main
from ris_lib.data import Index, ReferringDataset, load_dataset
from ris_lib.engine import StepBatches, Stopped, TrainConfig, estimate, evaluate, train
from ris_lib.engine.shuffle import with_index
from ris_lib.models import create_model
from tests.engine.test_evaluate import varied

#: Recipes without batch norm whose losses draw no random numbers, or draw all pixels: the order does not matter.
RECIPES = {
    "alignformer_tiny": {},
    "coupalign_tiny": {"objectives": {"segmentation": {}, "pixel_contrast": {"limit": 10_000}}},
    "magnet_tiny": {"objectives": {"segmentation": {}, "cross_modal_alignment": {"limit": 10_000}}},
}
SMALL = {"limit": 8, "size": 32, "images_per_step": 4, "sentences_per_image": 3, "device": "cpu", "threads": 1}


def uneven(dataset: ReferringDataset) -> ReferringDataset:
    """One object of the first picture, two of the second, up to four: processes get different numbers of sentences."""
    kept, seen = [], {}
    for row in dataset.index.table.to_pylist():
        before = seen.setdefault(row["image_id"], [len(seen), 0])
        if before[1] < 1 + before[0] % 4:
            kept.append(row)
        before[1] += 1
    return with_index(dataset, Index.from_rows(kept))


def one_step(name: str, rank: int = 0, world: int = 1, wrap=lambda model: model, dtype=torch.float64) -> dict:
    """Loss and gradients of a step of four pictures with all of their sentences."""
    torch.manual_seed(0)
    model = create_model(name, preprocess={"size": [32, 32]}, **RECIPES[name]).train().to(dtype)
    scenes = uneven(load_dataset("scenes", "train", size=32, limit=8))
    batch = StepBatches(scenes, model.collator(), 0, 4, 99, rank=rank, world=world)[0]
    wrapped = wrap(model)
    output = wrapped(replace(batch, images=batch.images.to(dtype)), with_losses=True)
    output.loss.backward()
    found = {key: parameter.grad for key, parameter in model.named_parameters()}
    return {"loss": output.loss.detach(), "sentences": len(batch), "gradients": found}


def scores() -> dict:
    """Everything that an evaluation says, but for the time it took."""
    scenes = load_dataset("scenes", "train", size=32, limit=9)
    result = evaluate(varied(), scenes, progress=False, device="cpu")
    return {**result.to_json(), "seconds": None, "sentences": result.sentences.to_pylist()}


def settings(out: Path, **changes) -> TrainConfig:
    return TrainConfig(out=out, model="alignformer_tiny", steps=4, **SMALL, **changes)


def stop_in_the_second_step(config: TrainConfig, rank: int) -> str:
    """Only the second process is asked to stop; what both say."""
    original = StepBatches.__getitem__

    def ask(batches, part):
        if rank == 1 and part == 1:
            signal.raise_signal(signal.SIGTERM)
        return original(batches, part)

    StepBatches.__getitem__ = ask
    try:
        train(config, progress=False)
    except Stopped as stop:
        return str(stop)
    finally:
        StepBatches.__getitem__ = original
    return "it went on"


def printed(*words: str) -> str:
    """The exit code of a command, and what it prints in this process."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        code = main(words)
    return f"{code}\n{text.getvalue()}"


def estimated(folder: Path, model: str = "baseline_tiny") -> str:
    """What is said of a planned run."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    flags += [f"--model={model}", "--steps=600", "--evaluate-every=300", "--evaluate-limit=4", "--price=2"]
    module = sys.modules[estimate.__module__]
    module.WARM_UP, module.MEASURED = 1, 2
    return printed("train", "--estimate", "--out", str(folder / "planned"), *flags)


def answer(folder: Path) -> None:
    torch.set_num_threads(1)
    part, torch.distributed.destroy_process_group = torch.distributed.destroy_process_group, lambda group=None: None
    rank = int(os.environ["RANK"])
    accelerator = Accelerator(cpu=True)
    for name in RECIPES:
        for dtype in (torch.float64, torch.float32):
            found = one_step(name, rank, 2, accelerator.prepare, dtype)
            torch.save(found, folder / f"{name}-{str(dtype)[-2:]}-{rank}.pt")
    (folder / f"scores-{rank}.json").write_text(json.dumps(scores()))
    train(settings(folder / "whole"), progress=False)
    said = stop_in_the_second_step(settings(folder / "parted"), rank)
    (folder / f"stopped-{rank}.txt").write_text(said)
    torch.distributed.barrier()  # a run is continued when the stopped one is gone, so its checkpoint is written
    train(settings(folder / "parted", resume=True), progress=False)
    (folder / f"estimate-{rank}.txt").write_text(estimated(folder))
    scored = ["eval", "--run", str(folder / "whole"), "--split=train", "--size=32", "--limit=3", "--device=cpu"]
    (folder / f"eval-{rank}.txt").write_text(printed(*scored, "--json", str(folder / "scored.json")))
    part()  # each training would end with this, and a process does one


if __name__ == "__main__":
    answer(Path(sys.argv[1]))
