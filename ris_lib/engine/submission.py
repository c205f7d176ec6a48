"""Score a run on a sealed split, and see whether it kept to the rules: the capstone, and any other competition.

What is handed in is the folder of a run of ``ris train``. Nothing in it is executed: its settings are JSON, its weights
safetensors, its parts those of this library. It is scored beside a reference model, on the same pictures in the same
process, so that the gain has a paired interval and the time can be limited whatever the machine.

That the model was made by the settings that lie beside it is taken on trust. It can be tested where the kind of CPU is
the same: there a run that is done again gives the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ris_lib._names import unknown
from ris_lib.data.sealed import sealed_scenes
from ris_lib.engine.config import TrainConfig
from ris_lib.engine.counting import count_parameters
from ris_lib.engine.evaluate import EvalResult, evaluate
from ris_lib.engine.run import is_complete, load_run, read_run_config
from ris_lib.metrics import Gain, gain_over_sentences
from ris_lib.models import create_model


@dataclass(frozen=True)
class Rules:
    """What a submission may use.

    Args:
        parameters: Of the model that answers.
        pictures: In all steps of its training together, with repetition.
        slowness: Time to score it, over that of the reference on the same pictures.
        reference: The model, with the weights of this package, that it is compared with.

    Raises:
        ValueError: A limit is not positive.

    Example:
        >>> Rules.from_dict({"pictures": 16_000}).pictures
        16000
    """

    parameters: int = 1_500_000
    pictures: int = 48_000
    slowness: float = 4.0
    reference: str = "baseline_tiny"

    def __post_init__(self) -> None:
        for name in ("parameters", "pictures", "slowness"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ValueError(f"{name}={value!r}; expected a positive number.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Rules:
        """Rules of which some are named; the others are the default.

        Raises:
            ValueError: There is no such rule, or a limit is not positive.
        """
        names = [field.name for field in fields(cls)]
        for name in values:
            if name not in names:
                raise unknown("rule", name, names)
        return cls(**values)


@dataclass(frozen=True)
class Check:
    """A rule, and what a submission did.

    Args:
        rule: In words.
        found: What it did.
        allowed: What it may do.
        kept: Whether it kept to the rule.
    """

    rule: str
    found: str
    allowed: str
    kept: bool


@dataclass(frozen=True)
class Verdict:
    """A submission with its score.

    Args:
        name: Of the submission.
        rules: What it was scored by.
        result: Its scores on the sealed split.
        reference: Those of the reference on the same pictures.
        gain: Of the submission over the reference, in mIoU, paired by sentence.
        checks: The rules, one by one.
    """

    name: str
    rules: Rules
    result: EvalResult
    reference: EvalResult
    gain: Gain
    checks: tuple[Check, ...]

    @property
    def kept(self) -> bool:
        """Whether it kept to every rule."""
        return all(check.kept for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """As a dictionary that JSON can hold."""
        return {
            "name": self.name,
            "kept": self.kept,
            "checks": [asdict(check) for check in self.checks],
            "gain": {"gain": self.gain.gain, "interval": [self.gain.low, self.gain.high], "verdict": self.gain.verdict},
            "result": self.result.to_json(),
            "reference": self.reference.to_json(),
        }


def pictures_of(config: TrainConfig) -> int:
    """The pictures that a training sees, with repetition.

    Raises:
        ValueError: The settings do not say how many; those of a run do.
    """
    if config.steps is None or config.images_per_step is None:
        raise ValueError("the settings do not say steps and images_per_step; expected those that a run keeps.")
    return config.steps * config.images_per_step


def score_submission(
    folder: str | Path,
    key: str,
    scenes: int = 500,
    rules: Rules | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Verdict:
    """Score a run on the sealed split of a key.

    A rule that was broken is said, and does not keep the run from being scored.

    Args:
        folder: A complete run of ``ris train``; its name is that of the submission.
        key: What ``read_key`` returned.
        scenes: Number of scenes.
        rules: By default those of ``Rules``.
        device: As for ``pick_device``.
        progress: Show progress bars.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It holds no complete run, or as for ``sealed_scenes``.
    """
    folder, rules = Path(folder), rules or Rules()
    config = submitted(folder)
    model, reference = load_run(folder), create_model(rules.reference, pretrained=True)
    with sealed_scenes(key, model.config.preprocess["size"][0], scenes) as sealed:
        evaluate(reference, sealed, limit=4, intervals=False, progress=False, device=device)  # the first is slower
        theirs = evaluate(reference, sealed, progress=progress, device=device)
        ours = evaluate(model, sealed, progress=progress, device=device)
    gain = gain_over_sentences(ours.sentences, theirs.sentences)
    checks = (*settings_kept(config, rules), *model_kept(model, ours.seconds / theirs.seconds, rules))
    return Verdict(folder.resolve().name, rules, ours, theirs, gain, checks)


def submitted(folder: Path) -> TrainConfig:
    """The settings of a run that was handed in.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It holds no complete run.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; expected the run that was handed in.")
    if not is_complete(folder):
        raise ValueError(f"{folder} holds no complete run; expected all of the folder that `ris train --out` made.")
    return read_run_config(folder)


def settings_kept(config: TrainConfig, rules: Rules) -> tuple[Check, ...]:
    """Whether the training kept to the rules: its data, its start, how much it saw.

    Example:
        >>> config = TrainConfig(out="a", model="lavt_tiny", steps=100, images_per_step=8, split="val")
        >>> [check.found for check in settings_kept(config, Rules()) if not check.kept]
        ['scenes val']
    """
    seen, data = pictures_of(config), f"{config.data} {config.split}"
    begun = config.start or "encoders"
    return (
        Check("data of the training", data, "scenes train", data == "scenes train"),
        Check("start", begun, "encoders or fresh", begun in ("encoders", "fresh")),
        Check("pictures in training", f"{seen:,}", f"{rules.pictures:,}", seen <= rules.pictures),
    )


def model_kept(model: Any, slowness: float, rules: Rules) -> tuple[Check, ...]:
    """Whether the model kept to the rules: its size and its speed.

    Args:
        model: It.
        slowness: Time over that of the reference.
        rules: The limits.
    """
    size = count_parameters(model)[0]
    return (
        Check("parameters", f"{size:,}", f"{rules.parameters:,}", size <= rules.parameters),
        Check(f"time over {rules.reference}", f"{slowness:.1f}", f"{rules.slowness:g}", slowness <= rules.slowness),
    )
