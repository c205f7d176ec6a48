"""From pixel features and words to a mask."""

from ris_lib.heads.fixed_kernel import FixedKernel

#: Heads by the name that a recipe uses.
HEADS = {"fixed_kernel": FixedKernel}

__all__ = ["HEADS", "FixedKernel"]
