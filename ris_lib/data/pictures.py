"""Reading any picture as the one form that the rest of the library knows: (height, width, 3) uint8, RGB.

Files come from cameras, phones, scanners and strangers: turned by an EXIF tag, grey, CMYK, with a palette, 16 bits
deep, animated, truncated, or made to fill the memory. What can be read is read, what cannot is refused by name.

Source: our decision. Transparent parts show white, as on a page; 16-bit levels keep their full range (65535 is white).
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

#: Larger pictures are refused before they are decoded: 100 megapixels are 300 MB as RGB.
MAX_PIXELS = 100_000_000

#: File formats that are read. Others of PIL's run programs (EPS calls Ghostscript) or are no photographs.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")

# The last bytes of a whole file: JPEG's end of image, PNG's empty last chunk with its checksum.
_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"\0\0\0\0IEND\xaeB`\x82"}


def read_picture(source: str | os.PathLike | Image.Image | np.ndarray, upright: bool = True) -> np.ndarray:
    """Read a picture.

    Args:
        source: A file's path (of an animation the first frame is read), a PIL picture, or an array: (H, W, 3) RGB,
            (H, W, 4) RGB and opacity, (H, W) or (H, W, 1) grey; bool, uint8, uint16 (65535 is white), float in [0, 1].
        upright: Turn the picture as its EXIF tag says, as every viewer does. False keeps the stored pixels: COCO's
            annotations are drawn on those.

    Returns:
        (height, width, 3) uint8, RGB; a new array, unless ``source`` is such an array already.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is truncated, no picture or of an unknown format; the picture has more than 100 megapixels
            or none; an array has another shape, kind of number or range.

    Example:
        >>> read_picture(Image.new("CMYK", (4, 2))).shape
        (2, 4, 3)
        >>> read_picture(np.zeros((2, 4), dtype=np.uint8)).shape
        (2, 4, 3)
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _from_pil(source, "the picture", upright)
    if not isinstance(source, str | os.PathLike):
        raise ValueError(f"a picture is a path, a PIL picture or a numpy array; got {type(source).__name__}.")
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"no picture at {path}; expected a file such as photo.jpg.")
    with _open(path) as image:
        return _from_pil(image, str(path), upright)


def inspect_picture(path: str | os.PathLike) -> tuple[int, int]:
    """Look at a picture's header and at its end, a twentieth of the work of reading it.

    What is missing, empty, no picture, too large or cut short is refused as ``read_picture`` would refuse it. Damage in
    the middle of a file is not seen. A file that does not end as its format does (some have letters behind their end)
    is read in full.

    Args:
        path: A file.

    Returns:
        Height and width of the stored pixels.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As for ``read_picture``.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.png"
        >>> Image.new("RGB", (4, 2)).save(path)
        >>> inspect_picture(path)
        (2, 4)
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no picture at {path}; expected a file such as photo.jpg.")
    with _open(path) as image:
        size, ends = (image.height, image.width), _ENDS.get(image.format or "")
        _check_size(*size, str(path))
    with path.open("rb") as file:
        file.seek(-min(len(ends or b""), path.stat().st_size), os.SEEK_END)
        if ends is None or file.read() != ends:
            read_picture(path, upright=False)
    return size


def _open(path: Path) -> Image.Image:
    Image.init()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of size, which our own limit decides, and of damaged headers
            return Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])
    except Image.DecompressionBombError as error:
        raise _too_large(str(path), str(error)) from error
    except PermissionError:
        raise
    except Exception as error:  # decoders raise many kinds of error for damaged headers
        raise _unreadable(str(path), error) from error


def _from_pil(image: Image.Image, what: str, upright: bool) -> np.ndarray:
    _check_size(image.height, image.width, what)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a damaged EXIF block is no reason to refuse the pixels
            image.load()
            image = ImageOps.exif_transpose(image) if upright else image
            deep = image.mode == "F" or image.mode.startswith("I")
            if not deep and image.has_transparency_data:
                image = _on_white(image.convert("RGBA"))
            pixels = np.array(image if deep else image.convert("RGB"))
    except Exception as error:  # decoders raise many kinds of error for damaged data
        raise _unreadable(what, error) from error
    return _from_array(_levels(pixels, what)) if deep else pixels


def _on_white(image: Image.Image) -> Image.Image:
    """An RGBA picture laid on a white page."""
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _levels(values: np.ndarray, what: str) -> np.ndarray:
    """PIL's deep grey modes in a form that ``_from_array`` knows: 16 bits, or fractions of white."""
    low, high = values.min(), values.max()
    if values.dtype == np.float32:  # mode F; levels up to 255 are what PIL's convert("F") makes of 8 bits
        return values / 255 if low >= 0 and 1 < high <= 255 else values
    if low < 0 or high > 65535:
        raise ValueError(f"{what} has levels from {low} to {high}, beyond 16 bits; scale them to 8 bits first.")
    return values.astype(np.uint16)


def _from_array(image: np.ndarray) -> np.ndarray:
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        hint = "; move the channels to the end: image.transpose(1, 2, 0)" if image.shape[:1] in ((1,), (3,)) else ""
        raise ValueError(f"the picture's array has shape {image.shape}; expected (height, width, 3){hint}.")
    _check_size(image.shape[0], image.shape[1], "the picture's array")
    image = _to_8_bits(image)
    if image.shape[2] == 4:
        return np.array(_on_white(Image.fromarray(np.ascontiguousarray(image))))
    if image.shape[2] == 1:
        image = image.repeat(3, axis=2)
    return np.ascontiguousarray(image)


def _to_8_bits(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    if image.dtype == bool:
        return image.astype(np.uint8) * 255
    if image.dtype == np.uint16:
        return ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if np.issubdtype(image.dtype, np.floating):
        low, high = float(image.min()), float(image.max())
        if not (low >= 0 and high <= 1):  # also true for NaN
            raise ValueError(
                f"the picture's numbers run from {low:g} to {high:g}; floats are expected in [0, 1]. "
                "For levels up to 255 use image.astype(np.uint8)."
            )
        return (image * 255 + 0.5).astype(np.uint8)
    raise ValueError(f"the picture's array is {image.dtype}; expected uint8. Convert with image.astype(np.uint8).")


def _check_size(height: int, width: int, what: str) -> None:
    if height < 1 or width < 1:
        raise ValueError(f"{what} has no pixel (height {height}, width {width}).")
    if height * width > MAX_PIXELS:
        raise _too_large(what, f"{height} x {width}")


def _too_large(what: str, size: str) -> ValueError:
    return ValueError(f"{what} has more than {MAX_PIXELS // 10**6} megapixels ({size}); make it smaller first.")


def _unreadable(what: str, error: Exception) -> ValueError:
    return ValueError(
        f"{what} cannot be read ({type(error).__name__}: {error}): truncated, damaged or of an unknown format. "
        f"Readable formats: {', '.join(FORMATS)}."
    )
