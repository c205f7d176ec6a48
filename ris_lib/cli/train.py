"""``ris train``."""

from __future__ import annotations

from typing import Annotated

import tyro

from ris_lib.engine import TrainConfig
from ris_lib.engine import train as train_model


def train(config: Annotated[TrainConfig, tyro.conf.arg(name="")]) -> None:
    """Train a model; before the first step it says how long that will take.

    $ ris train --model baseline_tiny --data scenes --steps 600 --seed 0 --out runs/a
    $ ris train --model baseline_tiny --data refcoco+ --split-by unc --root DATA --out runs/b
    $ ris train --out runs/a --resume

    Args:
        config: Settings.
    """
    train_model(config)
