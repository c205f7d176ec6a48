"""oIoU, mIoU and Prec@k from whole numbers, with bootstrap intervals over images.

Only whole numbers are accumulated, so scores do not depend on order, batches or processes; that a sentence reaches
x = j/10 is decided as 10 I >= j U in whole numbers, never by comparing floats.

Source: our decision; the bootstrap resamples images, because sentences of one image are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ris_lib._names import unknown
from ris_lib.metrics.protocols import Protocol, get_protocol

#: The precision thresholds, in tenths, by the name under which they are reported.
TENTHS = {"0.5": 5, "0.6": 6, "0.7": 7, "0.8": 8, "0.9": 9}

_CHUNK = 4_000_000  # resampled images held in memory at once: 32 MB


@dataclass(frozen=True)
class Scores:
    """What was measured. All fractions lie in [0, 1].

    Args:
        protocol: Name of the protocol.
        count: Number of sentences.
        images: Number of images.
        miou: Mean IoU over sentences.
        oiou: Sum of intersections over sum of unions.
        prec: Prec@x by ``"0.5"`` ... ``"0.9"``.
        intervals: 95 % bootstrap intervals ``[low, high]`` under ``miou``, ``oiou`` and, by threshold, ``prec``; None
            where they were not asked for or there is only one image, which says nothing about spread.
    """

    protocol: str
    count: int
    images: int
    miou: float
    oiou: float
    prec: dict[str, float]
    intervals: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As a dictionary that JSON can hold."""
        return asdict(self)


