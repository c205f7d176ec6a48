"""Image and text encoders, cut into stages so that fusion can enter between them."""

from ris_lib.encoders.staged import StagedEncoder
from ris_lib.encoders.tiny_image import TinyImage
from ris_lib.encoders.tiny_text import TinyText

#: Image towers by the name that a recipe uses.
IMAGE_TOWERS = {"tiny": TinyImage}

#: Text towers by the name that a recipe uses.
TEXT_TOWERS = {"tiny": TinyText}

__all__ = ["IMAGE_TOWERS", "TEXT_TOWERS", "StagedEncoder", "TinyImage", "TinyText"]
