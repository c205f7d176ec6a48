"""From a feature pyramid to fine pixel features."""

from ris_lib.decoders.detail_merge import DetailMerge
from ris_lib.decoders.top_down import TopDown

#: Decoders by the name that a recipe uses.
DECODERS = {"top_down": TopDown}

__all__ = ["DECODERS", "DetailMerge", "TopDown"]
