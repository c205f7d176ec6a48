"""Referring image segmentation: the library that the book builds.

An image and a sentence go in, the mask of the one object that the sentence means comes out. The names below are those
that most work begins with; they are imported when first used, so ``import ris_lib`` costs nothing.

Example:
    >>> import ris_lib
    >>> "baseline_tiny" in ris_lib.list_models()
    True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what ``__getattr__`` returns, for editors and type checkers
    from ris_lib.data import load_dataset
    from ris_lib.engine import Predictor, TrainConfig, evaluate, train
    from ris_lib.models import create_model, list_models

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

__all__ = [
    "Predictor",
    "TrainConfig",
    "__version__",
    "create_model",
    "evaluate",
    "list_models",
    "load_dataset",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ris_lib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
