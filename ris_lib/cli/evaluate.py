"""``ris eval``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
import tyro
from accelerate import PartialState
from rich.table import Table

from ris_lib.cli.output import JsonFile, Threads, check_file, check_json, make_table, report, set_threads
from ris_lib.cli.source import Device, ModelName, RunFolder, load_model
from ris_lib.cli.submission import score
from ris_lib.data import load_dataset
from ris_lib.data.cache import atomic_write
from ris_lib.engine import EvalResult
from ris_lib.engine import evaluate as evaluate_model
from ris_lib.metrics import TENTHS, get_protocol

_SHOWN = "0.5", "0.7", "0.9"  # thresholds in the table of kinds


def evaluate(
    run: RunFolder = None,
    model: ModelName = None,
    data: str = "scenes",
    root: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None,
    split_by: str | None = None,
    split: str = "val",
    limit: int | None = None,
    size: int | None = None,
    protocol: Annotated[str, tyro.conf.arg(metavar="NAME")] = "original",
    shuffle_sentences: bool = False,
    seed: int = 0,
    images_per_batch: int = 4,
    workers: int = 0,
    device: Device = "auto",
    threads: Threads = None,
    json: JsonFile = None,
    sentences: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    submission: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None,
    key: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    rules: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    leaderboard: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
) -> None:
    """Score a model: mIoU, oIoU, Prec@k with 95 % intervals.

    $ ris eval --run runs/a --data scenes --split val --json out.json
    $ ris eval --run runs/b --data refcoco+ --split-by unc --root DATA --split testA
    $ ris eval --run runs/a --sentences sentences.parquet
    $ ris eval --submission handed_in/anna --key key.txt --leaderboard board.json

    Args:
        run: Folder of a run.
        model: Name of a model.
        data: Data set: scenes, refcoco, refcoco+ or refcocog.
        root: Folder that holds refcoco/, refcoco+/, refcocog/ and images/.
        split_by: Which cut into splits: unc, umd or google.
        split: Name of the split.
        limit: The first so many pictures only.
        size: Side of the drawn scenes; by default the model's input size.
        protocol: Rules of scoring: original, network_480 or cris_035.
        shuffle_sentences: Give every sentence to another picture: the language-blind control.
        seed: Of the shuffling and of the intervals.
        images_per_batch: Pictures that the model gets at a time; the scores do not depend on it.
        workers: Processes that prepare batches; 0 = this one.
        device: Where to compute.
        threads: Threads.
        json: File.
        sentences: Also write what each sentence scored, as Parquet.
        submission: Score a run that was handed in, on scenes that only the holder of the key can draw.
        key: The key of these scenes: a text file with a secret of at least 16 letters.
        rules: What a submission may use, as JSON, such as {"parameters": 1500000, "pictures": 48000, "slowness": 4}.
        leaderboard: Enter the submission in this JSON file.
    """
    check_json(json)
    check_file("--sentences", sentences)
    check_file("--leaderboard", leaderboard)
    set_threads(threads)
    if submission is not None:
        if run is not None or model is not None or sentences is not None:
            raise ValueError("--submission is scored alone; leave out --run, --model and --sentences.")
        return score(submission, key, rules, leaderboard, limit, device, json)
    if key is not None or rules is not None or leaderboard is not None:
        raise ValueError("--key, --rules and --leaderboard belong to --submission FOLDER.")
    get_protocol(protocol)
    segmenter = load_model(run, model)
    if data == "scenes" and size is None:
        size = segmenter.config.preprocess["size"][0]
    result = evaluate_model(
        segmenter,
        load_dataset(data, split, root=root, split_by=split_by, size=size, limit=limit),
        protocol,
        images_per_batch=images_per_batch,
        shuffle_sentences=shuffle_sentences,
        seed=seed,
        device=device,
        workers=workers,
    )
    if not PartialState().is_main_process:  # all have the same result; one says it
        return
    if sentences is not None:
        with atomic_write(sentences) as partial:
            pq.write_table(result.sentences, partial, compression="zstd")
    values = result.to_json() | {"run": None if run is None else run.as_posix()}
    report(tables(result), values, json)


def tables(result: EvalResult) -> list[Table]:
    """The scores, and those of each kind of expression, as tables."""
    scores, counts = result.scores, result.counts
    cut = f" ({result.split_by})" if result.split_by else ""
    shuffled = ", sentences SHUFFLED" if result.shuffle_sentences else ""
    title = (
        f"{result.model} on {result.dataset}{cut} {result.split}, protocol {scores.protocol}, seed {result.seed}"
        f"{shuffled}: {counts['images']} images, {counts['refs']} refs, {counts['sentences']} sentences, "
        f"{result.unreadable} of them unreadable; {result.device}, {result.seconds:.1f} s"
    )
    spread = scores.intervals
    rows = [
        ["mIoU", f"{scores.miou:.4f}", _interval(spread["miou"] if spread else None)],
        ["oIoU", f"{scores.oiou:.4f}", _interval(spread["oiou"] if spread else None)],
        *([f"Prec@{k}", f"{scores.prec[k]:.4f}", _interval(spread["prec"][k] if spread else None)] for k in TENTHS),
    ]
    shown = [make_table(title, ["score", "value", "95 % interval"], rows)]
    if result.groups:
        kinds = [
            [kind, s.count, f"{s.miou:.4f}", f"{s.oiou:.4f}", *(f"{s.prec[k]:.4f}" for k in _SHOWN)]
            for kind, s in result.groups.items()
        ]
        columns = ["kind", "sentences", "mIoU", "oIoU", *(f"Prec@{k}" for k in _SHOWN)]
        shown.append(make_table("by kind of expression", columns, kinds))
    return shown


def _interval(bounds: list[float] | None) -> str:
    return "-" if bounds is None else f"{bounds[0]:.4f} to {bounds[1]:.4f}"
