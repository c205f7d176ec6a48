"""The language-blind controls: every sentence is given to another picture, or all sentences are the same.

Pictures, masks and the number of sentences stay what they are; only the link between them is cut. What a model scores
that was trained and scored like this, it scores by knowing where objects usually are.

Source: our decision.
"""

from __future__ import annotations

import numpy as np

from ris_lib.data import Index, ReferringDataset


def other_pictures(image_of: np.ndarray, seed: int) -> np.ndarray:
    """For each sentence the number of a sentence of another picture; each is used once.

    The sentences are put in a random order that keeps those of a picture together, and each takes the one that stands
    as many places further as the largest picture has sentences: that is never one of its own picture.

    Args:
        image_of: (n,) the picture of each sentence.
        seed: Of the order.

    Returns:
        (n,) a permutation.

    Raises:
        ValueError: One picture has more than half of all sentences, so they cannot all go to others.

    Example:
        >>> image_of = np.array([1, 1, 2, 2])
        >>> (image_of[other_pictures(image_of, seed=0)] == image_of).any()
        np.False_
    """
    _, member = np.unique(image_of, return_inverse=True)
    largest = int(np.bincount(member).max(initial=0))
    if 2 * largest > len(image_of):
        raise ValueError(
            f"sentences cannot be shuffled: one picture has {largest} of all {len(image_of)}, which cannot all go to "
            "other pictures. Take more pictures."
        )
    generator = np.random.default_rng([seed, len(image_of)])
    place = generator.permutation(member.max() + 1)  # of the pictures
    order = np.lexsort((generator.permutation(len(member)), place[member]))
    taken = np.empty_like(order)
    taken[order] = np.roll(order, -largest)
    return taken


def shuffle_sentences(dataset: ReferringDataset, seed: int) -> ReferringDataset:
    """The same data set with every sentence (and its kind) given to another picture.

    Args:
        dataset: It is not changed.
        seed: Of the shuffling; the same seed gives the same data.

    Raises:
        ValueError: There are too few pictures.
    """
    table = dataset.index.table
    rows = table.to_pylist()
    flat = [(row["image_id"], text, kind) for row in rows for text, kind in zip(row["sentences"], row["kinds"])]
    taken = iter(other_pictures(np.array([image for image, _, _ in flat]), seed))
    for row in rows:
        given = [flat[next(taken)] for _ in row["sentences"]]
        row["sentences"], row["kinds"] = [text for _, text, _ in given], [kind for _, _, kind in given]
    return with_index(dataset, Index.from_rows(rows))


def same_sentence(dataset: ReferringDataset, sentence: str) -> ReferringDataset:
    """The same data set with one sentence in place of all; kinds stay those of the sentences that were there.

    Args:
        dataset: It is not changed.
        sentence: What is said of everything, such as "the thing".
    """
    rows = dataset.index.table.to_pylist()
    for row in rows:
        row["sentences"] = [sentence] * len(row["sentences"])
    return with_index(dataset, Index.from_rows(rows))


def with_index(dataset: ReferringDataset, index: Index, limit: int | None = None) -> ReferringDataset:
    """The same pictures with another index, or with the first ``limit`` pictures of it."""
    return ReferringDataset(
        index, dataset.pictures, dataset.name, dataset.split, dataset.split_by, dataset.seed_info, limit
    )
