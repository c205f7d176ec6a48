"""What a run writes down while it goes: a line of numbers for each step, as CSV, as curves and on the progress bar."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from accelerate import Accelerator
from tqdm import tqdm

from ris_lib.data.cache import atomic_write
from ris_lib.engine import run

Row = Mapping[str, float | int]


class MetricsFile:
    """A CSV file with one line for each step.

    Lines of steps that are to be done again, and a line that a killed process left half-written, are removed at the
    beginning.

    Args:
        path: The file.
        columns: Names; the first is ``step``, counted from 1: the number of steps that were done.
        done: Number of steps that were done before.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "metrics.csv"
        >>> with MetricsFile(path, ["step", "loss"]) as metrics:
        ...     metrics.write({"step": 1, "loss": 0.5})
        ...     metrics.write({"step": 2, "loss": 0.25})
        >>> with MetricsFile(path, ["step", "loss"], done=1) as metrics:
        ...     metrics.write({"step": 2, "loss": 0.125})
        >>> path.read_text().split()
        ['step,loss', '1,0.5', '2,0.125']
    """

    def __init__(self, path: Path, columns: Sequence[str], done: int = 0):
        self.columns = list(columns)
        with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as new:
            writer = csv.writer(new, lineterminator="\n")
            writer.writerow(self.columns)
            writer.writerows(self._kept(path, done))
        self._file = path.open("a", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, self.columns, lineterminator="\n")

    def write(self, row: Mapping[str, float | int]) -> None:
        """Add a line; what is not given stays empty. It is in the file when this returns."""
        self._writer.writerow(dict(row))
        self._file.flush()

    def _kept(self, path: Path, done: int) -> list[list[str]]:
        if not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as old:
            rows = [row for row in csv.reader(old) if len(row) == len(self.columns) and row[0].isdigit()]
        return [row for row in rows if int(row[0]) <= done]

    def __enter__(self) -> MetricsFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


@contextlib.contextmanager
def recorder(
    accelerator: Accelerator, folder: Path, columns: Sequence[str], done: int, steps: int, progress: bool
) -> Iterator[Callable[[Row], None]]:
    """Open the CSV file, TensorBoard and the progress bar of a run; only the main process writes.

    Args:
        accelerator: Its trackers are started here and ended at the end of the block.
        folder: The run.
        columns: As for ``MetricsFile``.
        done: Number of steps that were done before.
        steps: Number of steps of the whole run.
        progress: Show the bar.

    Yields:
        A function that takes the row of a step.
    """
    main = accelerator.is_main_process
    accelerator.init_trackers(run.TENSORBOARD, init_kwargs={"tensorboard": {"purge_step": done + 1}})
    with (
        MetricsFile(folder / run.METRICS, columns, done) if main else contextlib.nullcontext() as metrics,
        tqdm(desc=folder.name, initial=done, total=steps, unit="step", disable=not (progress and main)) as bar,
    ):

        def record(row: Row) -> None:
            accelerator.log({name: value for name, value in row.items() if name != "step"}, step=int(row["step"]))
            if metrics is not None:
                metrics.write(row)
            bar.set_postfix_str(f"loss {row['loss']:.3f}", refresh=False)
            bar.update()

        try:
            yield record
        finally:
            accelerator.end_training()
