"""From a feature pyramid to fine pixel features."""

from ris_lib.decoders.clip_neck import ClipNeck
from ris_lib.decoders.deformable import Deformable
from ris_lib.decoders.detail_merge import DetailMerge
from ris_lib.decoders.light import Light
from ris_lib.decoders.top_down import TopDown

#: Decoders by the name that a recipe uses.
DECODERS = {"top_down": TopDown, "clip_neck": ClipNeck, "deformable": Deformable, "light": Light}

__all__ = ["DECODERS", "ClipNeck", "Deformable", "DetailMerge", "Light", "TopDown"]
