"""Pictures made to crash a decoder, to fill the memory or to name another program: pixels, or a refusal."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as some
from PIL import Image, features

from ris_lib.data.pictures import FORMATS, MAX_PIXELS, read_picture
from tests.hostile.cases import DAMAGE, MEGABYTE, attempt, damaged, fuzz

#: Bytes that reading a picture takes for each of its pixels, at most: 2.4 GB for one of 100 megapixels.
FOR_EACH_PIXEL = 24
#: A damaged header may announce any size up to the limit; the decoder finds the end of the file soon after.
BOUND = FOR_EACH_PIXEL * MAX_PIXELS

NOISE = np.random.default_rng(0).integers(0, 256, (24, 20, 4), dtype=np.uint8)


def written(format: str, mode: str = "RGB", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(NOISE[..., :3]).convert(mode).save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def real_files() -> list[bytes]:
    """A small file of every format and of its odder kinds, and photographs where they are."""
    exif = Image.Exif()
    exif[0x0112] = 6
    other = [Image.fromarray(NOISE[::-1, :, :3])]
    files = [written(name) for name in FORMATS if name != "AVIF" or features.check("avif")]
    files += [written("PNG", "P"), written("PNG", "I;16"), written("PNG", "RGBA"), written("JPEG", "CMYK")]
    files += [written("TIFF", compression=how) for how in ("tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits")]
    files += [written(name, save_all=True, append_images=other) for name in ("GIF", "TIFF", "WEBP", "PNG")]
    files += [written("JPEG", exif=exif), written("PNG", exif=exif), written("JPEG", progressive=True)]
    if folder := os.environ.get("RIS_TEST_DATA"):
        files += [file.read_bytes() for file in sorted(Path(folder).rglob("*.jpg"))[:4]]
    return files


def read(place: Path, data: bytes, name: str = "photo.jpg", upright: bool = True, bound: int = BOUND):
    file = place / name
    file.write_bytes(data)
    picture, message = attempt(lambda: read_picture(file, upright=upright), names=name, bound=bound)
    if picture is not None:
        assert picture.ndim == 3
        assert picture.shape[2] == 3
        assert picture.dtype == np.uint8
        assert picture.size <= 3 * MAX_PIXELS
    return picture, message


@fuzz(45, damage=DAMAGE, upright=some.booleans())
def test_damaged_files(place, real_files, damage, upright):
    read(place, damaged(real_files, damage), upright=upright)


@fuzz(
    10,
    start=some.sampled_from(["%!PS-Adobe", "P6 ", "BM", "GIF89a", "\x89PNG", "RIFF", "II*", "P1", "#!/bin/sh"]),
    rest=some.binary(max_size=80),
)
def test_files_that_begin_like_pictures(place, start, rest):
    read(place, start.encode("latin1") + rest, name="photo.png")


@fuzz(5, header=some.binary(min_size=1, max_size=60))
def test_any_exif(place, header):
    read(place, written("JPEG", exif=b"Exif\0\0" + header))
    read(place, written("PNG", exif=b"Exif\0\0II*\0" + header))


# What would fill the memory.


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(height: int, width: int, *others: bytes, colour: int = 2, depth: int = 8, rows: int | None = None) -> bytes:
    """A black picture: a thousandth of its pixels' bytes."""
    samples = {0: 1, 2: 3, 3: 1, 6: 4}[colour]
    line = b"\0" + bytes((width * samples * depth + 7) // 8)
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(line) for _ in range(height if rows is None else rows)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + palette
        + b"".join(others)
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("colour", "depth"), [(2, 8), (6, 8), (0, 16), (3, 8), (0, 1), (2, 16), (6, 16)])
def test_a_bomb_takes_no_more_than_its_pixels(place, colour, depth):
    transparent = chunk(b"tRNS", b"\0") if colour == 3 else b""
    data = png(2000, 1000, transparent, colour=colour, depth=depth)
    assert len(data) < 2000 * 1000 / 20
    picture, message = read(place, data, "bomb.png", bound=FOR_EACH_PIXEL * 2000 * 1000 + 4 * MEGABYTE)
    assert picture is not None, message


@pytest.mark.parametrize("orientation", [1, 5, 6])
def test_turning_a_photograph_takes_no_more(place, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.new("RGB", (1000, 2000)).save(buffer, "JPEG", exif=exif)
    picture, message = read(place, buffer.getvalue(), bound=FOR_EACH_PIXEL * 2000 * 1000 + 4 * MEGABYTE)
    assert picture is not None, message


def test_more_pixels_than_the_limit_are_never_decoded(place):
    for side in (10_001, 60_000, 2**31 - 1):
        _, message = read(place, png(side, side, rows=10) if side < 100_000 else png_head(side), bound=4 * MEGABYTE)
        assert "megapixels" in message


def png_head(side: int) -> bytes:
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_texts_and_profiles_of_a_picture_stay_packed(place, kind):
    packed = zlib.compress(bytes(40_000_000), 1)
    head = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind]
    read(place, png(2, 2, *[chunk(kind, head + packed)] * 2), bound=16 * MEGABYTE)
