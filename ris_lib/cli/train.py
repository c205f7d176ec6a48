"""``ris train``."""

from __future__ import annotations

from typing import Annotated

import tyro
from accelerate import PartialState

from ris_lib.cli.output import make_table, report
from ris_lib.engine import TrainConfig
from ris_lib.engine import train as train_model
from ris_lib.engine.estimate import estimate as estimate_run


def train(
    config: Annotated[TrainConfig, tyro.conf.arg(name="")],
    estimate: bool = False,
    price: Annotated[float | None, tyro.conf.arg(metavar="PRICE")] = None,
) -> None:
    """Train a model; before the first step it says how long that will take.

    $ ris train --model baseline_tiny --data scenes --steps 600 --seed 0 --out runs/a
    $ ris train --model baseline_tiny --data refcoco+ --split-by unc --root DATA --out runs/b
    $ ris train --out runs/a --resume
    $ ris train --model lavt_base --data refcoco --root DATA --out runs/c --estimate --price 2.50

    Args:
        config: Settings.
        estimate: Train nothing and leave nothing behind: take 20 steps of this run and print its speed, memory, time
            and cost.
        price: With --estimate, of one device for an hour; each process has one.
    """
    if not estimate:
        if price is not None:
            raise ValueError(f"--price {price} is for --estimate; add that, or leave the price out.")
        train_model(config)
        return
    found = estimate_run(config, price)
    if PartialState().is_main_process:
        report([make_table(found.plan, ["what", "needed"], found.rows(), text=2)], None, None)
