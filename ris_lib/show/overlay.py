"""A mask on its picture: the rest is dimmed, and a contour says whose mask it is.

A coloured tint would hide the colour that the sentence names, so the masked object keeps its own pixels and the contour
runs just outside of it. Source: our decision.
"""

from __future__ import annotations

import numpy as np

from ris_lib.show.palette import rgb


def overlay(
    image: np.ndarray,
    mask: np.ndarray,
    colour: str = "prediction",
    target: np.ndarray | None = None,
    dim: float = 0.6,
    contour: int | None = None,
) -> np.ndarray:
    """Draw a mask on a picture.

    Args:
        image: ``(H, W, 3)`` uint8, RGB.
        mask: ``(H, W)`` bool. Its pixels are not touched, all others are dimmed.
        colour: Whose mask it is, a key of ``ris_lib.show.palette.PALETTE``.
        target: ``(H, W)`` bool, a second mask of which only the contour is drawn, in the colour of targets. It stands
            one line further out, so that both contours are seen where both masks are the same.
        dim: How much light the rest loses, 0 (none) to 1 (all).
        contour: Width of the contour in pixels, 0 for none; by default that of ``contour_width``.

    Returns:
        ``(H, W, 3)`` uint8, a new array.

    Raises:
        ValueError: The picture is not (H, W, 3) uint8, a mask is not bool or has another size, ``dim`` lies outside of
            [0, 1], ``contour`` is negative, or the colour has no meaning here.

    Example:
        >>> import numpy as np
        >>> picture, mask = np.full((3, 4, 3), 100, np.uint8), np.zeros((3, 4), bool)
        >>> mask[1, 0] = True
        >>> overlay(picture, mask, contour=0)[..., 0]
        array([[ 40,  40,  40,  40],
               [100,  40,  40,  40],
               [ 40,  40,  40,  40]], dtype=uint8)
    """
    check_picture(image)
    check_mask(mask, image, "mask")
    if target is not None:
        check_mask(target, image, "target")
    if not 0 <= dim <= 1:
        raise ValueError(f"dim={dim} lies outside of [0, 1]; use 0 for the picture as it is, 1 for a black rest.")
    width = contour_width(mask.shape) if contour is None else contour
    if width < 0:
        raise ValueError(f"contour={width} is negative; give a width in pixels, 0 for no contour.")

    drawn = np.where(mask[..., None], image, np.rint(image * (1.0 - dim)).astype(np.uint8))
    if target is not None:
        drawn[ring(target, width, 2 * width)] = rgb("target")
    drawn[ring(mask, 0, width)] = rgb(colour)
    return drawn


def contour_width(size: tuple[int, int]) -> int:
    """The width of a contour, in pixels: a 150th of a picture's longer side, at least 1.

    Args:
        size: ``(H, W)``.

    Example:
        >>> contour_width((96, 96)), contour_width((480, 640))
        (1, 4)
    """
    return max(1, round(max(size) / 150))


def grow(mask: np.ndarray, by: int) -> np.ndarray:
    """A mask and all pixels at most ``by`` rows and columns away from it.

    Args:
        mask: ``(H, W)`` bool.
        by: Pixels, 0 or more.

    Returns:
        ``(H, W)`` bool.

    Example:
        >>> import numpy as np
        >>> grow(np.array([[False, False, False, True]]), 2)
        array([[False,  True,  True,  True]])
    """
    for _ in range(2):  # along the columns, then along the rows: sums over a window, from running sums
        running = np.cumsum(np.pad(mask, ((by + 1, by), (0, 0))), axis=0, dtype=np.int32)
        mask = (running[2 * by + 1 :] > running[: -2 * by - 1]).T
    return mask


def ring(mask: np.ndarray, inner: int, outer: int) -> np.ndarray:
    """The pixels outside of a mask that are more than ``inner`` and at most ``outer`` pixels away from it.

    Args:
        mask: ``(H, W)`` bool.
        inner: Pixels, 0 for a ring that touches the mask.
        outer: Pixels.

    Returns:
        ``(H, W)`` bool.

    Example:
        >>> import numpy as np
        >>> ring(np.array([[True, False, False, False]]), 1, 2)
        array([[False, False,  True, False]])
    """
    return grow(mask, outer) & ~grow(mask, inner)


def check_picture(image: np.ndarray) -> None:
    """Refuse what is not an RGB picture.

    Raises:
        ValueError: ``image`` is not ``(H, W, 3)`` uint8.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"the picture is {_what(image)}; expected an array (height, width, 3) of uint8. "
            'From a PIL picture: np.asarray(picture.convert("RGB")).'
        )


def check_mask(mask: np.ndarray, image: np.ndarray, name: str) -> None:
    """Refuse a mask that does not lie on the picture pixel by pixel.

    Raises:
        ValueError: ``mask`` is not a bool array of the picture's height and width.
    """
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim != 2:
        raise ValueError(
            f"{name} is {_what(mask)}; expected an array (height, width) of bool. "
            "From probabilities: probabilities > 0.5; from a tensor: tensor.numpy()."
        )
    if mask.shape != image.shape[:2]:
        raise ValueError(
            f"{name} has {mask.shape[0]} x {mask.shape[1]} pixels (height x width), the picture has "
            f"{image.shape[0]} x {image.shape[1]}; bring the mask to the picture's size first."
        )


def _what(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} of {value.dtype}"
    return f"a {type(value).__name__}"
