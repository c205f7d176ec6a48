"""The index: one table per data set, one row per ref (an object with all its sentences).

Every data set, drawn or photographed, is turned into this table once and kept as an Arrow file; later loads map it into
memory, which takes a millisecond and no memory however long the table is: rows are read from the file when they are
asked for. Pictures stay files. This page is the only one that knows the columns.

Source: our decision. The row is the ref because the official split files count refs, and because an object's mask is
stored once however many sentences mean it. Not Parquet, which is a third of the size but has to be decoded: 0.1 s and
90 MB for RefCOCO. Nothing here calls what makes Arrow import pandas (``pa.array``, ``to_numpy``): a second for nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from ris_lib._names import unknown
from ris_lib.data.cache import atomic_write

pc: Any = pyarrow.compute  # its functions are made when it is imported, where no type checker sees them

#: Version of the table: a change of columns or of their meaning changes it, and older files are refused.
VERSION = "2"
_VERSION_KEY = b"ris_lib.index"

#: The columns. ``box`` is xyxy in pixels; ``rle`` holds the counts of a compressed run-length mask whose size is
#: ``(height, width)``, null = no mask; ``height`` and ``width`` are null where the picture's size is not known.
SCHEMA = pa.schema(
    [
        ("dataset", pa.string()),
        ("split", pa.string()),
        ("split_by", pa.string()),
        ("image_id", pa.int64()),
        ("file_name", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("ref_id", pa.int64()),
        ("referent_id", pa.int64()),
        ("category", pa.string()),
        ("crowd", pa.bool_()),
        ("box", pa.list_(pa.float32(), 4)),
        ("rle", pa.binary()),
        ("sentences", pa.list_(pa.string())),
        ("sentence_ids", pa.list_(pa.int64())),
        ("kinds", pa.list_(pa.string())),
    ],
    metadata={_VERSION_KEY: VERSION.encode()},
)
_MAY_BE_NULL = {"height", "width", "rle"}


class Index:
    """A table of refs, read-only.

    Args:
        table: Columns as in ``SCHEMA``.

    Example:
        >>> row = dict(dataset="d", split="val", split_by="", image_id=7, file_name="7.png", height=2, width=2,
        ...            ref_id=1, referent_id=1, category="cup", crowd=False, box=[0, 0, 1, 1], rle=None,
        ...            sentences=["a cup", "the cup"], sentence_ids=[1, 2], kinds=["", ""])
        >>> index = Index.from_rows([row, row | {"split": "test"}])
        >>> index.filter(split="val").counts()
        {'images': 1, 'refs': 1, 'sentences': 2}
    """

    def __init__(self, table: pa.Table):
        self.table = table.combine_chunks()

    @classmethod
    def from_rows(cls, rows: Iterable[dict[str, Any]]) -> Index:
        """Make an index of dictionaries, one per ref, whose keys are the columns of ``SCHEMA``.

        Raises:
            ValueError: A row lacks a column or has one too many, holds a null where none is allowed, has no sentence or
                lists of different lengths, or a mask without the picture's size.
        """
        rows = list(rows)
        for row in rows:
            _check_row(row)
        try:
            return cls(pa.Table.from_pylist(rows, schema=SCHEMA))
        except (pa.ArrowException, OverflowError) as error:
            raise ValueError(f"a row of the index has a value of the wrong type: {error}.") from error

    def __len__(self) -> int:
        """Number of rows, that is of refs."""
        return self.table.num_rows

    def row(self, number: int) -> dict[str, Any]:
        """One row as a dictionary of Python values."""
        return self.table.slice(number, 1).to_pylist()[0]

    def rows(self, numbers: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
        """Several rows as dictionaries, in the given order."""
        return self.table.take(_positions(numbers)).to_pylist()

    def take(self, numbers: Sequence[int] | np.ndarray) -> Index:
        """The index that holds these rows in this order; neighbours in order are not copied."""
        numbers = np.asarray(numbers, dtype=np.int64)
        if len(numbers) and 0 <= numbers[0] <= numbers[-1] < len(self) and (np.diff(numbers) == 1).all():
            return Index(self.table.slice(int(numbers[0]), len(numbers)))
        return Index(self.table.take(_positions(numbers)))

    def column(self, name: str) -> list[Any]:
        """One column as Python values.

        Raises:
            ValueError: There is no such column.
        """
        if name not in SCHEMA.names:
            raise unknown("column", name, SCHEMA.names)
        return self.table[name].to_pylist()

    def filter(self, **wanted: Any) -> Index:
        """The rows whose columns equal the given values.

        Args:
            wanted: Column name and value, or a collection of values of which one has to fit.

        Raises:
            ValueError: There is no such column, or it holds lists.
        """
        index = self
        for name, value in wanted.items():
            if name not in SCHEMA.names:
                raise unknown("column", name, SCHEMA.names)
            if pa.types.is_nested(SCHEMA.field(name).type):
                raise ValueError(f"the column {name!r} holds lists; filter by another.")
            values = list(value) if isinstance(value, Collection) and not isinstance(value, str) else [value]
            coded = pc.dictionary_encode(_whole(index.table[name]), null_encoding="encode")
            keep = [code for code, found in enumerate(coded.dictionary.to_pylist()) if found in values]
            index = index.take(np.flatnonzero(np.isin(_numbers(coded.indices, np.int32), keep)))
        return index

    def counts(self) -> dict[str, int]:
        """Number of ``images``, ``refs`` and ``sentences``."""
        return {
            "images": pc.count_distinct(self.table["image_id"]).as_py(),
            "refs": len(self),
            "sentences": pc.sum(pc.list_value_length(self.table["sentences"])).as_py() or 0,
        }

    def by_image(self) -> list[np.ndarray]:
        """Row numbers of each image: images in order of first appearance, rows of one image in order."""
        image_ids = _numbers(_whole(self.table["image_id"]), np.int64)
        if not len(image_ids):
            return []
        _, first, member = np.unique(image_ids, return_index=True, return_inverse=True)
        groups = np.split(np.argsort(member, kind="stable"), np.cumsum(np.bincount(member))[:-1])
        return [groups[k] for k in np.argsort(first)]

    def sentences(self) -> list[str]:
        """All sentences, row after row."""
        return pc.list_flatten(self.table["sentences"]).to_pylist()

    def without_mask(self) -> int:
        """Number of refs that have no mask."""
        return self.table["rle"].null_count


def _positions(numbers: Sequence[int] | np.ndarray) -> pa.Array:
    """Row numbers for Arrow."""
    values = np.ascontiguousarray(numbers, dtype=np.int64)
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values)])


def _numbers(column: pa.Array, kind: type[np.integer]) -> np.ndarray:
    """A column without nulls, where it lies."""
    if not len(column):
        return np.empty(0, kind)
    return np.frombuffer(column.buffers()[1], kind, len(column), column.offset * np.dtype(kind).itemsize)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """A column of an index in one piece, which it is already."""
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _check_row(row: dict[str, Any]) -> None:
    """Refuse what Arrow would take silently (a missing key becomes null)."""
    if row.keys() != set(SCHEMA.names):
        wrong = sorted(row.keys() ^ set(SCHEMA.names))
        raise ValueError(f"a row of the index lacks, or has too much of: {', '.join(wrong)}. See index.SCHEMA.")
    what = f"ref {row['ref_id']} of {row['dataset']}"
    if nulls := sorted(name for name, value in row.items() if value is None and name not in _MAY_BE_NULL):
        raise ValueError(f"{what} has no {', '.join(nulls)}; only {', '.join(sorted(_MAY_BE_NULL))} may be None.")
    lengths = {name: len(row[name]) for name in ("sentences", "sentence_ids", "kinds")}
    if not row["sentences"] or len(set(lengths.values())) > 1:
        raise ValueError(f"{what} has {lengths}; expected the same number of each, at least one.")
    if row["rle"] is not None and (row["height"] is None or row["width"] is None):
        raise ValueError(f"{what} has a mask, but the size of its picture is not known; give height and width.")


def save_index(rows: Iterable[dict[str, Any]] | Index, path: str | Path) -> Path:
    """Write an index as one Arrow file, whole or not at all.

    Args:
        rows: Dictionaries with the columns of ``SCHEMA``, or an index.
        path: The file's name.

    Returns:
        ``path``.

    Raises:
        ValueError: As for ``Index.from_rows``.
    """
    index = rows if isinstance(rows, Index) else Index.from_rows(rows)
    path = Path(path)
    table = index.table.replace_schema_metadata(SCHEMA.metadata)
    with (
        atomic_write(path) as partial,
        pa.OSFile(str(partial), "wb") as file,
        pa.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table)
    return path


def load_index(path: str | Path) -> Index:
    """Map an index into memory.

    Args:
        path: A file that ``save_index`` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not an index, is damaged, or was written by another version of this library.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no index at {path}; expected a file written by ris_lib.data.index.save_index.")
    try:
        with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
            table = reader.read_all()
            table.validate()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is no readable index ({error}); delete it and build it again.") from error
    version = (table.schema.metadata or {}).get(_VERSION_KEY, b"none").decode(errors="replace")
    if version != VERSION or not table.schema.equals(SCHEMA):
        raise ValueError(
            f"{path} is an index of version {version}; this library reads version {VERSION}. "
            "Delete it and build it again."
        )
    return Index(table)
