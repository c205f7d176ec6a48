"""Referring image segmentation: the library that the book builds.

An image and a sentence go in, the mask of the one object that the sentence means comes out. The names below are those
that most work begins with; they are imported when first used, so ``import ris_lib`` costs nothing.

Example:
    >>> import ris_lib
    >>> "baseline_tiny" in ris_lib.list_models()
    True
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "create_model": "ris_lib.models",
    "list_models": "ris_lib.models",
    "load_dataset": "ris_lib.data",
    "Predictor": "ris_lib.engine",
    "TrainConfig": "ris_lib.engine",
    "evaluate": "ris_lib.engine",
    "train": "ris_lib.engine",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ris_lib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
