"""What ``ris bench`` measured, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from ris_lib.cli.output import make_table
from ris_lib.engine.bench_models import run_name

#: What may be timed in the same rounds as a forward pass: its name in a run, in a column, and a title.
_OTHERS = (
    ("external", "external", "the external function, in the same rounds"),
    ("one_by_one", "one by one", "all sentences of a picture at once, and one by one with the picture anew"),
)


def tables_of(values: Mapping[str, Any]) -> list[Table]:
    """One table for each part of a measurement that is there.

    Args:
        values: As ``ris bench --json`` writes them.

    Example:
        >>> entry = {"subject": "data", "what": "draw", "unit": "pictures/s", "value": 9.0, "low": 8.0, "high": 9.5}
        >>> values = {"device": "cpu", "threads": 1, "python": "3", "versions": {"torch": "2", "numpy": "2"}}
        >>> tables_of({**values, "results": [entry | {"rounds": 5}], "models": []})[0].row_count
        1
    """
    versions = ", ".join(f"{name} {values['versions'][name]}" for name in ("torch", "numpy"))
    title = f"{values['device']}, {values['threads']} threads, Python {values['python']}, {versions}"
    tables = []
    if values["results"]:
        tables.append(_results(values["results"], title))
    if values["models"]:
        tables += [_sizes(values["models"]), _speeds(values["models"], title)]
        tables += [
            _beside(values["models"], part, name, title)
            for part, name, title in _OTHERS
            if any(f"{part}_s" in run for model in values["models"] for run in model["runs"])
        ]
    if "against" in values:
        tables.append(_ratios(values["against"]))
    return tables


def _results(entries: Sequence[dict[str, Any]], title: str) -> Table:
    rows = [
        [
            entry["subject"],
            entry["what"],
            *_value_and_spread(entry),
            entry["rounds"],
            _megabytes(entry.get("memory_bytes")),
            _megabytes(entry.get("peak_bytes")),
        ]
        for entry in entries
    ]
    columns = ["subject", "what", "median", "lowest to highest", "rounds", "memory kept", "memory at the peak"]
    return make_table(f"speeds: {title}", columns, rows, text=2)


def _value_and_spread(entry: Mapping[str, Any]) -> tuple[str, str]:
    values = [entry[name] for name in ("value", "low", "high")]
    if entry["unit"] == "s":
        median, low, high = map(_seconds, values)
        return median, f"{low} to {high}"
    median, low, high = map(_number, values)
    return f"{median} {entry['unit']}", f"{low} to {high}"


def _ratios(against: Mapping[str, Any]) -> Table:
    """One measurement beside another."""
    rows = [
        [
            ratio["subject"],
            ratio["what"],
            *(_value(ratio[name], ratio["unit"]) for name in ("before", "now")),
            _times(ratio["times_as_fast"]),
            _times(ratio["memory_ratio"]),
        ]
        for ratio in against["ratios"]
    ]
    columns = ["subject", "what", "before", "now", "times as fast", "memory, now / before"]
    table = make_table("now beside before (above 1 is faster)", columns, rows, text=2)
    said = [f"differs: {line}" for line in against["differences"]]
    table.caption, table.caption_justify = "\n".join(said) or None, "left"
    return table


def _sizes(models: Sequence[dict[str, Any]]) -> Table:
    rows = []
    for model in models:
        official = model["official"]
        theirs = ["", "", ""]
        if official:
            theirs = [
                f"{official['parameters'] / 1e6:.1f} M (x {official['parameter_ratio']:.3f})",
                f"{official['flops'] / 1e9:.0f} G (x {official['flop_ratio']:.3f})",
                "yes" if official["within_bounds"] else "NO",
            ]
        size = " x ".join(map(str, model["input_size"]))
        ours = [f"{model['parameters'] / 1e6:.2f} M", f"{model['flops'] / 1e9:.2f} G"]
        rows.append([model["name"], f"{size}, {model['tokens']}", *ours, *theirs])
    columns = [
        "model",
        "input, tokens",
        "parameters",
        "FLOPs",
        "official parameters",
        "official FLOPs",
        "within bounds",
    ]
    return make_table("sizes: one picture, one sentence (x = ours / official)", columns, rows, text=2)


def _speeds(models: Sequence[dict[str, Any]], title: str) -> Table:
    columns = ["model", "forward", "spread", "pictures/s", "FLOP/s", "of product", "memory"]
    columns += ["and backward", "spread", "samples/s", "memory"]
    rows = [
        [
            run_name(model["name"], run),
            _seconds(run["forward_s"]),
            _spread(run, "forward"),
            _number(run["pictures_per_s"]),
            "-" if run["flop_per_s"] is None else f"{run['flop_per_s'] / 1e9:,.1f} G",
            "-" if run["share_of_product"] is None else f"{run['share_of_product']:.2f}",
            _megabytes(run["forward_bytes"]),
            _seconds(run["training_s"]),
            _spread(run, "training"),
            _number(run["training_samples_per_s"]),
            _megabytes(run["training_bytes"]),
        ]
        for model in models
        for run in model["runs"]
    ]
    table = make_table(f"models: {title}", columns, rows)
    notes = [
        f"{run_name(model['name'], run)}: {run['note']}" for model in models for run in model["runs"] if run["note"]
    ]
    table.caption, table.caption_justify = "\n".join(notes) or None, "left"
    return table


def _beside(models: Sequence[dict[str, Any]], part: str, name: str, title: str) -> Table:
    """What was timed in the same rounds as the forward pass."""
    rows = [
        [
            run_name(model["name"], run),
            *(cell for of in ("forward", part) for cell in (_seconds(run[f"{of}_s"]), _spread(run, of))),
            _times(run[f"{part}_ratio"]),
        ]
        for model in models
        for run in model["runs"]
        if f"{part}_s" in run
    ]
    return make_table(title, ["model", "ours", "spread", name, "spread", f"{name} / ours"], rows)


def _spread(run: Mapping[str, Any], part: str) -> str:
    low, high = run[f"{part}_low_s"], run[f"{part}_high_s"]
    return "-" if low is None else f"{_seconds(low)} to {_seconds(high)}"


def _value(value: float | None, unit: str) -> str:
    return _seconds(value) if unit == "s" else f"{_number(value)} {unit}"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:,.{0 if value >= 100 else 2}f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.{1 if value >= 10 else 3}f}"


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    if value >= 10:
        return f"{value:,.1f} s"
    return f"{value * 1e3:,.{0 if value >= 0.1 else 1 if value >= 1e-3 else 3}f} ms"


def _megabytes(value: int | None) -> str:
    return "-" if value is None else f"{value / 1e6:,.{0 if abs(value) >= 1e7 else 1}f} MB"
