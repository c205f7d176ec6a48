"""Draw ``book/_static/teaser.png``, the picture of the README and the introduction (``make teaser``).

Two scenes of the embedded data set, three sentences each: the same picture, another sentence, another object.
"""

from __future__ import annotations

from pathlib import Path

from ris_lib.data.scenes import draw, make_scene
from ris_lib.show import Picture, overlay

SCENES = [("val", 11), ("val", 13)]
SENTENCES = 3
SIZE = 400  # pixels at which a scene is drawn


def chosen(scene) -> list:
    """One sentence for each of three objects: the longest below 34 letters, because long ones show most."""
    best = {}
    for expression in sorted(scene.expressions, key=lambda e: len(e.sentence)):
        if len(expression.sentence) < 34:
            best[expression.target] = expression
    return list(best.values())[:SENTENCES]


def main() -> None:
    """Draw and save the picture."""
    figure = Picture("", figsize=(7.0, 4.9), layout="constrained")
    axes = figure.subplots(len(SCENES), SENTENCES)
    for row, name in zip(axes, SCENES, strict=True):
        scene = make_scene(*name)
        image, ids = draw(scene, size=SIZE)
        for axis, expression in zip(row, chosen(scene), strict=True):
            axis.imshow(
                overlay(image, ids == expression.target + 1, colour="target", contour=4)
            )
            axis.set_title(f"“{expression.sentence}”", fontsize=9)
            axis.set_axis_off()
    figure.savefig(
        Path(__file__).parent / "_static" / "teaser.png", metadata={"Software": None}
    )


if __name__ == "__main__":
    main()
