"""Draw the pictures of the book's front (``make teaser``).

``book/_static/teaser.png`` stands in the README and in front of the printed book: two scenes of the embedded data set, three sentences
each; the same picture, another sentence, another object. ``card.png`` is what others see where an address of the book is
shared (``book/_ext/social.py``): less, and larger, because it is shown small.
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


def draw_sentence(axis, image, mask, sentence: str, size: float, contour: int) -> None:
    """The picture, all dim but for the mask, below its sentence in letters of ``size`` points; the contour is in pixels."""
    axis.imshow(overlay(image, mask, colour="target", contour=contour))
    axis.set_title(f"“{sentence}”", fontsize=size)
    axis.set_axis_off()


def teaser() -> Picture:
    """All scenes, all their sentences."""
    figure = Picture("", figsize=(7.0, 4.9), layout="constrained")
    axes = figure.subplots(len(SCENES), SENTENCES)
    for row, name in zip(axes, SCENES, strict=True):
        scene = make_scene(*name)
        image, ids = draw(scene, size=SIZE)
        for axis, expression in zip(row, chosen(scene), strict=True):
            draw_sentence(
                axis, image, ids == expression.target + 1, expression.sentence, 9, 4
            )
    return figure


def card() -> Picture:
    """The title beside one scene with two of its sentences, 1200 x 630 pixels."""
    figure = Picture("", figsize=(12.0, 6.3))
    figure.text(
        0.033,
        0.775,
        "Referring\nimage\nsegmentation",
        fontsize=32,
        fontweight="bold",
        linespacing=1.3,
        va="top",
    )
    figure.text(0.033, 0.19, "a book that runs", fontsize=24)
    scene = make_scene(*SCENES[0])
    image, ids = draw(scene, size=2 * SIZE)
    for left, expression in zip((0.35, 0.675), chosen(scene)[::2], strict=True):
        axis = figure.add_axes([left, 0.18, 0.305, 0.305 * 12.0 / 6.3])
        draw_sentence(
            axis, image, ids == expression.target + 1, expression.sentence, 20, 10
        )
    return figure


def main() -> None:
    """Draw and save both."""
    static = Path(__file__).parent / "_static"
    for name, figure in (("teaser", teaser()), ("card", card())):
        figure.savefig(static / f"{name}.png", metadata={"Software": None})


if __name__ == "__main__":
    main()
