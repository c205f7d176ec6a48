"""The best of each name, in a JSON file that several calls may write one after the other."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock

from ris_lib.engine.run import write_json
from ris_lib.engine.submission import Rules, Verdict

#: What every entry says.
_ENTRY = {"name", "kept", "broken", "miou", "interval", "prec50", "gain", "model", "tries"}
_WHAT = "a leaderboard that `ris eval --submission` wrote"


def read_board(path: str | Path) -> dict[str, Any]:
    """The leaderboard in a file.

    Returns:
        ``key`` (the fingerprint of the sealed split's key), ``pictures``, ``rules`` and ``entries``, best first.

    Raises:
        ValueError: The file holds none.
    """
    path = Path(path)
    try:
        board = json.loads(path.read_text(encoding="utf-8"))
        entries = board["entries"]
        complete = {"key", "pictures", "rules"} <= set(board) and all(set(entry) >= _ENTRY for entry in entries)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged or something else ({error!r}); expected {_WHAT}.") from error
    if not complete:
        raise ValueError(f"{path} lacks entries; expected {_WHAT}.")
    return board


def open_board(path: str | Path, key: str, pictures: int, rules: Rules) -> dict[str, Any]:
    """The leaderboard for scores of one sealed split by one set of rules; an empty one where there is no file.

    A board is of one split and of one set of rules; what else comes is refused, since it could not be compared.

    Args:
        path: The file.
        key: The fingerprint of the sealed split's key.
        pictures: Of the split.
        rules: Of the scores.

    Returns:
        As ``read_board``.

    Raises:
        ValueError: The board is of another key, other rules or another number of pictures, or the file is damaged.
    """
    path = Path(path)
    about = {"key": key, "pictures": pictures, "rules": asdict(rules)}
    if not path.is_file():
        return {**about, "entries": []}
    board = read_board(path)
    there, here = _flat(board), _flat(about)
    if there != here:
        names = [name for name in {**here, **there} if here.get(name) != there.get(name)]
        differing = "; ".join(f"{name} is {there.get(name)} there, {here.get(name)} here" for name in names)
        raise ValueError(f"{path} is a board of other scores ({differing}); take another file.")
    return board


def _flat(about: dict[str, Any]) -> dict[str, Any]:
    """What a board is about, each rule by its name."""
    rules = about["rules"] if isinstance(about["rules"], dict) else {"rules": about["rules"]}
    return {
        "key": about["key"],
        "pictures": about["pictures"],
        **{f"rule {name}": rule for name, rule in rules.items()},
    }


def enter(path: str | Path, verdict: Verdict) -> dict[str, Any]:
    """Put a verdict on a leaderboard: the best of each name that kept to the rules stays, tries are counted.

    Counting tries is the only guard against learning the sealed split from its scores: look at them.

    Args:
        path: The file; it is made where it does not exist.
        verdict: What ``score_submission`` returned.

    Returns:
        The board as it is now, as ``read_board`` does.

    Raises:
        ValueError: As for ``open_board``.
    """
    path, result = Path(path), verdict.result
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        board = open_board(path, result.fixed_by["key"], result.counts["images"], verdict.rules)
        entries = {entry["name"]: entry for entry in board["entries"]}
        before = entries.get(verdict.name)
        entry = _entry(verdict)
        if before is not None and (before["kept"], before["miou"]) >= (entry["kept"], entry["miou"]):
            entry = before
        entries[verdict.name] = {**entry, "tries": 1 + (before["tries"] if before is not None else 0)}
        board["entries"] = sorted(entries.values(), key=lambda e: (-e["kept"], -e["miou"], e["name"]))
        write_json(path, board)
    return board


def _entry(verdict: Verdict) -> dict[str, Any]:
    scores = verdict.result.scores
    return {
        "name": verdict.name,
        "kept": verdict.kept,
        "broken": [check.rule for check in verdict.checks if not check.kept],
        "miou": scores.miou,
        "interval": None if scores.intervals is None else list(scores.intervals["miou"]),
        "prec50": scores.prec["0.5"],
        "gain": [verdict.gain.gain, verdict.gain.low, verdict.gain.high],
        "model": verdict.result.model,
    }
