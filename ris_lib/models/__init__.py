"""The model class, the recipes and the registry."""

from ris_lib.models.build import build
from ris_lib.models.config import ModelConfig
from ris_lib.models.registry import create_model, list_models, recipe, register
from ris_lib.models.segmenter import ReferringSegmenter

from ris_lib.models import baseline  # isort: skip  (a recipe registers itself when its file is read)

__all__ = [
    "ModelConfig",
    "ReferringSegmenter",
    "baseline",
    "build",
    "create_model",
    "list_models",
    "recipe",
    "register",
]
