"""Image and text encoders, cut into stages so that fusion can enter between them."""

from ris_lib.encoders.bert import BertText
from ris_lib.encoders.clip_image import ClipImage
from ris_lib.encoders.clip_text import ClipText
from ris_lib.encoders.staged import ImageTower, StagedEncoder, TextTower
from ris_lib.encoders.swin import SwinImage
from ris_lib.encoders.timm_pyramid import TimmImage
from ris_lib.encoders.tiny_image import TinyImage
from ris_lib.encoders.tiny_text import TinyText

#: Image towers by the name that a recipe uses.
IMAGE_TOWERS: dict[str, type[ImageTower]] = {"tiny": TinyImage, "swin": SwinImage, "timm": TimmImage, "clip": ClipImage}

#: Text towers by the name that a recipe uses.
TEXT_TOWERS: dict[str, type[TextTower]] = {"tiny": TinyText, "bert": BertText, "clip": ClipText}

__all__ = [
    "IMAGE_TOWERS",
    "TEXT_TOWERS",
    "BertText",
    "ClipImage",
    "ClipText",
    "ImageTower",
    "StagedEncoder",
    "SwinImage",
    "TextTower",
    "TimmImage",
    "TinyImage",
    "TinyText",
]
