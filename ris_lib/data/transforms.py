"""From a picture of any size to the network's size, and masks back to the original pixels.

Each way of resizing returns, with the picture, ``to_network``: for rows and for columns a scale and an offset, such
that a point at original pixel-centre coordinate ``p`` (the centre of pixel 3 has p = 3) lies at ``scale * p + offset``
on the network's picture. What ``to_network`` says is exact, so ``restore`` inverts every resize in the same way.

Sources: stretch as in LAVT (plain resize, the aspect ratio is lost); ``letterbox_cris`` as in CRIS (affine warp, cubic,
no antialiasing); ``letterbox`` is our decision: the same frame with antialiasing and centred to half a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

Size = tuple[int, int]


def stretch(image: np.ndarray, size: Size, fill: Sequence[float] = ()) -> tuple[Tensor, Tensor]:
    """Resize to exactly ``size`` (bilinear, antialiased); the aspect ratio is lost.

    Args:
        image: (H, W, 3) uint8, RGB.
        size: (height, width) of the result.
        fill: Not used: nothing is left to fill. Here so that all ways of resizing are called alike.

    Returns:
        The picture, (3, height, width) float32 in [0, 1], and ``to_network`` (2, 2) float64.

    Raises:
        ValueError: The picture is not (H, W, 3) uint8, or the size is not positive.

    Example:
        >>> picture, to_network = stretch(np.zeros((4, 6, 3), dtype=np.uint8), (8, 8))
        >>> picture.shape, to_network[0].tolist()
        (torch.Size([3, 8, 8]), [2.0, 0.5])
    """
    _check(image, size)
    scales = size[0] / image.shape[0], size[1] / image.shape[1]
    return _to_tensor(_resize(image, size)), _centred(scales, (0, 0))


def letterbox(image: np.ndarray, size: Size, fill: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Resize into ``size`` keeping the aspect ratio (bilinear, antialiased), centred, the rest filled.

    Args:
        image: (H, W, 3) uint8, RGB.
        size: (height, width) of the result.
        fill: Colour around the picture, three numbers in [0, 1]; usually the mean that ``normalise`` subtracts.

    Returns:
        As ``stretch``.

    Raises:
        ValueError: As ``stretch``, or ``fill`` is not three numbers.

    Example:
        >>> picture, to_network = letterbox(np.full((2, 4, 3), 255, dtype=np.uint8), (8, 8), (0.5, 0.5, 0.5))
        >>> picture[0, :, 0].tolist()
        [0.5, 0.5, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5]
    """
    _check(image, size)
    scale = min(size[0] / image.shape[0], size[1] / image.shape[1])
    inner = tuple(min(max(round(side * scale), 1), whole) for side, whole in zip(image.shape[:2], size))
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    frame = _colour(fill).expand(3, *size).clone()
    frame[:, top : top + inner[0], left : left + inner[1]] = _to_tensor(_resize(image, inner))
    scales = inner[0] / image.shape[0], inner[1] / image.shape[1]
    return frame, _centred(scales, (top, left))


def letterbox_cris(image: np.ndarray, size: Size, fill: Sequence[float]) -> tuple[Tensor, Tensor]:
    """The letterbox of CRIS: one cubic warp without antialiasing; pixel 0's centre lands on the frame's offset.

    For comparison with published weights. Against ``letterbox`` it aliases where it shrinks, and the picture sits up to
    half a pixel off the middle.

    Args:
        image: (H, W, 3) uint8, RGB.
        size: (height, width) of the result.
        fill: Colour around the picture, three numbers in [0, 1].

    Returns:
        As ``stretch``.

    Raises:
        ValueError: As ``letterbox``.
    """
    _check(image, size)
    scale = min(size[0] / image.shape[0], size[1] / image.shape[1])
    offsets = [(whole - side * scale) / 2 for side, whole in zip(image.shape[:2], size)]
    to_network = torch.tensor([[scale, offsets[0]], [scale, offsets[1]]], dtype=torch.float64)
    colour = _colour(fill)
    inverse = torch.stack([1 / to_network[:, 0], -to_network[:, 1] / to_network[:, 0]], dim=1)
    warped = _sample(_to_tensor(image) - colour, inverse, size, "bicubic", "zeros") + colour
    return (warped * 255).round_().clamp_(0, 255).div_(255), to_network  # OpenCV writes 8 bits


#: The ways of resizing by the name that ``Preprocess.resize`` uses.
RESIZES = {"stretch": stretch, "letterbox": letterbox, "letterbox_cris": letterbox_cris}


