"""The model class, the recipes and the registry."""

from ris_lib.models.build import build
from ris_lib.models.config import ModelConfig
from ris_lib.models.registry import create_model, list_models, recipe, register
from ris_lib.models.segmenter import ReferringSegmenter

# A recipe registers itself when its file is read.
from ris_lib.models import alignformer, baseline, coupalign, cris, eavl, lavt, magnet  # isort: skip

__all__ = [
    "ModelConfig",
    "ReferringSegmenter",
    "alignformer",
    "baseline",
    "build",
    "coupalign",
    "create_model",
    "cris",
    "eavl",
    "lavt",
    "list_models",
    "magnet",
    "recipe",
    "register",
]
