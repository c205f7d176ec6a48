"""Where the official files are: the one table of addresses, sizes and checksums, ``sources.json`` beside this module.

The host that the authors named has been silent since 2022; what is listed are copies of its files in the Internet
Archive, and COCO's own host for the photographs. The SHA-256 of each of the three archives of annotations was stated by
two public repositories that do not depend on each other. None was fetched by us: whatever arrives is checked before it
is used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ris_lib._names import unknown

TABLE = Path(__file__).with_name("sources.json")

#: Names another table of the same form: an institute's own mirror, or a small copy for tests.
VARIABLE = "RIS_SOURCES"


@dataclass(frozen=True)
class Source:
    """One file, or one kind of file, and where it can be had.

    Args:
        file: Its name. ``{file_name}`` stands for the name of one photograph.
        addresses: Where it is, best first; the same placeholder.
        sha256: Of its content, in hexadecimal digits; empty = not known.
        md5: The same for files of which only this is known.
        size: In bytes; None = not known.
        members: What an archive must hold: path -> SHA-256, or as many of its first digits as are known.

    Raises:
        ValueError: There is no address, or a checksum holds something else than hexadecimal digits.

    Example:
        >>> Source("a.zip", ("https://example.org/a.zip",)).of("b.jpg").file
        'a.zip'
    """

    file: str
    addresses: tuple[str, ...]
    sha256: str = ""
    md5: str = ""
    size: int | None = None
    members: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self):
        if not self.addresses or not all(a.startswith(("http://", "https://")) for a in self.addresses):
            raise ValueError(
                f"{self.file} has the addresses {self.addresses!r}; expected one or more of http or https."
            )
        for digits in (self.sha256, self.md5, *self.members.values()):
            if digits.strip("0123456789abcdef"):
                raise ValueError(f"{self.file}: {digits!r} is no checksum; expected small hexadecimal digits.")

    def of(self, file_name: str) -> Source:
        """The source of one photograph."""
        put = lambda text: text.replace("{file_name}", file_name)  # noqa: E731
        return replace(self, file=put(self.file), addresses=tuple(map(put, self.addresses)))


def sources(path: str | Path | None = None) -> dict[str, Source]:
    """The table.

    Args:
        path: A file of the same form; None = the one that ``RIS_SOURCES`` names, or the one that ships.

    Returns:
        By name: ``refcoco``, ``refcoco+``, ``refcocog``, ``train2014`` (all photographs), ``photographs`` (each alone).

    Raises:
        ValueError: The file is no such table.
        FileNotFoundError: There is no such file.

    Example:
        >>> sources()["refcocog"].size
        56712951
    """
    path = Path(path or os.environ.get(VARIABLE) or TABLE)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {name: Source(**entry | {"addresses": tuple(entry["addresses"])}) for name, entry in entries.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is no table of sources ({error}); expected the form of {TABLE}.") from error


def source(name: str) -> Source:
    """One entry of the table.

    Raises:
        ValueError: There is no such entry.
    """
    table = sources()
    if name not in table:
        raise unknown("source", name, table)
    return table[name]
