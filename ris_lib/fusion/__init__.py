"""Blocks that let words and pixels talk inside the encoders."""

from ris_lib.fusion.late import LateFusion

#: Fusion blocks by the name that a recipe uses.
FUSIONS = {"late": LateFusion}

__all__ = ["FUSIONS", "LateFusion"]
