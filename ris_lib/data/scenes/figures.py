"""The twelve categories as lists of parts, from back to front.

Local coordinates: ``u`` to the right, ``v`` down, the object fills about [-1, 1] in both. Every part has a signed
distance, a paint, and says whether the object's texture is on it.
"""

from __future__ import annotations

from typing import NamedTuple

from numpy import ndarray as Array

from ris_lib.data.scenes.shapes import box, capsule, circle, common, cut, ellipse, polygon, ring

RGB = tuple[int, int, int]
SKIN: tuple[RGB, ...] = ((250, 214, 180), (236, 188, 146), (196, 140, 100), (140, 92, 62), (98, 64, 44))
HAIR: tuple[RGB, ...] = ((44, 34, 30), (92, 58, 34), (196, 148, 70), (150, 64, 34), (190, 190, 190))
INK: RGB = (48, 40, 44)
GLASS: RGB = (194, 228, 246)

#: Ten corners of a star with radii .95 and .44, to four decimals (constants, so that no sine is asked of the platform).
STAR = (
    (0.0, -0.95),
    (0.2586, -0.356),
    (0.9035, -0.2936),
    (0.4185, 0.136),
    (0.5584, 0.7686),
    (0.0, 0.44),
    (-0.5584, 0.7686),
    (-0.4185, 0.136),
    (-0.9035, -0.2936),
    (-0.2586, -0.356),
)


class Part(NamedTuple):
    """One part of a figure.

    Args:
        distance: Signed distance in local units, ``(height, width)``.
        paint: ``main``, ``dark``, ``light`` (shades of the object's colour), ``accent``, ``skin``, ``hair``, or an RGB.
        textured: The object's texture is on this part.
        opacity: 1 for solid parts; a lighter sheen has less and does not belong to the outline.
    """

    distance: Array
    paint: str | RGB
    textured: bool = False
    opacity: float = 1.0


def parts(category: str, hat: bool, u: Array, v: Array) -> list[Part]:
    """The parts of a category.

    Args:
        category: A name of ``CATEGORIES``.
        hat: Persons only: with a hat.
        u: Local coordinate to the right, ``(height, width)``.
        v: Local coordinate down, ``(height, width)``.
    """
    return _person(u, v, hat) if category == "person" else _THINGS[category](u, v)


def _person(u: Array, v: Array, hat: bool) -> list[Part]:
    trousers, hat_band = (70, 74, 96), (64, 60, 80)
    body = [
        Part(capsule(u, v, (-0.2, 0.62), (-0.2, 0.9), 0.15), trousers),
        Part(capsule(u, v, (0.2, 0.62), (0.2, 0.9), 0.15), trousers),
        Part(capsule(u, v, (-0.42, -0.02), (-0.56, 0.36), 0.12), "main", True),
        Part(capsule(u, v, (0.42, -0.02), (0.56, 0.36), 0.12), "main", True),
        Part(circle(u, v, -0.58, 0.44, 0.11), "skin"),
        Part(circle(u, v, 0.58, 0.44, 0.11), "skin"),
        Part(polygon(u, v, ((-0.26, -0.1), (0.26, -0.1), (0.36, 0.56), (-0.36, 0.56)), 0.14), "main", True),
        Part(ellipse(u, v, 0, -0.5, 0.34, 0.36), "skin"),
        Part(circle(u, v, -0.13, -0.46, 0.05), INK),
        Part(circle(u, v, 0.13, -0.46, 0.05), INK),
        Part(ellipse(u, v, 0, -0.3, 0.09, 0.035), (196, 84, 84)),
    ]
    if hat:
        top = [
            Part(box(u, v, 0, -0.86, 0.30, 0.17, 0.08), hat_band),
            Part(box(u, v, 0, -0.70, 0.50, 0.06, 0.06), hat_band),
        ]
        return body + top
    fringe = Part(common(ellipse(u, v, 0, -0.6, 0.38, 0.34), v + 0.62), "hair")
    return [Part(ellipse(u, v, 0, -0.57, 0.40, 0.40), "hair"), *body, fringe]


