"""Checkpoint files of the official form, of models small enough to be made in a moment."""

import argparse
from pathlib import Path

import numpy as np
import torch

from ris_lib.models import ReferringSegmenter
from ris_lib.models.build import build
from ris_lib.models.config import ModelConfig
from ris_lib.models.official import convert
from ris_lib.models.official.rules import Rule, official_name, translate
from ris_lib.models.official.systems import SYSTEMS, System

_SWIN = {"embed_dim": 8, "depths": [1, 1, 1, 1], "heads": [1, 1, 2, 2], "window": 4, "drop_path": 0.0}
_BERT = {"width": 16, "heads": 2, "intermediate": 16, "positions": 24}
_INPUT = {"size": [64, 64]}


def small_config(title: str) -> ModelConfig:
    """What the system of that title would be at a toy size; all but the sizes is as it stands in ``SYSTEMS``."""
    if title == "CRIS":
        sizes = {"embed_dim": 24, "width": 16, "heads": 2}
        return (
            system(title)
            .config({})
            .override(
                image_tower={"layers": [1, 1, 1, 1], "width": 8, "heads": 4, "output_dim": 24, "resolution": 64},
                text_tower={"layers": [2, 0, 0, 0], **sizes},
                decoder={
                    "width": 16,
                    "coarse_width": 32,
                    "fine_width": 8,
                    "layers": 1,
                    "heads": 2,
                    "feed_forward": 16,
                    "out_channels": 8,
                },
                preprocess=_INPUT,
            )
        )
    config = system(title).config({}).override(image_tower=_SWIN, preprocess=_INPUT)
    deformable = {"width": 16, "channels": 16, "layers": 1, "heads": 2, "points": 2, "feed_forward": 16, "groups": 4}
    if title == "MagNet":
        return config.override(
            text_tower={**_BERT, "layers": [1, 1, 0, 0]},
            fusion={"pools": [1, 2]},
            decoder=deformable,
            head={"layers": 2, "heads": 2, "feed_forward": 16, "width": 16},
            objectives=["segmentation"],
        )
    config = config.override(text_tower={**_BERT, "layers": [2, 0, 0, 0]})
    if title == "LGFormer":
        return config.override(
            decoder={**deformable, "word_heads": 2, "word_feed_forward": 16},
            head={"layers": 1, "heads": 2, "feed_forward": 16},
        )
    return config.override(decoder={"width": 16})


def system(title: str) -> System:
    return next(system for system in SYSTEMS if system.title == title)


def make_small(title: str) -> ReferringSegmenter:
    """A model with random weights everywhere: no gate is closed, no norm or statistic is that of a constructor."""
    torch.manual_seed(0)
    model = build(small_config(title)).eval()
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape) + 0.5 if "running_var" in name else torch.randn(value.shape) * 0.2)
    return model


def official_weights(model: torch.nn.Module, rules: list[Rule]) -> dict[str, torch.Tensor]:
    """A model's weights under official names: the rules backwards; what they cut is put together again."""
    grouped: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in model.state_dict().items():
        theirs = official_name(name, rules)
        if theirs != name:  # batch norm's counters may have no official name that is read
            grouped.setdefault(theirs, {})[name] = value.clone()
    return {theirs: _joined(theirs, parts, rules) for theirs, parts in grouped.items()}


def _joined(name: str, parts: dict[str, torch.Tensor], rules: list[Rule]) -> torch.Tensor:
    """An official tensor that the rules turn into these parts of ours."""
    values = list(parts.values())
    first = values[0]
    if first.dim() == 0:  # a counter
        return first
    forms = [values, [first] * 3, [first[:1], first]]  # whole; the last third is read; the first row is not read
    for form in forms:
        value = torch.cat(form) if len(form) > 1 else form[0]
        back = translate({name: value}, rules)
        if back.keys() == parts.keys() and all(torch.equal(back[key], part) for key, part in parts.items()):
            return value
    raise AssertionError(f"no official form of {name}")


def checkpoint(title: str, weights: dict[str, torch.Tensor]) -> dict:
    """What the training script of a code base saves."""
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    if title == "MagNet":
        return weights
    if title == "CRIS":
        return {
            "epoch": 3,
            "cur_iou": np.float64(0.5),
            "best_iou": np.float32(0.5),
            "prec": {"Pr@50": np.float64(0.25), "count": np.int64(4)},
            "state_dict": {f"module.{name}": value for name, value in weights.items()},
            "optimizer": optimizer.state_dict(),
            "scheduler": torch.optim.lr_scheduler.MultiStepLR(optimizer, [35]).state_dict(),
        }
    bert = {name: value for name, value in weights.items() if name.startswith("bert_model.")}
    parts = {"model": {name: value for name, value in weights.items() if name not in bert}}
    if bert:
        parts["bert_model"] = {name.removeprefix("bert_model."): value for name, value in bert.items()}
    return parts | {
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step).state_dict(),
        "epoch": 39,
        "args": argparse.Namespace(lr=5e-5, model="lavt", device="cuda:0"),
    }


def save_small(title: str, folder: Path, monkeypatch) -> tuple[ReferringSegmenter, Path]:
    """A small model and its checkpoint file; from now on the converter expects models of its size."""
    model = make_small(title)
    shrink(title, monkeypatch)
    path = folder / f"{title}.pth"
    torch.save(checkpoint(title, official_weights(model, system(title).rules)), path)
    return model, path


def shrink(title: str, monkeypatch) -> None:
    """Let the converter expect small models of one system."""
    small = tuple(s._replace(config=lambda weights: small_config(title)) if s.title == title else s for s in SYSTEMS)
    monkeypatch.setattr(convert, "SYSTEMS", small)
