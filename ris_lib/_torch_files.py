"""A look at a file of ``torch.save`` before torch opens it: what it names, and whether it is larger than it looks.

``torch.load(weights_only=True)`` runs no foreign code. It does make room for whatever a file asks of it: an array of
zeros of any size from sixty bytes, weights packed a thousandfold, the same bytes under a thousand names. torch writes
none of these, so a file that holds one is refused.

Source: the format of ``torch.save``; the list of names is our decision.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ris_lib._shown import plain

#: What weights, settings and an optimiser's state are made of.
_NAMES = re.compile(
    r"torch\.(\w+Storage|storage\.(Unt|T)ypedStorage|Size|device|b?float\w*|u?int\w*|complex\w*|bool|half|double|long)"
    r"|torch\._utils\._rebuild_(tensor(_v2|_v3)?|parameter(_with_state)?)|torch\.nn\.parameter\.Parameter"
    r"|collections\.(OrderedDict|Counter)|_codecs\.encode|(builtins|__builtin__)\.(set|complex|object)"
    r"|argparse\.Namespace|numpy\.(dtype|dtypes\.\w+|_?core\.multiarray\.scalar)"
)

#: How an archive begins.
_ARCHIVE = b"PK\x03\x04"

#: Pickles at the beginning of a file of torch before 1.6: mark, version, machine, content, names of storages.
_OLD_PICKLES = 5


def check_torch_file(path: Path) -> None:
    """Refuse a file whose reading could take more memory than its size explains.

    Args:
        path: A file of ``torch.save``, of any version.

    Raises:
        ValueError: It names something else than weights, settings and numbers are made of; its parts are packed or
            overlap; a checksum does not fit.
        zipfile.BadZipFile: It begins like an archive and is none.

    Example:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp()) / "weights.pt"
        >>> torch.save({"room": bytearray(3)}, path)
        >>> check_torch_file(path)
        Traceback (most recent call last):
            ...
        ValueError: it holds an object of ...bytearray
    """
    with path.open("rb") as file:
        archive = file.read(len(_ARCHIVE)) == _ARCHIVE  # as torch decides, whatever stands further on
        file.seek(0)
        names = _from_archive(path) if archive else _from_pickles(file, _OLD_PICKLES)
        for name in dict.fromkeys(names):
            if not _NAMES.fullmatch(name):
                raise ValueError(f"it holds an object of {plain(name)}")


def _from_archive(path: Path) -> Iterator[str]:
    """The names in the pickle of an archive, after a look at its entries."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if packed := [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]:
            raise ValueError(f"its part {plain(packed[0])} is packed, which torch never does")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("its parts are together larger than the file")
        if (broken := archive.testzip()) is not None:  # torch itself does not compare the checksums
            raise ValueError(f"the checksum of {plain(broken)} does not fit")
        for entry in entries:
            if entry.filename.endswith("data.pkl"):
                with archive.open(entry) as file:
                    yield from _from_pickles(file, 1)


def _from_pickles(file: IO[bytes], count: int) -> Iterator[str]:
    """The names in pickles that stand behind one another; up to where one is damaged, which torch will say."""
    try:
        for _ in range(count):
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name in ("GLOBAL", "INST"):
                    yield str(argument).replace(" ", ".")
    except ValueError:
        return
