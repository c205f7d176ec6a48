"""How fast this library is on this machine: five subjects, and a file that another measurement can be set beside.

``data`` (``bench_data``), ``index`` (``bench_index``), ``metrics`` (``bench_metrics``) and ``train`` (``bench_train``)
are measured here; ``models`` (``bench_models``) have a form of their own. ``bench_against`` compares two files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ris_lib._names import unknown
from ris_lib.engine.bench_data import STORAGES, measure_data
from ris_lib.engine.bench_index import measure_index
from ris_lib.engine.bench_metrics import measure_metrics
from ris_lib.engine.bench_train import DEFAULT_MODEL, measure_train

#: What ``measure`` can measure.
SUBJECTS = ("data", "index", "metrics", "train")

_AT_LEAST = {"workers": 0, "sizes": 1, "scales": 1, "batches": 1, "sentences": 1}
_DECIDING = {
    "data": ("workers", "sizes", "storages"),
    "index": ("scales",),
    "models": ("batches", "sentences", "precisions"),
    "train": ("trained", "batches", "precisions"),
}
_NAMES = {"sizes": "size", "scales": "scale", "batches": "batch"}  # of the flags


@dataclass(frozen=True)
class Settings:
    """What is measured, and for how long.

    Args:
        seconds: Time for each number.
        patience: A number that needs more seconds for its five rounds is measured once.
        device: Of models and training steps.
        workers: Numbers of processes that make batches.
        sizes: Sides of the network's picture for ``data``, in pixels.
        storages: Where ``data`` has its pictures, out of ``bench_data.STORAGES``.
        root: Folder of RefCOCO with photographs, for ``data``.
        scales: Sizes of the data set for ``index``, in times RefCOCO's.
        trained: Models of ``train``.
        batches: Numbers of pictures at once, of models and training steps.
        sentences: Numbers of sentences of each picture, of models.
        precisions: Number formats, out of ``bench_models.PRECISIONS``.

    Raises:
        ValueError: A number is out of range, nothing is left to measure, or a storage is not known.

    Example:
        >>> Settings(scales=(1, 2, 4)).workers
        (0,)
    """

    seconds: float = 1.0
    patience: float = 20.0
    device: str = "cpu"
    workers: tuple[int, ...] = (0,)
    sizes: tuple[int, ...] = (96, 480)
    storages: tuple[str, ...] = STORAGES
    root: Path | None = None
    scales: tuple[int, ...] = (1,)
    trained: tuple[str, ...] = (DEFAULT_MODEL,)
    batches: tuple[int, ...] = (1,)
    sentences: tuple[int, ...] = (1,)
    precisions: tuple[str, ...] = ("fp32",)

    def __post_init__(self) -> None:
        for name in ("seconds", "patience"):
            if not 0 < (value := getattr(self, name)) < float("inf"):
                raise ValueError(f"--{name} {value}; expected a positive number.")
        for name, least in _AT_LEAST.items():
            values = getattr(self, name)
            if not values or min(values) < least:
                flag = f"--{_NAMES.get(name, name)} {' '.join(map(str, values))}".strip()
                raise ValueError(f"{flag}; expected numbers of at least {least}.")
        for storage in self.storages:
            if storage not in STORAGES:
                raise unknown("storage", storage, STORAGES)

    def asked(self, subjects: Collection[str]) -> dict[str, Any]:
        """What decides which numbers there are, as JSON can hold it: files can be compared where this is equal.

        Args:
            subjects: Out of ``SUBJECTS``, and ``models``.

        Example:
            >>> Settings().asked(["index"])
            {'subjects': ['index'], 'scales': [1]}
        """
        names = {name: None for subject in subjects for name in _DECIDING.get(subject, ())}
        values: dict[str, Any] = {name: list(getattr(self, name)) for name in names}
        if "data" in subjects:
            values["photographs"] = self.root is not None
        return {"subjects": sorted(subjects), **values}


def measure(subject: str, settings: Settings | None = None) -> Iterator[dict[str, Any]]:
    """Measure one subject.

    Args:
        subject: One of ``SUBJECTS``.
        settings: By default those of ``Settings``.

    Yields:
        Entries with ``subject``, ``what``, ``value``, ``low``, ``high``, ``unit`` and ``rounds``, and some of
        ``memory_bytes`` and ``peak_bytes``, as JSON can hold them.

    Raises:
        ValueError: There is no such subject; or as for the function that measures it.

    Example:
        >>> entry, *_ = measure("metrics", Settings(seconds=0.01))
        >>> entry["subject"], entry["unit"], entry["rounds"]
        ('metrics', 's', 5)
    """
    if subject not in SUBJECTS:
        raise unknown("subject", subject, SUBJECTS)
    asked = settings or Settings()
    entries = {
        "data": lambda: measure_data(asked.seconds, asked.workers, asked.sizes, asked.storages, asked.root),
        "index": lambda: measure_index(asked.scales),
        "metrics": lambda: measure_metrics(asked.seconds),
        "train": lambda: measure_train(
            asked.trained, asked.device, asked.batches, asked.precisions, asked.seconds, asked.patience
        ),
    }[subject]()
    for entry in entries:
        yield {"subject": subject, **entry}
