"""Losses and auxiliary tasks."""

from ris_lib.objectives.cross_modal_alignment import CrossModalAlignment
from ris_lib.objectives.instance_contrast import InstanceContrast
from ris_lib.objectives.mask_grounding import MaskGrounding
from ris_lib.objectives.pixel_contrast import PixelContrast
from ris_lib.objectives.segmentation import Segmentation, bce_term, dice_term

#: Objectives by the name that a recipe uses.
OBJECTIVES = {
    "segmentation": Segmentation,
    "instance_contrast": InstanceContrast,
    "pixel_contrast": PixelContrast,
    "cross_modal_alignment": CrossModalAlignment,
    "mask_grounding": MaskGrounding,
}

__all__ = [
    "OBJECTIVES",
    "CrossModalAlignment",
    "InstanceContrast",
    "MaskGrounding",
    "PixelContrast",
    "Segmentation",
    "bce_term",
    "dice_term",
]
