"""Which pictures and sentences each step sees: a pure function of seed and step.

Nothing is remembered between steps, so a run that was stopped after step n needs only n to go on exactly, with any
number of worker processes. Pictures come in an endless row of shuffled epochs, from which step n takes its share.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from torch.utils.data import DataLoader, Dataset

from ris_lib.data import Batch, CannotFlip, Collator, ReferringDataset, Sample, flip
from ris_lib.data.tokenizers import Tokenizer
from ris_lib.engine.workers import start_worker

logger = logging.getLogger(__name__)

# Streams of random numbers that must not meet.
_ORDER, _PICK = 1, 2


@dataclass(frozen=True)
class Pick:
    """One picture of a step.

    Args:
        image: Its number in the data set.
        seed: What decides its sentences and whether it is mirrored.
    """

    image: int
    seed: tuple[int, ...]


class StepBatches(Dataset):
    """Item k is the k-th batch of this process: part ``k % accumulate`` of step ``k // accumulate``.

    Sentences that the tokeniser cannot read are left out, and pictures without any other; long ones are cut. How many
    is logged.

    Args:
        dataset: Pictures with their sentences.
        collator: Makes batches.
        seed: Of order and choice.
        images_per_step: Pictures of one step, over all processes and parts.
        sentences_per_image: At most so many of each picture.
        accumulate: Parts of a step.
        rank: Number of this process.
        world: Number of processes.
        mirror: Mirror half of the pictures whose sentences allow it.

    Raises:
        ValueError: ``images_per_step`` cannot be shared out evenly, objects have no mask, or no sentence is readable.
    """

    def __init__(
        self,
        dataset: ReferringDataset,
        collator: Collator,
        seed: int,
        images_per_step: int,
        sentences_per_image: int,
        accumulate: int = 1,
        rank: int = 0,
        world: int = 1,
        mirror: bool = False,
    ):
        if images_per_step % (accumulate * world):
            raise ValueError(
                f"images_per_step={images_per_step} cannot be shared out over {world} process(es) and "
                f"{accumulate} part(s) evenly; take a multiple of {accumulate * world}."
            )
        if missing := dataset.index.without_mask():
            raise ValueError(
                f"{missing} of {len(dataset.index)} refs of {dataset.name} {dataset.split} have no mask; a model "
                "cannot be trained on them. Use a complete instances.json."
            )
        self.dataset, self.collator, self.seed, self.mirror = dataset, collator, seed, mirror
        self.images_per_step, self.sentences_per_image = images_per_step, sentences_per_image
        self.accumulate, self.rank, self.world = accumulate, rank, world
        self.unreadable, cut = _read(dataset, collator.tokenizer)
        self.images = [k for k in range(len(dataset)) if not self.unreadable or self._readable(dataset.expressions(k))]
        if not self.images:
            raise ValueError(
                f"{dataset.name} {dataset.split} has no sentence that the tokeniser can read: {dataset.counts()}."
            )
        if self.unreadable:
            logger.warning("%d sentences cannot be read and are left out of training", len(self.unreadable))
        if cut:
            logger.warning("%d sentences are longer than %d tokens and are cut", cut, collator.tokenizer.length)
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def picks(self, step: int) -> list[Pick]:
        """All pictures of a step, over all processes and parts.

        A data set of fewer pictures than a step has, gives some of them twice.
        """
        places = range(step * self.images_per_step, (step + 1) * self.images_per_step)
        return [Pick(self._image(place), (self.seed, _PICK, place)) for place in places]

    def sample(self, pick: Pick) -> Sample:
        """The picture of a pick with the sentences that are asked of it in this step."""
        sample = self.dataset[pick.image]
        generator = np.random.default_rng(pick.seed)
        candidates = self._readable(sample.expressions)
        count = min(self.sentences_per_image, len(candidates))
        chosen = np.sort(generator.permutation(len(candidates))[:count])
        sample = replace(sample, expressions=tuple(candidates[k] for k in chosen))
        if self.mirror and generator.random() < 0.5:
            try:
                mirrored = flip(sample)
            except CannotFlip:
                return sample
            if all(self.collator.tokenizer.read(e.sentence) is not None for e in mirrored.expressions):
                return mirrored
        return sample

    def __getitem__(self, part: int) -> Batch:
        """Part ``part % accumulate`` of step ``part // accumulate``, this process's share."""
        step, part = divmod(part, self.accumulate)
        share = self.images_per_step // (self.accumulate * self.world)
        start = (part * self.world + self.rank) * share
        return self.collator([self.sample(pick) for pick in self.picks(step)[start : start + share]])

    def _image(self, place: int) -> int:
        epoch, slot = divmod(place, len(self.images))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self.seed, _ORDER, epoch)).permutation(self.images)
        return int(self._order[slot])

    def _readable(self, expressions: tuple) -> list:
        return [expression for expression in expressions if expression.sentence not in self.unreadable]


def _read(dataset: ReferringDataset, tokenizer: Tokenizer) -> tuple[set[str], int]:
    """The sentences of a data set that a tokeniser cannot read, and the number of those that it cuts short."""
    unreadable, cut = set(), 0
    for text in set(dataset.sentences()):
        pieces = tokenizer.read(text)
        if pieces is None:
            unreadable.add(text)
        else:
            cut += tokenizer.frame(pieces)[2]
    return unreadable, cut


def step_loader(batches: StepBatches, start: int, stop: int, workers: int = 0, pin_memory: bool = False) -> Iterator:
    """The batches of the steps from ``start`` to ``stop`` (excluded), in order.

    Args:
        batches: What the steps are made of.
        start: First step.
        stop: Step after the last one.
        workers: Processes that work ahead; 0 = this one.
        pin_memory: Copy batches to page-locked memory, for GPUs.

    Returns:
        An iterator over ``(stop - start) * accumulate`` batches.
    """
    return iter(
        DataLoader(
            batches,
            batch_size=None,
            sampler=range(start * batches.accumulate, stop * batches.accumulate),
            num_workers=workers,
            pin_memory=pin_memory,
            worker_init_fn=start_worker,
        )
    )