def normalise(image: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Subtract the mean and divide by the deviation, channel by channel.

    Args:
        image: (3, height, width) float in [0, 1].
        mean: Three numbers.
        std: Three positive numbers.

    Returns:
        (3, height, width) float.

    Example:
        >>> normalise(torch.ones(3, 1, 1), (0.5, 0.5, 0.5), (0.25, 0.5, 1.0)).flatten().tolist()
        [2.0, 1.0, 0.5]
    """
    return (image - _colour(mean).to(image)).div_(_colour(std).to(image))


def resize_mask(mask: np.ndarray, to_network: Tensor, size: Size) -> Tensor:
    """Bring a mask to the network's size by nearest neighbour: each pixel asks the original pixel under its centre.

    PIL decides where a centre falls between two pixels, as in LAVT's code; so the masks are the same to the pixel.

    Args:
        mask: (H, W) bool at the original size.
        to_network: (2, 2) as the resize returned it.
        size: (height, width) of the network's picture.

    Returns:
        (height, width) bool; False where there is no picture. A tiny object may vanish.

    Raises:
        ValueError: The mask is not a boolean (H, W).

    Example:
        >>> _, to_network = stretch(np.zeros((1, 2, 3), dtype=np.uint8), (1, 4))
        >>> resize_mask(np.array([[True, False]]), to_network, (1, 4)).tolist()
        [[True, True, False, False]]
    """
    if mask.ndim != 2 or mask.dtype != bool:
        raise ValueError(f"expected a mask as (H, W) bool, got {mask.shape} {mask.dtype}; use mask > 0.")
    (scale_y, offset_y), (scale_x, offset_x) = to_network.tolist()
    # PIL wants the inverse, in coordinates where pixel 3 reaches from 3 to 4.
    inverse = (
        *(1 / scale_x, 0, 0.5 - (0.5 + offset_x) / scale_x),
        *(0, 1 / scale_y, 0.5 - (0.5 + offset_y) / scale_y),
    )
    picture = Image.fromarray(mask.astype(np.uint8))
    resized = picture.transform((size[1], size[0]), Image.Transform.AFFINE, inverse, Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(resized, dtype=bool))


def restore(maps: Tensor, to_network: Tensor, original_size: Sequence[int], mode: str = "bilinear") -> Tensor:
    """Bring maps from the network's picture back to the original pixels: the inverse of every resize above.

    Args:
        maps: (n, height, width) float on the network's grid: probabilities, or logits.
        to_network: (2, 2) as the resize returned it.
        original_size: (H, W) of the picture.
        mode: ``bilinear``, ``bicubic`` or ``nearest``. Beyond the border the border's value counts.

    Returns:
        (n, H, W), same dtype and device as ``maps``.

    Raises:
        ValueError: ``maps`` is not (n, height, width) float, or the mode is not known.

    Example:
        >>> _, to_network = stretch(np.zeros((2, 2, 3), dtype=np.uint8), (4, 4))
        >>> restore(torch.arange(16.0).view(1, 4, 4), to_network, (2, 2))
        tensor([[[ 2.5000,  4.5000],
                 [10.5000, 12.5000]]])
    """
    if maps.ndim != 3 or not maps.is_floating_point():
        raise ValueError(f"expected maps as (n, height, width) float, got {tuple(maps.shape)} {maps.dtype}.")
    if mode not in ("bilinear", "bicubic", "nearest"):
        raise ValueError(f"unknown mode {mode!r}; expected bilinear, bicubic or nearest.")
    return _sample(maps, to_network, original_size, mode, "border")


def _sample(maps: Tensor, affine: Tensor, size: Sequence[int], mode: str, padding: str) -> Tensor:
    """Read ``maps`` (n, h, w) at ``scale * p + offset`` for every pixel p of an output of ``size``."""
    points = []
    for k in (0, 1):  # rows, columns; float64 until the end, then grid_sample's coordinates: -1 and 1 are outer edges
        scale, offset = affine[k].tolist()
        where = scale * torch.arange(size[k], dtype=torch.float64) + offset
        points.append((2 * where + 1) / maps.shape[1 + k] - 1)
    rows, columns = points
    grid = torch.stack([columns.expand(size[0], -1), rows[:, None].expand(-1, size[1])], dim=-1)
    grid = grid[None].to(maps)
    return F.grid_sample(maps[None], grid, mode=mode, padding_mode=padding, align_corners=False)[0]


def _centred(scales: tuple[float, float], pad: tuple[int, int]) -> Tensor:
    """``to_network`` of a resize that maps outer edges to outer edges, shifted by ``pad``."""
    return torch.tensor([[s, 0.5 * s - 0.5 + p] for s, p in zip(scales, pad)], dtype=torch.float64)


def _resize(image: np.ndarray, size: Size) -> np.ndarray:
    if image.shape[:2] == tuple(size):
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float().div_(255)


def _colour(values: Sequence[float]) -> Tensor:
    if len(values) != 3:
        raise ValueError(f"expected three numbers, one per channel, got {values!r}.")
    return torch.tensor(values, dtype=torch.float32)[:, None, None]


def _check(image: np.ndarray, size: Size) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"the picture is {image.shape} {image.dtype}; expected (H, W, 3) uint8. Use ris_lib.data.read_picture."
        )
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size is {size!r}; expected (height, width), both positive.")
