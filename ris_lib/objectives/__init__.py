"""Losses and auxiliary tasks."""

from ris_lib.objectives.segmentation import Segmentation, bce_term, dice_term

#: Objectives by the name that a recipe uses.
OBJECTIVES = {"segmentation": Segmentation}

__all__ = ["OBJECTIVES", "Segmentation", "bce_term", "dice_term"]
