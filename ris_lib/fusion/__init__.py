"""Blocks that let words and pixels talk inside the encoders."""

from ris_lib.fusion.cam import CAM
from ris_lib.fusion.late import LateFusion
from ris_lib.fusion.pwam import PWAM
from ris_lib.fusion.vlba import VLBA
from ris_lib.fusion.wpa import WPA

#: Fusion blocks by the name that a recipe uses.
FUSIONS = {"late": LateFusion, "pwam": PWAM, "vlba": VLBA, "wpa": WPA, "cam": CAM}

__all__ = ["CAM", "FUSIONS", "PWAM", "VLBA", "WPA", "LateFusion"]