class Accumulator:
    """Collect intersections and unions, sentence by sentence; give scores.

    Args:
        protocol: Name or protocol.

    Raises:
        ValueError: The protocol is not known.

    Example:
        >>> accumulator = Accumulator("original")
        >>> accumulator.update([1, 3], [2, 3], image_ids=[7, 8], groups={"kind": ["colour", "place"]})
        >>> scores = accumulator.result(intervals=False)
        >>> scores.miou, scores.oiou, scores.prec["0.9"]
        (0.75, 0.8, 0.5)
        >>> accumulator.groups("kind")["place"].miou
        1.0
    """

    def __init__(self, protocol: str | Protocol = "original"):
        self.protocol = get_protocol(protocol)
        self._rows: list[tuple[int, int, int]] = []  # image, intersection, union
        self._groups: dict[str, list[str]] = {}

    def __len__(self) -> int:
        """Number of sentences so far."""
        return len(self._rows)

    def update(
        self,
        intersections: Iterable[int],
        unions: Iterable[int],
        image_ids: Iterable[int],
        groups: Mapping[str, Sequence[str]] | Sequence[str] | None = None,
    ) -> None:
        """Add some sentences.

        Args:
            intersections: Pixels, one whole number per sentence.
            unions: Pixels, not less than the intersection.
            image_ids: The image of each sentence; sentences of one image are not independent.
            groups: Per grouping (``"kind"``, ``"split"``, ...) the group of each sentence. A plain list is the
                grouping ``"kind"``. Once given, a grouping is given always.

        Raises:
            ValueError: Lengths differ, a number is not whole or out of range, or a grouping is missing or new.
        """
        columns = [
            _whole(name, v)
            for name, v in (("intersections", intersections), ("unions", unions), ("image_ids", image_ids))
        ]
        groups = {"kind": groups} if groups is not None and not isinstance(groups, Mapping) else dict(groups or {})
        lengths = {len(column) for column in columns} | {len(names) for names in groups.values()}
        if len(lengths) > 1:
            raise ValueError(f"got columns of lengths {sorted(lengths)}; expected one entry per sentence in each.")
        rows = [(image, intersection, union) for intersection, union, image in zip(*columns)]
        if not rows:
            return
        for image, intersection, union in rows:
            if not 0 <= intersection <= union:
                raise ValueError(
                    f"image {image}: intersection {intersection}, union {union}; expected 0 <= intersection <= union."
                )
        if self._rows and set(groups) != set(self._groups):
            raise ValueError(
                f"groupings {sorted(groups)} came, {sorted(self._groups)} came before; give the same ones every time."
            )
        self._rows += rows
        for name, names in groups.items():
            self._groups.setdefault(name, []).extend(str(n) for n in names)

    def merge(self, other: Accumulator) -> None:
        """Add everything that another accumulator (of another process) holds.

        Raises:
            ValueError: The other one has another protocol or other groupings.
        """
        if other.protocol != self.protocol:
            raise ValueError(
                f"cannot add scores under protocol {other.protocol.name!r} to scores under {self.protocol.name!r}."
            )
        image, intersections, unions = zip(*other._rows) if other._rows else ((), (), ())
        self.update(intersections, unions, image, other._groups)

    def state(self) -> dict[str, Any]:
        """Everything held, in whole numbers and strings that JSON keeps exactly."""
        return {
            "protocol": asdict(self.protocol),
            "rows": [list(row) for row in self._rows],
            "groups": {name: list(names) for name, names in self._groups.items()},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Accumulator:
        """The inverse of ``state``.

        Raises:
            ValueError: The state lacks an entry or was not written by ``state``.
        """
        if set(state) != {"protocol", "rows", "groups"}:
            raise ValueError(f"the state has {sorted(state)}; expected protocol, rows and groups, as state() writes.")
        grid = state["protocol"]["grid"]
        accumulator = cls(Protocol(**{**state["protocol"], "grid": grid and tuple(grid)}))
        image, intersections, unions = zip(*state["rows"]) if state["rows"] else ((), (), ())
        accumulator.update(intersections, unions, image, state["groups"])
        return accumulator

    def result(self, intervals: bool = True, seed: int = 0, resamples: int = 2000) -> Scores:
        """The scores of all sentences.

        Args:
            intervals: Whether to compute bootstrap intervals.
            seed: Of the resampling.
            resamples: How often the images are drawn anew.

        Raises:
            ValueError: Nothing was accumulated, or there are no resamples to compute intervals from.
        """
        return self._scores(np.arange(len(self._rows)), intervals, seed, resamples)

    def groups(
        self, by: str = "kind", intervals: bool = False, seed: int = 0, resamples: int = 2000
    ) -> dict[str, Scores]:
        """The scores of each group of one grouping, by name in alphabetical order.

        Args:
            by: The grouping.
            intervals: As for ``result``.
            seed: As for ``result``.
            resamples: As for ``result``.

        Raises:
            ValueError: There is no such grouping.
        """
        if by not in self._groups:
            raise unknown("grouping", by, self._groups)
        names = np.array(self._groups[by], dtype=object)
        return {
            name: self._scores(np.flatnonzero(names == name), intervals, seed, resamples) for name in sorted(set(names))
        }

    def _scores(self, chosen: np.ndarray, intervals: bool, seed: int, resamples: int) -> Scores:
        if not len(chosen):
            raise ValueError("nothing was accumulated; call update before asking for scores.")
        if intervals and resamples < 1:
            raise ValueError(f"resamples={resamples}; expected at least 1, or intervals=False.")
        rows = np.array(self._rows, dtype=np.int64)[chosen]
        rows = rows[np.lexsort(rows.T[::-1])]  # by image, intersection, union: any order of updates gives this one
        images, counted, union = rows.T
        iou = np.divide(counted, union, out=np.zeros(len(rows)), where=union > 0)
        reached = [self.protocol.reaches(counted, union, tenths) for tenths in TENTHS.values()]
        _, first = np.unique(images, return_index=True)
        # per image: sentences, intersection, union, sum of IoU, sentences that reach each threshold
        columns = [np.ones(len(rows)), counted, union, iou, *reached]
        table = np.stack([np.add.reduceat(np.asarray(c, np.float64), first) for c in columns], axis=1)
        spread = None
        if intervals and len(first) > 1:
            spread = _intervals(_bootstrap(table, seed, resamples))
        return Scores(
            protocol=self.protocol.name,
            count=len(rows),
            images=len(first),
            miou=math.fsum(iou) / len(rows),
            oiou=int(counted.sum()) / int(union.sum()) if union.any() else 0.0,
            prec={name: int(hit.sum()) / len(rows) for name, hit in zip(TENTHS, reached)},
            intervals=spread,
        )


def resampled(table: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """Sums over images that are drawn with replacement, as many as there are, many times.

    Args:
        table: ``(images, columns)`` float64, what is to be summed.
        seed: Of the drawing; tables of as many images get the same draws.
        resamples: How often all are drawn.

    Returns:
        ``(resamples, columns)`` float64.

    Example:
        >>> resampled(np.array([[1.0, 5.0], [1.0, 5.0]]), seed=0, resamples=2).tolist()
        [[2.0, 10.0], [2.0, 10.0]]
    """
    generator = np.random.default_rng(seed)
    count = len(table)
    step = max(1, _CHUNK // count)
    sums = []
    for begin in range(0, resamples, step):
        size = min(step, resamples - begin)
        drawn = generator.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        sums.append(times.astype(np.float64) @ table)
    return np.concatenate(sums)


def _bootstrap(table: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """Scores of samples of images drawn with replacement: (resamples, 7), mIoU, oIoU, five precisions."""
    total = resampled(table, seed, resamples)
    sentences, counted, union = total[:, :1], total[:, 1:2], total[:, 2:3]
    overall = np.divide(counted, union, out=np.zeros_like(union), where=union > 0)
    return np.concatenate([total[:, 3:4] / sentences, overall, total[:, 4:] / sentences], axis=1)


def _intervals(samples: np.ndarray) -> dict[str, Any]:
    """The middle 95 % of each score."""
    bounds = np.quantile(samples, [0.025, 0.975], axis=0).T.tolist()
    return {"miou": bounds[0], "oiou": bounds[1], "prec": dict(zip(TENTHS, bounds[2:]))}


def _whole(name: str, values: Iterable[int]) -> list[int]:
    """As Python's whole numbers; floats are refused, even 3.0."""
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(f"{name} is {array.dtype} of shape {array.shape}; expected a list of whole numbers.")
    return array.tolist()