def _cat(u: Array, v: Array) -> list[Part]:
    return [
        Part(capsule(u, v, (0.55, 0.7), (0.82, 0.1), 0.1), "dark"),
        Part(ellipse(u, v, 0.05, 0.52, 0.55, 0.46), "main", True),
        Part(polygon(u, v, ((-0.55, -0.88), (-0.12, -0.55), (-0.5, -0.25)), 0.06), "main"),
        Part(polygon(u, v, ((0.55, -0.88), (0.12, -0.55), (0.5, -0.25)), 0.06), "main"),
        Part(ellipse(u, v, 0, -0.28, 0.56, 0.45), "main"),
        Part(circle(u, v, -0.2, -0.32, 0.08), INK),
        Part(circle(u, v, 0.2, -0.32, 0.08), INK),
        Part(polygon(u, v, ((-0.07, -0.17), (0.07, -0.17), (0, -0.09)), 0.02), (240, 130, 140)),
        Part(ellipse(u, v, -0.2, 0.88, 0.17, 0.1), "light"),
        Part(ellipse(u, v, 0.25, 0.88, 0.17, 0.1), "light"),
    ]


def _fish(u: Array, v: Array) -> list[Part]:
    return [
        Part(polygon(u, v, ((0.4, 0), (0.92, -0.46), (0.80, 0), (0.92, 0.46)), 0.06), "dark"),
        Part(polygon(u, v, ((-0.2, -0.4), (0.3, -0.74), (0.32, -0.3)), 0.06), "dark"),
        Part(ellipse(u, v, -0.15, 0, 0.78, 0.5), "main", True),
        Part(circle(u, v, -0.56, -0.1, 0.14), (255, 255, 255)),
        Part(circle(u, v, -0.59, -0.1, 0.07), INK),
        Part(polygon(u, v, ((-0.05, 0.08), (0.25, 0.0), (0.2, 0.3)), 0.05), "dark"),
    ]


def _bird(u: Array, v: Array) -> list[Part]:
    return [
        Part(capsule(u, v, (-0.1, 0.6), (-0.12, 0.9), 0.05), (226, 140, 40)),
        Part(capsule(u, v, (0.15, 0.6), (0.17, 0.9), 0.05), (226, 140, 40)),
        Part(polygon(u, v, ((0.4, 0.1), (0.95, -0.12), (0.9, 0.3)), 0.06), "dark"),
        Part(ellipse(u, v, 0.05, 0.15, 0.62, 0.52), "main", True),
        Part(circle(u, v, -0.36, -0.42, 0.38), "main"),
        Part(polygon(u, v, ((-0.7, -0.5), (-0.98, -0.36), (-0.7, -0.26)), 0.04), (240, 160, 40)),
        Part(circle(u, v, -0.46, -0.48, 0.08), INK),
        Part(ellipse(u, v, 0.2, 0.14, 0.34, 0.22), "dark"),
    ]


def _ball(u: Array, v: Array) -> list[Part]:
    whole = circle(u, v, 0, 0, 0.88)
    return [
        Part(whole, "main", True),
        Part(cut(whole, circle(u, v, -0.12, -0.14, 0.86)), "dark"),
        Part(ellipse(u, v, -0.32, -0.40, 0.2, 0.13), (255, 255, 255), opacity=0.6),
    ]


def _gift(u: Array, v: Array) -> list[Part]:
    return [
        Part(box(u, v, 0, 0.22, 0.72, 0.66, 0.06), "main", True),
        Part(box(u, v, 0, 0.22, 0.13, 0.66), "accent"),
        Part(box(u, v, 0, -0.36, 0.82, 0.16, 0.05), "dark"),
        Part(box(u, v, 0, -0.36, 0.14, 0.16), "accent"),
        Part(ring(ellipse(u, v, -0.26, -0.68, 0.24, 0.17), 0.07), "accent"),
        Part(ring(ellipse(u, v, 0.26, -0.68, 0.24, 0.17), 0.07), "accent"),
    ]


