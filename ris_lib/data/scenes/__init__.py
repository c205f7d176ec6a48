"""The embedded data set ``scenes``: procedural pictures with sentences that name exactly one object.

No download, any resolution; a split and a number are a scene, the same on every machine.

::

    scene = make_scene("val", 0)
    image, ids = draw(scene, size=320)
    mask = ids == scene.expressions[0].target + 1
"""

from ris_lib.data.scenes.build import build_scenes
from ris_lib.data.scenes.grammar import SceneExpression
from ris_lib.data.scenes.layout import SceneObject
from ris_lib.data.scenes.renderer import draw
from ris_lib.data.scenes.resolver import Description, Modifier, Program, Resolver
from ris_lib.data.scenes.scene import SPLITS, VERSION, Scene, make_scene
from ris_lib.data.scenes.vocabulary import COLOURS, HELD, KINDS, VOCABULARY

__all__ = [
    "COLOURS",
    "HELD",
    "KINDS",
    "SPLITS",
    "VERSION",
    "VOCABULARY",
    "Description",
    "Modifier",
    "Program",
    "Resolver",
    "Scene",
    "SceneExpression",
    "SceneObject",
    "build_scenes",
    "draw",
    "make_scene",
]
