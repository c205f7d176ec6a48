"""Score a model on a data set under a named protocol."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from ris_lib.data import Batch, Collator, Expression, ReferringDataset, Sample, resize_mask, restore
from ris_lib.engine.device import inference, pick_device
from ris_lib.engine.shuffle import shuffle_sentences as shuffled
from ris_lib.engine.shuffle import with_index
from ris_lib.engine.workers import start_worker, watched_workers
from ris_lib.metrics import Accumulator, Protocol, Scores, binarise, count_pixels, get_protocol
from ris_lib.models import ReferringSegmenter

#: The columns of ``EvalResult.sentences``. They say which sentence it was (``kind`` is empty where the data set knows
#: none), the pixels of intersection and union on the protocol's grid, and their ratio, 0 where the union is empty.
SENTENCES = pa.schema(
    [
        ("image_id", pa.int64()),
        ("ref_id", pa.int64()),
        ("sentence_id", pa.int64()),
        ("sentence", pa.string()),
        ("kind", pa.string()),
        ("intersection", pa.int64()),
        ("union", pa.int64()),
        ("iou", pa.float64()),
    ]
)
_Row = tuple[int, int, int, str, str, int, int]  # all of these but the last


@dataclass(frozen=True)
class EvalResult:
    """Scores, and everything without which they mean nothing.

    Args:
        scores: mIoU, oIoU, Prec@x with intervals.
        groups: The scores of each kind of expression; empty where the data set knows no kinds.
        model: Recipe of the model.
        dataset: Name of the data set.
        split: Name of the split.
        split_by: Which cut into splits; empty for scenes.
        fixed_by: What fixes the data, for scenes version and picture size.
        counts: Number of ``images``, ``refs`` and ``sentences`` that were scored.
        unreadable: Sentences that the model's tokeniser could not read; they count as empty predictions.
        seed: Of shuffling and intervals.
        shuffle_sentences: Whether every sentence was given to another picture.
        device: Kind of device.
        seconds: Wall time.
        sentences: What each sentence scored, a row each in the data set's order; columns as in ``SENTENCES``, the
            protocol in the table's metadata. It is what ``ris_lib.metrics.gain_over_sentences`` compares.
    """

    scores: Scores
    groups: dict[str, Scores]
    model: str
    dataset: str
    split: str
    split_by: str
    fixed_by: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    unreadable: int = 0
    seed: int = 0
    shuffle_sentences: bool = False
    device: str = "cpu"
    seconds: float = 0.0
    sentences: pa.Table = field(default_factory=SENTENCES.empty_table, repr=False)

    def to_json(self) -> dict[str, Any]:
        """As a dictionary that JSON can hold: ``protocol``, ``split``, ``dataset``, ``seed``, ``miou``, ``oiou``,
        ``prec``, ``intervals`` first, every fraction in [0, 1]; then the other fields, but for ``sentences``.
        """
        return {
            "protocol": self.scores.protocol,
            "split": self.split,
            "dataset": self.dataset,
            "split_by": self.split_by,
            "seed": self.seed,
            "shuffle_sentences": self.shuffle_sentences,
            "miou": self.scores.miou,
            "oiou": self.scores.oiou,
            "prec": self.scores.prec,
            "intervals": self.scores.intervals,
            "counts": self.counts,
            "unreadable": self.unreadable,
            "groups": {name: scores.to_dict() for name, scores in self.groups.items()},
            "model": self.model,
            "fixed_by": self.fixed_by,
            "device": self.device,
            "seconds": round(self.seconds, 3),
        }


def evaluate(
    model: ReferringSegmenter,
    dataset: ReferringDataset,
    protocol: str | Protocol = "original",
    limit: int | None = None,
    images_per_batch: int = 4,
    shuffle_sentences: bool = False,
    seed: int = 0,
    intervals: bool = True,
    progress: bool = True,
    device: str | torch.device = "auto",
    workers: int = 0,
) -> EvalResult:
    """Segment every sentence of a data set and compare with the annotation.

    Every sentence counts. One that the model's tokeniser cannot read (no word that its vocabulary knows) is neither
    left out nor an error: it gets the empty mask, IoU 0, and a warning says how many there were. Our decision: a model
    must not look better by knowing fewer words.

    Probabilities come back to the original pixels one picture at a time, so memory is bounded by one picture's
    sentences. Several processes (``accelerate launch``) share the pictures and get the same result.

    Args:
        model: It is moved to the device; its mode is what it was afterwards.
        dataset: What ``load_dataset`` returned.
        protocol: Name or protocol: on which grid and at which threshold masks are compared.
        limit: Score the first so many pictures only.
        images_per_batch: Pictures that the model gets at a time; the scores do not depend on it.
        shuffle_sentences: Give every sentence to another picture: the language-blind control.
        seed: Of the shuffling and of the intervals' bootstrap.
        intervals: Whether to compute 95 % intervals.
        progress: Show a progress bar.
        device: As for ``pick_device``.
        workers: Processes that prepare batches; 0 = this one.

    Raises:
        ValueError: The protocol or device is not known, a number is out of range, objects have no mask, or the data
            set is empty.
        FileNotFoundError: A picture is missing.
        ChildProcessError: A process that prepares batches died, or has no shared memory.

    Warns:
        UserWarning: Some sentences cannot be read.

    Example:
        >>> from ris_lib import create_model, load_dataset
        >>> val = load_dataset("scenes", "val", limit=2)
        >>> evaluate(create_model("baseline_tiny"), val, progress=False).counts["images"]
        2
    """
    started = time.perf_counter()
    rules, device = get_protocol(protocol), pick_device(device)
    for name, value, least in (("images_per_batch", images_per_batch, 1), ("seed", seed, 0), ("workers", workers, 0)):
        if value < least:
            raise ValueError(f"{name}={value}; expected a whole number of at least {least}.")
    if limit is not None:
        dataset = with_index(dataset, dataset.index, limit)
    _check(dataset)
    if shuffle_sentences:
        dataset = shuffled(dataset, seed)
    state = PartialState(cpu=device.type == "cpu")
    share = Subset(dataset, range(state.process_index, len(dataset), state.num_processes))
    collate = _Readable(model.collator(False))
    loader = DataLoader(share, images_per_batch, collate_fn=collate, num_workers=workers, worker_init_fn=start_worker)
    rows, unreadable = [], 0
    with (
        watched_workers(),
        inference(model, device),
        tqdm(total=len(share), desc=f"{dataset.name} {dataset.split}", unit="image", disable=not progress) as bar,
    ):
        for batch, asked, unread, count in loader:
            if batch is not None:
                probabilities = model.upsample(model(batch.to(device)).logits, tuple(batch.images.shape[2:]))
                rows += _score_images(rules, probabilities, batch, asked)
            for image_id, size, expression in unread:
                nothing = torch.zeros(1, *(rules.grid or size), dtype=torch.bool)
                rows += _count(rules, nothing, image_id, size, [expression])
            unreadable += len(unread)
            bar.update(count)
    if state.num_processes > 1:
        rows, unreadable = gather_object(rows), sum(gather_object([unreadable]))  # the same in each process
    if unreadable:
        warnings.warn(
            f"{unreadable} of {len(rows)} sentences have no word that the model knows; they count as IoU 0.",
            UserWarning,
            stacklevel=2,
        )
    image_ids, _, _, _, kinds, intersections, unions = zip(*rows)
    accumulator = Accumulator(rules)
    accumulator.update(intersections, unions, image_ids, {"kind": kinds})
    return EvalResult(
        scores=accumulator.result(intervals, seed),
        groups=accumulator.groups("kind", intervals, seed) if any(kinds) else {},
        model=model.config.recipe,
        dataset=dataset.name,
        split=dataset.split,
        split_by=dataset.split_by,
        fixed_by=dataset.seed_info,
        counts=dataset.counts(),
        unreadable=unreadable,
        seed=seed,
        shuffle_sentences=shuffle_sentences,
        device=device.type,
        seconds=time.perf_counter() - started,
        sentences=_table(rows, dataset, rules),
    )


class _Readable:
    """Collate what the tokeniser can read, and hand over the rest.

    Returns the batch (None if nothing is readable), the expressions of each of its pictures, the unreadable expressions
    with image id and picture size, and the number of pictures.
    """

    def __init__(self, collator: Collator):
        self.collator = collator

    def __call__(self, samples: Sequence[Sample]) -> tuple[Batch | None, list[tuple[Expression, ...]], list, int]:
        read, unread = [], []
        for sample in samples:
            flags = [self.collator.tokenizer.read(e.sentence) is not None for e in sample.expressions]
            known = tuple(expression for expression, flag in zip(sample.expressions, flags) if flag)
            unread += [(sample.image_id, sample.size, e) for e, flag in zip(sample.expressions, flags) if not flag]
            if known:
                read.append(replace(sample, expressions=known))
        batch = self.collator(read) if read else None
        return batch, [sample.expressions for sample in read], unread, len(samples)


def _check(dataset: ReferringDataset) -> None:
    if not len(dataset):
        raise ValueError(f"{dataset.name} {dataset.split} has no picture; there is nothing to score.")
    if missing := dataset.index.without_mask():
        raise ValueError(
            f"{missing} of {len(dataset.index)} refs of {dataset.name} {dataset.split} have no mask to compare with. "
            "Use a complete instances.json."
        )


def _score_images(
    rules: Protocol, probabilities: Tensor, batch: Batch, asked: list[tuple[Expression, ...]]
) -> list[_Row]:
    """What the sentences of a batch scored, picture by picture."""
    assert batch.image_id is not None  # a collator made it of samples
    rows = []
    for k, expressions in enumerate(asked):
        size = tuple(batch.original_size[k].tolist())
        maps = probabilities[(batch.image_index == k).to(probabilities.device)]
        grid = rules.grid or size
        maps = restore(maps, _from_grid(batch.to_network[k], size, grid), grid, rules.resample)
        rows += _count(rules, binarise(maps, rules).cpu(), int(batch.image_id[k]), size, expressions)
    return rows


def _count(
    rules: Protocol,
    masks: Tensor,
    image_id: int,
    size: tuple[int, int],
    expressions: Sequence[Expression],
) -> list[_Row]:
    """Compare the masks of one picture's expressions on the protocol's grid."""
    targets: dict[int, Tensor] = {}
    for expression in expressions:
        if expression.ref_id not in targets:
            targets[expression.ref_id] = _target(expression, size, rules.grid)
    target = torch.stack([targets[expression.ref_id] for expression in expressions])
    intersections, unions = count_pixels(masks, target)
    return [
        (image_id, e.ref_id, e.sentence_id, e.sentence, e.kind, intersection, union)
        for e, intersection, union in zip(expressions, intersections.tolist(), unions.tolist())
    ]


def _target(expression: Expression, size: tuple[int, int], grid: tuple[int, int] | None) -> Tensor:
    mask = expression.mask()
    return torch.from_numpy(mask) if grid is None else resize_mask(mask, _stretch(size, grid), grid)


def _stretch(size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """From pixel centres of the original picture to those of a grid that it is stretched to, (2, 2) as in ``Batch``."""
    scales = [new / old for new, old in zip(grid, size)]
    return torch.tensor([[scale, 0.5 * scale - 0.5] for scale in scales], dtype=torch.float64)


def _from_grid(to_network: Tensor, size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """From pixel centres of the grid to those of the network's picture, by way of the original picture."""
    scale, offset = _stretch(size, grid).T
    return torch.stack([to_network[:, 0] / scale, to_network[:, 1] - to_network[:, 0] * offset / scale], dim=1)


def _table(rows: list[_Row], dataset: ReferringDataset, rules: Protocol) -> pa.Table:
    """The rows in the data set's order, in whichever order batches and processes gave them."""
    refs = zip(*(dataset.index.column(name) for name in ("image_id", "ref_id", "sentence_ids")))
    asked = [(image_id, ref_id, number) for image_id, ref_id, numbers in refs for number in numbers]
    place = {key: k for k, key in enumerate(asked)}
    rows = sorted(rows, key=lambda row: place[row[:3]])
    whole = [(*row, row[-2] / row[-1] if row[-1] else 0.0) for row in rows]
    columns = dict(zip(SENTENCES.names, map(list, zip(*whole))))
    return pa.Table.from_pydict(columns, schema=SENTENCES.with_metadata({"protocol": rules.name}))
