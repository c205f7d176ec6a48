"""The settings of a training run: one dataclass, which the command line turns into flags and a run keeps as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from ris_lib._names import unknown

PRECISIONS = ("no", "bf16", "fp16")

#: What may differ when a run is continued: it changes where and how often, not what is computed.
FREE_ON_RESUME = frozenset(
    {"out", "resume", "root", "device", "workers", "checkpoint_every", "threads", "recompute", "compile"}
)

#: torch takes seeds of 64 bits; no training survives a higher learning rate, and far higher ones overflow.
_HIGHEST_SEED, _HIGHEST_RATE = 2**64 - 1, 1000

_CHANGES = '{"head": {"queries": 4}}'

V = TypeVar("V")

_AT_LEAST = {
    "steps": 1,
    "seed": 0,
    "limit": 1,
    "size": 1,
    "images_per_step": 1,
    "sentences_per_image": 1,
    "accumulate": 1,
    "workers": 0,
    "checkpoint_every": 1,
    "evaluate_every": 0,
    "evaluate_limit": 1,
    "threads": 1,
}


@dataclass(frozen=True)
class TrainConfig:
    """A training run. Where a setting is None, the model's recipe decides.

    Args:
        out: Folder of the run; it must not exist yet, unless resume is set.
        model: Name of the model, see ris models; needed unless a run is continued.
        start: Weights to begin with: encoders (those that the recipe names; published ones are fetched), fresh
            (random ones), or the folder of a model of the same recipe. None = encoders where the recipe names
            some, else fresh.
        changes: Changed entries of the model's configuration, as JSON: {"head": {"queries": 4}}; in Python also a
            dictionary. See ModelConfig.override.
        data: Data set: scenes, refcoco, refcoco+ or refcocog.
        root: Folder that holds refcoco/, refcoco+/, refcocog/ and images/; scenes need none.
        split_by: Which cut into splits: unc, umd or google; None = unc, and umd for refcocog.
        split: Split to train on.
        limit: Train on the first so many pictures only; None = all.
        size: Height and width of the network's picture; scenes are drawn at this size. None = the recipe's.
        steps: Number of optimiser steps; None = the recipe's.
        seed: The one source of randomness: weights, order, dropout.
        images_per_step: Pictures in one optimiser step, over all processes and accumulated parts; None = the recipe's.
        sentences_per_image: At most so many sentences of a picture in one step, drawn anew each time; None = the
            recipe's.
        learning_rate: Highest learning rate; None = the recipe's.
        flip: Mirror half of the pictures, with left and right swapped in their sentences; a picture with a sentence
            that cannot be swapped stays as it is.
        shuffle_sentences: Give every sentence to another picture. A control: what such a model scores, it scores
            without understanding language.
        same_sentence: Say this of everything, in place of the sentences: another such control.
        skip_bad: Leave out pictures that are missing, damaged or of another size than annotated, and say which;
            otherwise they refuse the run.
        precision: Number format of the forward pass: no (float32), bf16 or fp16. None = what accelerate launch was
            configured with, else no.
        accumulate: Cut each step into so many parts, to save memory.
        recompute: Keep only what goes into each block of the encoders, and compute the rest again in the backward pass:
            less memory, about a third more time, the same numbers.
        compile: Let torch.compile write code for this model, which takes minutes before the first step; it needs a C++
            compiler on the CPU, Triton on a GPU. The last bits may change. Not together with recompute.
        workers: Processes that prepare batches; 0 = this one. The result does not depend on it.
        checkpoint_every: Steps between checkpoints.
        evaluate_every: Steps between evaluations; 0 = never.
        evaluate_split: Split of these evaluations.
        evaluate_limit: Pictures of these evaluations, the first so many.
        device: auto, cpu, cuda or mps.
        threads: Threads of this process on the CPU; None = PyTorch's choice. Another number may change the last bits.
        resume: Continue the run in out from its last checkpoint; where there is no run yet, start it.

    Raises:
        ValueError: A number is out of range, a name is not known, or two settings exclude each other.

    Example:
        >>> config = TrainConfig(out="runs/a", model="baseline_tiny", steps=20)
        >>> TrainConfig.from_dict(config.to_dict()) == config
        True
    """

    out: Path
    model: str | None = None
    start: str | None = None
    changes: str | None = None
    data: str = "scenes"
    root: Path | None = None
    split_by: str | None = None
    split: str = "train"
    limit: int | None = None
    size: int | None = None
    steps: int | None = None
    seed: int = 0
    images_per_step: int | None = None
    sentences_per_image: int | None = None
    learning_rate: float | None = None
    flip: bool = False
    shuffle_sentences: bool = False
    same_sentence: str | None = None
    skip_bad: bool = False
    precision: Literal["no", "bf16", "fp16"] | None = None
    accumulate: int = 1
    recompute: bool = False
    compile: bool = False
    workers: int = 0
    checkpoint_every: int = 200
    evaluate_every: int = 0
    evaluate_split: str = "val"
    evaluate_limit: int | None = 100
    device: str = "auto"
    threads: int | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        for name in ("out", "root"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, Path(value))
        if self.changes is not None:
            object.__setattr__(self, "changes", _as_json(self.changes))
        for name, least in _AT_LEAST.items():
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name}={value!r}; expected a whole number of at least {least}.")
        if self.seed > _HIGHEST_SEED:
            raise ValueError(f"seed={self.seed}; expected a whole number of at most {_HIGHEST_SEED}.")
        if self.learning_rate is not None and not 0 < self.learning_rate <= _HIGHEST_RATE:
            raise ValueError(
                f"learning_rate={self.learning_rate}; expected a positive number of at most {_HIGHEST_RATE}, such as "
                "1e-3."
            )
        if self.precision is not None and self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.compile and self.recompute:
            raise ValueError(
                "compile and recompute were both asked for; torch.compile cannot follow blocks that keep their batch "
                "norms still while they run again. Choose one: recompute saves memory, compile time."
            )

    def to_dict(self) -> dict[str, Any]:
        """As a dictionary that JSON can hold."""
        return {name: value.as_posix() if isinstance(value, Path) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """The inverse of ``to_dict``.

        Raises:
            ValueError: A setting is not known or out of range, or ``out`` is missing.
        """
        known = {f.name: f for f in fields(cls)}
        for name in values:
            if name not in known:
                raise unknown("setting", name, known, of="a training run")
        if "out" not in values:
            raise ValueError(
                f"the settings lack 'out', the folder of the run; they have {', '.join(values) or 'none'}."
            )
        return cls(**values)

    def check_same_run(self, saved: TrainConfig) -> None:
        """Refuse to continue a run with other settings than it was started with.

        A setting that has its default value was not given and says nothing.

        Args:
            saved: The settings of the run.

        Raises:
            ValueError: A setting was given that differs from the run's.
        """
        for f in fields(self):
            default = None if f.default is MISSING else f.default
            mine, theirs = getattr(self, f.name), getattr(saved, f.name)
            if f.name not in FREE_ON_RESUME and mine not in (default, theirs):
                raise ValueError(
                    f"the run in {self.out} has {f.name}={theirs!r}, and {mine!r} was asked for. A run is continued "
                    f"as it was started: leave {f.name} out, or start another run in another folder."
                )


def decided(value: V | None, name: str) -> V:
    """The value of a setting that complete settings have: the run's own, or the recipe's.

    Raises:
        ValueError: There is none.

    Example:
        >>> decided(TrainConfig(out="runs/a", steps=20).steps, "steps")
        20
    """
    if value is None:
        raise ValueError(f"the settings have {name}=None, and nothing decides it; set it, or start another run.")
    return value


def _as_json(changes: str | Mapping[str, Any]) -> str:
    """Changed entries in one form, so that two runs can be compared."""
    try:
        values = json.loads(changes) if isinstance(changes, str) else changes
    except ValueError as error:
        raise ValueError(f"changes={changes!r} is not JSON ({error}); expected such as " + _CHANGES + ".") from error
    if not isinstance(values, Mapping):
        raise ValueError(f"changes={changes!r}; expected entries of a model's configuration, such as {_CHANGES}.")
    return json.dumps(values, sort_keys=True)
