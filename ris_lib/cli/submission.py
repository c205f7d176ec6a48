"""``ris eval --submission``: a run is scored on a sealed split, and entered on a leaderboard."""

from __future__ import annotations

import json as json_format
from pathlib import Path

from rich.table import Table

from ris_lib.cli.output import make_table, report
from ris_lib.data.sealed import fingerprint, read_key
from ris_lib.engine.leaderboard import enter, open_board
from ris_lib.engine.submission import Rules, Verdict, score_submission

#: Scenes of a sealed split, where ``--limit`` says no other number.
SCENES = 500


def read_rules(path: Path | None) -> Rules:
    """The rules in a JSON file, or the default ones.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds no rules.
    """
    if path is None:
        return Rules()
    if not path.is_file():
        raise FileNotFoundError(f'there is no file {path}; expected rules as JSON, such as {{"pictures": 16000}}.')
    try:
        values = json_format.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f'{path} is no JSON ({error}); expected rules such as {{"pictures": 16000}}.') from error
    if not isinstance(values, dict):
        raise ValueError(f'{path} holds a {type(values).__name__}; expected rules such as {{"pictures": 16000}}.')
    return Rules.from_dict(values)


def score(
    submission: Path,
    key: Path | None,
    rules: Path | None,
    leaderboard: Path | None,
    limit: int | None,
    device: str,
    json: str | None,
) -> None:
    """Score a submission, say whether it kept to the rules, and enter it.

    Raises:
        ValueError: There is no key; or as for ``score_submission`` and ``enter``.
        FileNotFoundError: As for ``score_submission`` and ``read_key``.
    """
    if key is None:
        raise ValueError("--submission needs --key FILE, the key of the sealed split.")
    secret, scenes = read_key(key), SCENES if limit is None else limit
    limits = read_rules(rules)
    if leaderboard is not None:
        open_board(leaderboard, fingerprint(secret), scenes, limits)  # what it refuses is not scored first
    verdict = score_submission(submission, secret, scenes, limits, device)
    shown = [scores_table(verdict), rules_table(verdict)]
    if leaderboard is not None:
        shown.append(board_table(enter(leaderboard, verdict)))
    report(shown, verdict.to_json(), json)


def scores_table(verdict: Verdict) -> Table:
    """The submission beside the reference."""
    counts, gain = verdict.result.counts, verdict.gain
    title = (
        f"{verdict.name} ({verdict.result.model}) on a sealed split, protocol {verdict.result.scores.protocol}: "
        f"{counts['images']} images, {counts['sentences']} sentences; {verdict.result.device}; "
        f"gain over {verdict.reference.model} {gain.gain:+.4f}, 95 % interval {gain.low:+.4f} to {gain.high:+.4f}"
    )
    rows = [
        [name, f"{result.scores.miou:.4f}", f"{result.scores.oiou:.4f}", f"{result.scores.prec['0.5']:.4f}"]
        for name, result in ((verdict.name, verdict.result), (verdict.reference.model, verdict.reference))
    ]
    return make_table(title, ["model", "mIoU", "oIoU", "Prec@0.5"], rows)


def rules_table(verdict: Verdict) -> Table:
    """The rules, and what the submission did."""
    rows = [[check.rule, check.found, check.allowed, "yes" if check.kept else "NO"] for check in verdict.checks]
    return make_table("rules", ["rule", "found", "allowed", "kept"], rows)


def board_table(board: dict) -> Table:
    """The leaderboard; who broke a rule has no rank."""
    rows, rank = [], 0
    for entry in board["entries"]:
        rank += entry["kept"]
        gain, low, high = entry["gain"]
        place = rank if entry["kept"] else "broke: " + ", ".join(entry["broken"])
        rows.append(
            [entry["name"], place, f"{entry['miou']:.4f}", f"{gain:+.4f}", f"{low:+.4f} to {high:+.4f}", entry["tries"]]
        )
    return make_table("leaderboard", ["name", "rank", "mIoU", "gain", "95 % interval", "tries"], rows)