def _mug(u: Array, v: Array) -> list[Part]:
    return [
        Part(ring(ellipse(u, v, 0.58, 0.08, 0.28, 0.34), 0.09), "dark"),
        Part(box(u, v, -0.12, 0.1, 0.6, 0.72, 0.18), "main", True),
        Part(ellipse(u, v, -0.12, -0.58, 0.6, 0.17), "dark"),
        Part(ellipse(u, v, -0.12, -0.56, 0.5, 0.11), (92, 58, 40)),
    ]


def _mushroom(u: Array, v: Array) -> list[Part]:
    return [
        Part(polygon(u, v, ((-0.22, -0.1), (0.22, -0.1), (0.32, 0.76), (-0.32, 0.76)), 0.12), (246, 232, 208)),
        Part(common(ellipse(u, v, 0, 0.12, 0.92, 0.98), v - 0.1), "main", True),
        Part(ellipse(u, v, 0, 0.12, 0.72, 0.09), (214, 190, 160)),
    ]


def _tree(u: Array, v: Array) -> list[Part]:
    return [
        Part(box(u, v, 0, 0.78, 0.14, 0.2, 0.03), (124, 84, 54)),
        Part(polygon(u, v, ((0, -0.15), (0.72, 0.62), (-0.72, 0.62)), 0.07), "main", True),
        Part(polygon(u, v, ((0, -0.5), (0.56, 0.2), (-0.56, 0.2)), 0.07), "main", True),
        Part(polygon(u, v, ((0, -0.88), (0.4, -0.22), (-0.4, -0.22)), 0.07), "main", True),
    ]


def _house(u: Array, v: Array) -> list[Part]:
    return [
        Part(box(u, v, 0, 0.36, 0.68, 0.54, 0.04), "main", True),
        Part(box(u, v, 0.42, -0.55, 0.11, 0.28, 0.02), (120, 110, 112)),
        Part(polygon(u, v, ((0, -0.84), (0.86, -0.18), (-0.86, -0.18)), 0.07), "accent"),
        Part(box(u, v, -0.3, 0.56, 0.17, 0.34, 0.04), (110, 74, 52)),
        Part(box(u, v, 0.3, 0.34, 0.2, 0.2, 0.03), GLASS),
        Part(box(u, v, 0.3, 0.34, 0.02, 0.2), (255, 255, 255)),
    ]


def _car(u: Array, v: Array) -> list[Part]:
    tyre, rim = (50, 50, 58), (190, 192, 200)
    return [
        Part(polygon(u, v, ((-0.42, -0.42), (0.28, -0.42), (0.56, 0.0), (-0.6, 0.0)), 0.1), "dark"),
        Part(polygon(u, v, ((-0.36, -0.36), (-0.08, -0.36), (-0.08, -0.03), (-0.46, -0.03)), 0.03), GLASS),
        Part(polygon(u, v, ((0.05, -0.36), (0.24, -0.36), (0.44, -0.03), (0.05, -0.03)), 0.03), GLASS),
        Part(box(u, v, 0, 0.2, 0.92, 0.3, 0.18), "main", True),
        Part(circle(u, v, 0.8, 0.16, 0.09), (255, 240, 170)),
        Part(circle(u, v, -0.48, 0.5, 0.25), tyre),
        Part(circle(u, v, 0.48, 0.5, 0.25), tyre),
        Part(circle(u, v, -0.48, 0.5, 0.11), rim),
        Part(circle(u, v, 0.48, 0.5, 0.11), rim),
    ]


def _star(u: Array, v: Array) -> list[Part]:
    smile = common(ring(circle(u, v, 0, 0.1, 0.14), 0.03), 0.14 - v)
    return [
        Part(polygon(u, v, STAR, 0.06), "main", True),
        Part(circle(u, v, -0.16, -0.06, 0.07), INK),
        Part(circle(u, v, 0.16, -0.06, 0.07), INK),
        Part(smile, INK),
    ]


_THINGS = {
    "cat": _cat,
    "fish": _fish,
    "bird": _bird,
    "ball": _ball,
    "gift": _gift,
    "mug": _mug,
    "mushroom": _mushroom,
    "tree": _tree,
    "house": _house,
    "car": _car,
    "star": _star,
}
