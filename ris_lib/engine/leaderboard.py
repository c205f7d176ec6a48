"""The best of each name, in a JSON file that several calls may write one after the other."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock

from ris_lib.engine.run import write_json
from ris_lib.engine.submission import Verdict

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


def enter(path: str | Path, verdict: Verdict) -> dict[str, Any]:
    """Put a verdict on a leaderboard: the best of each name that kept to the rules stays, tries are counted.

    A board is of one sealed split and of one set of rules; what else comes is refused, since it could not be compared.
    Counting tries is the only guard against learning the sealed split from its scores: look at them.

    Args:
        path: The file; it is made where it does not exist.
        verdict: What ``score_submission`` returned.

    Returns:
        The board as it is now, as ``read_board`` does.

    Raises:
        ValueError: The board is of another key, other rules or another number of pictures, or the file is damaged.
    """
    path = Path(path)
    result = verdict.result
    about = {"key": result.fixed_by["key"], "pictures": result.counts["images"], "rules": asdict(verdict.rules)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        board = read_board(path) if path.is_file() else {**about, "entries": []}
        for name, value in about.items():
            if board.get(name) != value:
                raise ValueError(f"{path} is of {name} {board.get(name)}, this score of {value}; take another file.")
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
