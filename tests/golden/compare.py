"""Compare an answer with what was expected: arrays, numbers, or trees of them, leaf by leaf."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

#: For outputs whose file names no tolerance (numbers of a JSON file): room for the rounding of one addition.
EXACT = {"atol": 1e-9, "rtol": 0.0}


class Difference(NamedTuple):
    """The largest difference: ``error`` and what was ``allowed`` there; ``where`` it is; ``wrong`` says what no number
    can say (another shape, a missing key, NaN), or is empty."""

    error: float = 0.0
    allowed: float = 0.0
    where: str = ""
    wrong: str = ""

    @property
    def ok(self) -> bool:
        """Whether the difference is allowed."""
        return not self.wrong and self.error <= self.allowed

    def weight(self) -> tuple[bool, bool, float]:
        """For finding the worst of several: what is wrong, then what is too much, then what is nearest to too much."""
        return bool(self.wrong), self.error > self.allowed, self.error / self.allowed if self.allowed else self.error


def compare(mine: Any, expected: Any, tolerance: dict[str, Any] | None, where: str) -> Difference:
    """The worst difference between two values of the same structure.

    Args:
        mine: Array, number, text, list or dictionary.
        expected: The same.
        tolerance: ``{"atol": , "rtol": }`` for every number below, or ``{leaf name: atol, ..., "others": atol}``, or
            None for ``EXACT``. An error of ``atol + rtol * |expected|`` is allowed.
        where: Name for messages.
    """
    if isinstance(expected, dict):
        return _compare_dicts(mine, expected, tolerance, where)
    if isinstance(expected, str) or expected is None or (isinstance(expected, list) and not _is_numeric(expected)):
        return _compare_lists(mine, expected, tolerance, where)
    return _compare_numbers(mine, expected, _at_leaf(tolerance, where), where)


def _compare_dicts(mine: Any, expected: dict, tolerance: dict | None, where: str) -> Difference:
    if not isinstance(mine, dict):
        return Difference(where=where, wrong=f"is {type(mine).__name__}, expected a dictionary")
    if mine.keys() != expected.keys():
        missing, extra = sorted(expected.keys() - mine.keys()), sorted(mine.keys() - expected.keys())
        return Difference(where=where, wrong=f"keys missing: {missing[:5]}, too many: {extra[:5]}")
    parts = [compare(mine[key], value, tolerance, f"{where}.{key}") for key, value in expected.items()]
    return max(parts, key=Difference.weight, default=Difference(where=where))


def _compare_lists(mine: Any, expected: Any, tolerance: dict | None, where: str) -> Difference:
    if not isinstance(expected, list):
        return Difference(where=where, wrong="" if mine == expected else f"is {mine!r}, expected {expected!r}")
    if not isinstance(mine, list) or len(mine) != len(expected):
        came = f"{len(mine)} entries" if isinstance(mine, list) else type(mine).__name__
        return Difference(where=where, wrong=f"has {came}, expected a list of {len(expected)}")
    parts = [compare(m, e, tolerance, f"{where}[{k}]") for k, (m, e) in enumerate(zip(mine, expected))]
    return max(parts, key=Difference.weight, default=Difference(where=where))


def _compare_numbers(mine: Any, expected: Any, tolerance: dict[str, float], where: str) -> Difference:
    expected = np.asarray(expected)
    try:
        mine = np.asarray(mine)
        came = mine.astype(np.float64)
    except (TypeError, ValueError):
        return Difference(where=where, wrong="is not numeric")
    if mine.shape != expected.shape:
        return Difference(where=where, wrong=f"has shape {mine.shape}, expected {expected.shape}")
    wanted = expected.astype(np.float64)
    for name, values in (("ours", came), ("the file", wanted)):
        if np.isnan(values).any():
            return Difference(where=where, wrong=f"NaN in {name}")
    if not wanted.size:
        return Difference(where=where)
    with np.errstate(invalid="ignore"):  # inf - inf, 0 * inf: both are replaced
        error = np.where(came == wanted, 0.0, np.abs(came - wanted))
        allowed = np.where(np.isfinite(wanted), tolerance["atol"] + tolerance["rtol"] * np.abs(wanted), 0.0)
    worst = np.argmax(np.where(allowed > 0, error / np.where(allowed > 0, allowed, 1), np.where(error > 0, np.inf, 0)))
    return Difference(float(error.flat[worst]), float(allowed.flat[worst]), where)


def _at_leaf(tolerance: dict[str, Any] | None, where: str) -> dict[str, float]:
    if tolerance is None:
        return EXACT
    if "atol" in tolerance:
        return {"rtol": 0.0} | tolerance
    return {"atol": tolerance.get(where.rsplit(".", 1)[-1], tolerance.get("others", EXACT["atol"])), "rtol": 0.0}


def _is_numeric(values: list) -> bool:
    try:
        return np.asarray(values).dtype.kind in "biuf"
    except ValueError:  # lists of different lengths
        return False
