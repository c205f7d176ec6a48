"""Everything that defines a model, as plain numbers and names that fit into a JSON file.

A recipe is a function that returns a ``ModelConfig``; ``create_model`` changes a few entries, ``build`` makes the
model, ``save_pretrained`` writes the configuration beside the weights. So a folder with two files is a complete model.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any

from ris_lib._names import unknown
from ris_lib.fusion import FUSIONS

#: A part of a model: its name and its options, ``{"name": "top_down", "width": 48}``.
PartSpec = dict[str, Any]


@dataclass(frozen=True)
class ModelConfig:
    """What a model is made of.

    Args:
        recipe: Name of the recipe that it started from.
        image_tower: Name and options of the image tower.
        text_tower: Name and options of the text tower.
        fusion: Four blocks, each a name with options, or None; one for each image stage.
        decoder: Name and options of the decoder.
        head: Name and options of the head.
        objectives: Options by name of the objective; the option ``weights`` holds the weight of each of its losses.
        preprocess: What ``ris_lib.data.collate.Preprocess.from_dict`` takes: network size, resize rule, mean, standard
            deviation.
        tokenizer: What ``ris_lib.data.tokenizers.tokenizer_from_config`` takes.
        merge: ``{"channels": C}`` of the stride-2 detail merge, or None where there is none.
        upsample: How logits become probabilities at the network's size: ``of`` (``"logits"`` or ``"probabilities"``:
            what is resized), ``mode`` (``"bilinear"`` or ``"bicubic"``), ``align_corners``.
        threshold: Probability above which the predictor calls a pixel foreground, in (0, 1). Scoring takes the
            threshold of its protocol instead.
        training: Defaults of the training run: ``steps``, ``learning_rate``, ``weight_decay``, ``betas``,
            ``warmup_steps``, ``schedule``, ``images_per_step``, ``sentences_per_image``, ``gradient_clip`` (None = no
            clipping); where needed ``rate_factors`` (factor of the learning rate by beginning of the parameter's name)
            and ``frozen`` (such beginnings).

    Example:
        >>> from ris_lib.models import recipe
        >>> config = recipe("baseline_tiny")
        >>> ModelConfig.from_dict(config.to_dict()) == config
        True
    """

    recipe: str
    image_tower: PartSpec
    text_tower: PartSpec
    fusion: list[PartSpec | None]
    decoder: PartSpec
    head: PartSpec
    objectives: dict[str, dict[str, Any]]
    preprocess: dict[str, Any]
    tokenizer: dict[str, Any]
    merge: dict[str, Any] | None = None
    upsample: dict[str, Any] = field(
        default_factory=lambda: {"of": "logits", "mode": "bilinear", "align_corners": False}
    )
    threshold: float = 0.5
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_kinds()
        if len(self.fusion) != 4:
            raise ValueError(f"fusion has {len(self.fusion)} entries; expected four, one for each image stage.")
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold={self.threshold}; expected a probability between 0 and 1.")
        of, mode = self.upsample.get("of"), self.upsample.get("mode")
        if set(self.upsample) != {"of", "mode", "align_corners"} or (
            of not in ("logits", "probabilities")
            or mode not in ("bilinear", "bicubic")
            or not isinstance(self.upsample["align_corners"], bool)
        ):
            raise ValueError(
                f"upsample={self.upsample}; expected of: 'logits' or 'probabilities', mode: 'bilinear' or 'bicubic', "
                "align_corners: true or false."
            )

    def _check_kinds(self) -> None:
        """Refuse entries of the wrong kind: a ``config.json`` may come from anywhere."""
        parts = {name: getattr(self, name) for name in ("image_tower", "text_tower", "decoder", "head")}
        blocks = self.fusion if isinstance(self.fusion, list) else [self.fusion]
        parts |= {f"fusion[{k}]": block for k, block in enumerate(blocks) if block is not None}
        for name, part in parts.items():
            if not isinstance(part, dict) or not isinstance(part.get("name"), str):
                raise ValueError(f"{name} is {part!r}; expected a part with its options, such as {{'name': 'tiny'}}.")
        kinds = dict.fromkeys(("objectives", "preprocess", "tokenizer", "upsample", "training"), dict)
        kinds |= {"recipe": str, "fusion": list, "threshold": (int, float), "merge": (dict, type(None))}
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected what ModelConfig documents.")
        if "size" not in self.preprocess:
            raise ValueError(f"preprocess is {self.preprocess}; expected at least the network's size, [height, width].")
        for name, options in self.objectives.items():
            if not isinstance(options, dict):
                raise ValueError(f"objectives: {name} has the options {options!r}; expected entries such as weights.")

    def to_dict(self) -> dict[str, Any]:
        """As dictionaries, lists, strings and numbers, the way JSON gives them back."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """The inverse of ``to_dict``.

        Raises:
            ValueError: An entry is missing, or there is one that a configuration does not have.
        """
        known = {f.name: f for f in fields(cls)}
        for name in values:
            if name not in known:
                raise unknown("entry", name, known, of="a model configuration")
        missing = [
            name for name, f in known.items() if f.default is f.default_factory is MISSING and name not in values
        ]
        if missing:
            raise ValueError(
                f"the model configuration lacks {', '.join(missing)}. Is this config.json one of a ris_lib model?"
            )
        return cls(**copy.deepcopy(dict(values)))

    def override(self, **changes: Any) -> ModelConfig:
        """A changed copy.

        Args:
            changes: New values by entry. A part is changed by a name (the part with its default options) or by a
                dictionary (with another ``name``: that part with these options; otherwise the recipe's part with these
                options changed). ``fusion`` takes a name too: that block at the stages where it belongs, "none" for no
                fusion; or a list of four. ``objectives`` takes a list of names; those of the recipe keep their
                options. The other dictionaries are merged.

        Raises:
            ValueError: There is no such entry (the nearest names are listed), or ``recipe`` is to be changed.

        Example:
            >>> from ris_lib.models import recipe
            >>> recipe("baseline_tiny").override(head={"classes": 2}).head["name"]
            'fixed_kernel'
        """
        known = sorted({f.name for f in fields(self)} - {"recipe"})
        for name in changes:
            if name not in known:
                raise unknown("entry to change", name, known)
        return replace(self, **{name: self._changed(name, value) for name, value in copy.deepcopy(changes).items()})

    def _changed(self, name: str, value: Any) -> Any:
        before = copy.deepcopy(getattr(self, name))
        if name == "fusion":
            return _fusion_list(value, before)
        if name == "objectives":
            return _objective_dict(value, before)
        if name in ("image_tower", "text_tower", "decoder", "head"):
            return _part(value, before)
        if name in ("preprocess", "upsample", "training") or (name == "merge" and before and value):
            return {**before, **value}
        return value


def _part(value: Any, before: PartSpec | None) -> PartSpec | None:
    """A part after a change: a name, a dictionary with or without a name, or None."""
    if value is None or value == "none":
        return None
    if isinstance(value, str):
        return before if before and before["name"] == value else {"name": value}
    if "name" not in value and before is None:
        raise ValueError(f"{value} names no part, and there is none yet to change; add 'name'.")
    return {**before, **value} if before and value.get("name", before["name"]) == before["name"] else value


def _fusion_list(value: Any, before: list[PartSpec | None]) -> list[PartSpec | None]:
    """Four entries, from a name, a dictionary, a list of four, or None."""
    if value is None or value == "none":
        return [None] * 4
    if isinstance(value, (list, tuple)):
        if len(value) != 4:
            raise ValueError(f"fusion has {len(value)} entries; expected four, one for each image stage.")
        return [_part(new, old) for new, old in zip(value, before)]
    if not isinstance(value, (str, Mapping)):
        raise ValueError(f"fusion is {value!r}; expected the name of a block, its options, or a list of four.")
    names = {old["name"] for old in before if old}
    name = value if isinstance(value, str) else value.get("name", next(iter(names), None))
    if names == {name}:
        return [old and _part(value, old) for old in before]
    if name not in FUSIONS:
        raise unknown("fusion block", name, [*FUSIONS, "none"])
    return [_part(value, None) if k in FUSIONS[name].default_stages else None for k in range(4)]


def _objective_dict(value: Any, before: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Options by name, from a list of names or from a dictionary of changes that replaces the set of objectives."""
    if isinstance(value, str):
        value = [value]
    new = value if isinstance(value, Mapping) else dict.fromkeys(value)
    for name, options in new.items():
        if not isinstance(options, Mapping | None):
            raise ValueError(
                f"objectives[{name!r}] is {options!r}; expected options, or None for those it has. What is not "
                "named is left out."
            )
    return {name: {**before.get(name, {}), **(options or {})} for name, options in new.items()}
