"""From somebody else's checkpoint file to a folder that ``from_pretrained`` reads.

The file is read without running anything that is in it, recognised by the names of its weights, renamed by the rules
of its code base, and loaded strictly: a weight that is missing or left over is an error that lists it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from ris_lib.data.cache import atomic_write, check_place
from ris_lib.models.build import build
from ris_lib.models.official.reader import read_checkpoint
from ris_lib.models.official.rules import (
    Rule,
    left_behind,
    listing,
    official_name,
    translate,
    unknown_names,
)
from ris_lib.models.official.systems import SYSTEMS, System
from ris_lib.models.pretrained import fill


def convert(checkpoint: str | Path, out: str | Path) -> System:
    """Turn an official checkpoint of LAVT, CRIS, MagNet or LGFormer into a model of this library.

    Args:
        checkpoint: The file, ``.pth`` or ``.pt``.
        out: Folder to write; it must not exist yet. It appears whole or not at all.

    Returns:
        The system that the file was recognised as.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The folder exists; the file is damaged, holds more than weights and settings, is of no known code
            base, or its weights do not fit (the names are listed).

    Example:
        >>> convert("missing.pth", "out")
        Traceback (most recent call last):
        ...
        FileNotFoundError: missing.pth does not exist; expected a checkpoint of LAVT, CRIS, MagNet or LGFormer.
    """
    out = Path(out)
    if out.exists():
        raise ValueError(f"{out} exists already; choose another folder.")
    check_place(out)
    weights = read_checkpoint(checkpoint)
    with atomic_write(out) as partial:
        return write_converted(weights, partial, checkpoint)


def write_converted(weights: Mapping[str, Tensor], folder: Path, source: str | Path) -> System:
    """Write a model with official weights: configuration, weights, model card.

    Args:
        weights: By official name, as ``read_checkpoint`` returns them.
        folder: Where to; made if it does not exist.
        source: The file that they are from.

    Returns:
        The system that they were recognised as.

    Raises:
        ValueError: They are of no known code base, or do not fit; the names are listed.

    Example:
        >>> write_converted({}, Path("out"), "empty.pth")
        Traceback (most recent call last):
        ...
        ValueError: empty.pth is of no code base that is known here. ...
    """
    system = recognise(weights, source)
    model = build(system.config(weights))
    _fill(model, weights, system, source)
    model.eval().save_pretrained(folder)
    (folder / "README.md").write_text(_card(system, Path(source), weights), encoding="utf-8")
    return system


def recognise(weights: Mapping[str, Tensor], source: object) -> System:
    """The code base that a checkpoint is from: the one that knows most of its names, if it knows at least half.

    Args:
        weights: What ``read_checkpoint`` returned.
        source: Where they are from, for the message.

    Raises:
        ValueError: None of the known ones fits.

    Example:
        >>> import torch
        >>> recognise({"neck.txt_proj.0.weight": torch.zeros(1), "proj.txt.bias": torch.zeros(1)}, "a.pth").title
        'CRIS'
    """
    known = {system.title: len(weights) - len(unknown_names(weights, system.rules)) for system in SYSTEMS}
    best = max(SYSTEMS, key=lambda system: known[system.title])
    if weights and known[best.title] >= len(weights) / 2:
        return best
    raise ValueError(
        f"{source} is of no code base that is known here. It has {len(weights)} weights ({listing(sorted(weights))}), "
        f"of which {best.title} knows most: {known[best.title]}. Understood are checkpoints of "
        f"{', '.join(system.title for system in SYSTEMS)}."
    )


def _fill(model: nn.Module, weights: Mapping[str, Tensor], system: System, source: object) -> None:
    """Copy official weights into our model, or say under their official names which ones do not fit."""
    rules = system.rules
    strange = unknown_names(weights, rules)
    try:
        ours = translate({name: value for name, value in weights.items() if name not in set(strange)}, rules)
    except ValueError as error:
        raise ValueError(f"{source} looks like {system.title}, but {error}") from error
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("objectives.")}
    # integers may be missing: batch norm's counters, which nothing reads
    needed = {name for name, value in state.items() if value.is_floating_point()}
    missing = _official(needed - ours.keys(), rules)
    left_over = strange + _official(ours.keys() - state.keys(), rules)
    shapes = [
        f"{official_name(name, rules)} {tuple(ours[name].shape)} for {tuple(state[name].shape)}"
        for name in sorted(ours.keys() & state.keys())
        if ours[name].shape != state[name].shape
    ]
    if missing or left_over or shapes:
        raise ValueError(
            f"{source} looks like {system.title} and does not fit: {len(missing)} missing ({listing(missing)}); "
            f"{len(left_over)} left over ({listing(left_over)}); {len(shapes)} of another shape ({listing(shapes)})."
        )
    fill(model, ours, set(ours), source)


def _official(ours: Iterable[str], rules: Sequence[Rule]) -> list[str]:
    """Official names of ours, each once."""
    return list(dict.fromkeys(official_name(name, rules) for name in sorted(ours)))


def _card(system: System, checkpoint: Path, weights: Mapping[str, Tensor]) -> str:
    """A model card: where the weights are from, under which licence, and what was left behind."""
    reasons = Counter(left_behind(weights, system.rules).values())
    lines = [f"- {count} tensors: {why}" for why, count in sorted(reasons.items())]
    return "\n".join(
        [
            "---",
            "library_name: ris_lib",
            "pipeline_tag: image-segmentation",
            "license: unknown",
            "tags: [referring-image-segmentation]",
            "---",
            "",
            f"# {system.title}, converted for ris_lib",
            "",
            f"The weights are those of `{checkpoint.name}`, a checkpoint of {system.source}. They were renamed, not",
            "changed. Load them with `ReferringSegmenter.from_pretrained(FOLDER)`.",
            "",
            f"Licence of the weights: {system.licence}",
            "",
            "Left behind, in whole or in part, because it cannot reach the output:"
            if lines
            else "Nothing was left behind.",
            "",
            *lines,
            "",
        ]
    )
