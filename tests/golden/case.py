"""One golden file, and the table of adapters: which of our functions answers for which component.

An adapter takes a ``Case`` and returns our numbers under the names that the file lists. A new family of components is a
new file ``*_cases.py`` in this folder; ``check.py`` imports them all.
"""

from __future__ import annotations

import json
import os
import runpy
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch


class MissingDataError(Exception):
    """The case needs real data that this machine does not have: it is skipped, counted, said."""


@dataclass
class Case:
    """One golden file.

    Args:
        path: The file.
        meta: Its ``meta`` entry: component, config, outputs, tolerance, notes.
        inputs: ``in/*`` by name; for a JSON file all its entries but ``meta``.
        expected: ``out/*`` by name; for a JSON file the entries that ``meta`` lists as outputs.
        weights: ``w/*`` by official state-dict key.
        shapes: Names and shapes of the official weights, where the file stores no weights.
    """

    path: Path
    meta: dict[str, Any]
    inputs: dict[str, Any] = field(default_factory=dict)
    expected: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def official_weights(self) -> dict[str, torch.Tensor]:
        """The official weights: those of the file, or made by the folder's ``formula.py`` from names and shapes."""
        if self.weights:
            return {name: torch.from_numpy(np.array(value)) for name, value in self.weights.items()}
        return self._filled(self.shapes)

    def official_checkpoint(self, keys_file: str) -> dict[str, dict[str, torch.Tensor]]:
        """State dicts by name, of a whole network, made by the folder's ``formula.py``. Integer buffers are left out.

        Args:
            keys_file: The file of the folder that lists names, shapes and types.
        """
        listed = json.loads((self.path.parent / keys_file).read_text(encoding="utf-8"))["state_dicts"]
        shapes = {
            part: {name: tuple(spec["shape"]) for name, spec in entries.items() if "float" in spec["dtype"]}
            for part, entries in listed.items()
        }
        return {part: self._filled(entries) for part, entries in shapes.items()}

    def _filled(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
        fill = runpy.run_path(str(self.path.parent / "formula.py"))["fill"]
        return {name: torch.from_numpy(fill(name, shape)) for name, shape in shapes.items()}

    @property
    def component(self) -> str:
        """What the file is about, such as ``metrics.lavt_480``."""
        return self.meta["component"]

    @property
    def config(self) -> dict[str, Any]:
        """Sizes, flags and names that shape the problem."""
        return self.meta.get("config", {})

    def data_folder(self) -> Path:
        """The real data that ``config["data"]`` names, relative to the file's folder.

        ``../data/NAME`` is looked for in the folder that RIS_TEST_DATA names first.

        Raises:
            MissingDataError: It is in neither place.
        """
        name = self.config["data"].split(" ")[0]
        beside = self.path.parent / name
        places = [beside]
        if name.startswith("../data/") and os.environ.get("RIS_TEST_DATA"):
            places.insert(0, Path(os.environ["RIS_TEST_DATA"]) / name.removeprefix("../data/"))
        for place in places:
            if place.is_dir():
                return place
        raise MissingDataError(f"no {' and no '.join(map(str, places))}")


Adapter = Callable[[Case], dict[str, Any]]

#: Our answer to each component, by its name.
ADAPTERS: dict[str, Adapter] = {}

#: Outputs that are not compared, by component, because they are not what this library promises.
NOT_COMPARED: dict[str, tuple[str, ...]] = {}


def adapter(*components: str, without: tuple[str, ...] = ()) -> Callable[[Adapter], Adapter]:
    """Register a function as the answer to some components.

    Args:
        components: Their names.
        without: Outputs that are not compared; ``check.py`` names them in its line.
    """

    def register(function: Adapter) -> Adapter:
        for component in components:
            ADAPTERS[component] = function
            NOT_COMPARED[component] = without
        return function

    return register


def read_case(path: Path) -> Case | None:
    """Read a golden file.

    Returns:
        The case, or None for a JSON file that is no case (no ``meta``, or a table of state-dict keys, ``keys_*``).

    Raises:
        ValueError: The file cannot be read or lacks its ``meta``.
    """
    return _read_json(path) if path.suffix == ".json" else _read_npz(path)


def _read_npz(path: Path) -> Case:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"cannot be read: {error}") from error
    if "meta" not in arrays:
        raise ValueError("has no meta entry")
    case = Case(path, _checked(json.loads(str(arrays["meta"]))))
    for name, array in arrays.items():
        room = {"in": case.inputs, "out": case.expected, "w": case.weights}.get(name.split("/")[0])
        if room is not None and "/" in name:
            room[name.split("/", 1)[1]] = array
    if "keys" in arrays:
        case.shapes = {str(n): tuple(json.loads(str(s))) for n, s in zip(arrays["keys"], arrays["shapes"])}
    return case


def _read_json(path: Path) -> Case | None:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"cannot be read: {error}") from error
    meta = content.get("meta") if isinstance(content, dict) else None
    if meta is None or path.name.startswith("keys_"):
        return None
    names = _checked(meta)["outputs"]
    return Case(
        path,
        meta,
        inputs={name: value for name, value in content.items() if name != "meta" and name not in names},
        expected={name: value for name, value in content.items() if name in names},
    )


def _checked(meta: Any) -> dict[str, Any]:
    lacking = [key for key in ("component", "outputs") if not isinstance(meta, dict) or not meta.get(key)]
    if lacking:
        raise ValueError(f"meta lacks {' and '.join(lacking)}")
    return meta
