"""Two measurements of ``ris bench``, one beside the other.

Source: our decision. A ratio says how many times as fast the first one is as the second, whatever the unit, so that
above 1 is always better; of memory, how much the first one needs of what the second one needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ris_lib.engine.bench_models import run_name

#: What both must agree on, or the reader is told.
_SURROUNDINGS = ("cpu", "device", "threads", "platform", "python", "ris_lib", "revision", "versions")

Key = tuple[str, str, str]  # subject, what, unit


def read_bench(path: str | Path) -> dict[str, Any]:
    """Read a file that ``ris bench --json`` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such file, or one of an older version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; expected one that `ris bench --json {path}` wrote.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no readable JSON ({error}); measure again.") from error
    lists = ("results", "models")
    if not isinstance(values, dict) or not all(isinstance(values.get(name), list) for name in lists):
        raise ValueError(f"{path} was not written by `ris bench --json`: it has no lists results and models.")
    if not isinstance(values.get("asked"), dict):
        raise ValueError(f"{path} does not say what was asked for: it is of an older version. Measure again.")
    return values


def check_asked(asked: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Refuse a comparison of different numbers before anything is measured.

    Args:
        asked: What is to be measured.
        before: What the other file has measured.

    Raises:
        ValueError: They differ; the message says in what.

    Example:
        >>> check_asked({"subjects": ["data"]}, {"subjects": ["data"]})
    """
    asked = json.loads(json.dumps(asked))  # tuples are lists in a file
    differing = [
        f"{name}: {asked.get(name)} here, {before.get(name)} there"
        for name in dict.fromkeys((*asked, *before))
        if asked.get(name) != before.get(name)
    ]
    if differing:
        raise ValueError(
            f"--against: the file holds other measurements than were asked for ({'; '.join(differing)}). Measure the "
            "same ones."
        )


def entries_of(values: Mapping[str, Any]) -> dict[Key, dict[str, Any]]:
    """All numbers of a measurement, those of models too, by subject, name and unit.

    Returns:
        For each ``value`` and ``memory_bytes``; either may be None.

    Example:
        >>> entry = {"subject": "data", "what": "draw", "unit": "pictures/s", "value": 2.0}
        >>> entries_of({"results": [entry], "models": []})
        {('data', 'draw', 'pictures/s'): {'value': 2.0, 'memory_bytes': None}}
    """
    found = {}
    for entry in values["results"]:
        memory = entry.get("memory_bytes", entry.get("peak_bytes"))
        found[entry["subject"], entry["what"], entry["unit"]] = {"value": entry["value"], "memory_bytes": memory}
    for model in values["models"]:
        for run in model["runs"]:
            for part in ("forward", "training"):
                what = f"{run_name(model['name'], run)}: {part}"
                found["models", what, "s"] = {"value": run[f"{part}_s"], "memory_bytes": run[f"{part}_bytes"]}
    return found


def compare(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Set one measurement beside another.

    Args:
        now: As ``ris bench --json`` writes it.
        before: Another one.

    Returns:
        ``differences``: lines that say in what machines, versions and threads differ. ``ratios``: ``subject``,
        ``what``, ``unit``, ``now``, ``before``, ``times_as_fast``, ``memory_ratio``; None where one has no number.

    Raises:
        ValueError: They do not hold the same entries.

    Example:
        >>> entry = {"subject": "data", "what": "draw", "unit": "s", "value": 2.0}
        >>> before = {"results": [entry], "models": []}
        >>> compare({"results": [entry | {"value": 0.5}], "models": []}, before)["ratios"][0]["times_as_fast"]
        4.0
    """
    ours, theirs = entries_of(now), entries_of(before)
    if ours.keys() != theirs.keys():
        only_here, only_there = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
        raise ValueError(
            f"the measurements hold different entries; only here: {_names(only_here)}; only there: "
            f"{_names(only_there)}. Measure the same ones with the same version."
        )
    ratios = []
    for (subject, what, unit), entry in ours.items():
        other = theirs[subject, what, unit]
        fast = _ratio(entry["value"], other["value"])
        ratios.append(
            {
                "subject": subject,
                "what": what,
                "unit": unit,
                "now": entry["value"],
                "before": other["value"],
                "times_as_fast": 1 / fast if unit == "s" and fast else fast,
                "memory_ratio": _ratio(entry["memory_bytes"], other["memory_bytes"]),
            }
        )
    return {"differences": list(_differences(now, before)), "ratios": ratios}


def _names(keys: Sequence[Key]) -> str:
    shown = ", ".join(f"{subject}: {what}" for subject, what, _ in keys[:3])
    return f"{shown}{f' and {len(keys) - 3} more' if len(keys) > 3 else ''}" or "nothing"


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours is not None and theirs else None


def _differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    """What else could explain a ratio."""
    for name in _SURROUNDINGS:
        ours, theirs = now.get(name), before.get(name)
        if name == "versions":
            ours, theirs = ours or {}, theirs or {}
            for package in sorted(ours.keys() | theirs.keys()):
                if ours.get(package) != theirs.get(package):
                    yield f"{package} {ours.get(package)} here, {theirs.get(package)} there"
        elif ours != theirs:
            yield f"{name} {ours} here, {theirs} there"
