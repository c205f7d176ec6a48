"""Where a model comes from: ``--run FOLDER`` or ``--model NAME``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from ris_lib.engine import load_run
from ris_lib.models import ReferringSegmenter, create_model

#: The flags ``--run``, ``--model``, ``--device``.
RunFolder = Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help="A run of `ris train`, or a saved model.")]
ModelName = Annotated[
    str | None, tyro.conf.arg(metavar="NAME", help="A model with the weights that ship with this package.")
]
Device = Annotated[str, tyro.conf.arg(help="auto, cpu, cuda or mps.")]


def load_model(run: Path | None, model: str | None) -> ReferringSegmenter:
    """The model that the flags name.

    Args:
        run: Folder of a run.
        model: Name of a model whose weights ship with the package.

    Raises:
        ValueError: Both or neither is given; or as for ``load_run`` and ``create_model``.
        FileNotFoundError: As for ``load_run``.
    """
    if run is not None and model is None:
        return load_run(run)
    if model is not None and run is None:
        return create_model(model, pretrained=True)
    given = "neither" if run is None else "both"
    raise ValueError(f"{given} of --run FOLDER and --model NAME given; expected one of them.")
