"""read_picture: every kind of picture that people have, and clear answers to what is none."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from ris_lib.data import pictures
from ris_lib.data.pictures import read_picture

# Red, green / blue, white, each 4 x 4 pixels: 8 x 8.
CORNERS = np.kron(
    np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], dtype=np.uint8), np.ones((4, 4, 1), np.uint8)
)


def save(tmp_path, image, name="picture.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def check(picture, shape):
    assert picture.shape == (*shape, 3)
    assert picture.dtype == np.uint8
    assert picture.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.gif", "a.tiff", "a.webp", "a.ppm", "a.jpg", "a.jp2"])
def test_formats(name, tmp_path):
    options = {"quality": 100, "subsampling": 0} if name == "a.jpg" else {"lossless": True} if name == "a.webp" else {}
    path = save(tmp_path, Image.fromarray(CORNERS), name, **options)
    for source in (path, str(path)):
        picture = read_picture(source)
        check(picture, (8, 8))
        assert np.abs(picture.astype(int) - CORNERS).max() <= (3 if name == "a.jpg" else 0)


@pytest.mark.parametrize(
    "mode", ["L", "LA", "1", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"]
)
def test_every_mode_of_a_grey_ramp(mode):
    ramp = np.tile(np.linspace(0, 255, 16).astype(np.uint8), (4, 1))
    if mode == "1":
        ramp = (ramp > 127).astype(np.uint8) * 255
    if mode in ("I", "I;16"):
        image = Image.fromarray(ramp.astype(np.uint16) * 257)
        image = image.convert("I") if mode == "I" else image
    elif mode == "PA":
        image = Image.fromarray(ramp).convert("P").convert("PA")
    elif mode == "P":
        image = Image.fromarray(np.dstack([ramp] * 3)).quantize(16)
    elif mode in ("HSV", "CMYK", "YCbCr", "RGBX", "RGBA"):
        image = Image.fromarray(np.dstack([ramp] * 3)).convert(mode)
    else:
        image = Image.fromarray(ramp).convert(mode)
    assert image.mode == mode
    picture = read_picture(image)
    check(picture, (4, 16))
    assert np.abs(picture.astype(int) - ramp[:, :, None]).max() <= 2


def test_cmyk_jpeg_and_16_bit_png_and_tiff(tmp_path):
    cmyk = read_picture(save(tmp_path, Image.fromarray(CORNERS).convert("CMYK"), "cmyk.jpg", quality=100))
    assert np.abs(cmyk.astype(int) - CORNERS)[1:3, 1:3].max() < 12
    deep = Image.fromarray(np.array([[0, 128 * 257, 65535]], dtype=np.uint16))
    for name in ("deep.png", "deep.tiff"):
        assert read_picture(save(tmp_path, deep, name))[0, :, 0].tolist() == [0, 128, 255]
    fractions = Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))
    assert read_picture(save(tmp_path, fractions, "float.tiff"))[0, :, 1].tolist() == [0, 128, 255]
    beyond = Image.fromarray(np.array([[0, 70000]], dtype=np.int32))
    with pytest.raises(ValueError, match="beyond 16 bits"):
        read_picture(beyond)
    with pytest.raises(ValueError, match="from -1 to"):
        read_picture(Image.fromarray(np.array([[-1.0, 3.0]], dtype=np.float32)))


def test_transparent_parts_show_white(tmp_path):
    image = Image.new("RGBA", (3, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (255, 0, 0, 0))
    image.putpixel((2, 0), (0, 0, 0, 128))
    picture = read_picture(save(tmp_path, image))
    assert picture[0, :2].tolist() == [[255, 0, 0], [255, 255, 255]]
    assert picture[0, 2, 0] == pytest.approx(127, abs=1)
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    read = read_picture(save(tmp_path, palette, transparency=1))
    assert read[0].tolist() == [[10, 20, 30], [255, 255, 255]]
    array = np.asarray(image)
    assert (read_picture(array) == picture).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, tmp_path):
    # Store the picture such that a viewer who obeys the tag sees CORNERS' upper half.
    upright = Image.fromarray(CORNERS[:6])
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, stored, "photo.png", exif=exif)
    assert (read_picture(path) == CORNERS[:6]).all()
    assert (read_picture(path, upright=False) == np.asarray(stored)).all()


def test_damaged_exif_is_no_reason_to_refuse(tmp_path):
    path = save(tmp_path, Image.fromarray(CORNERS), "photo.jpg", exif=b"Exif\x00\x00garbage that is no TIFF header")
    check(read_picture(path), (8, 8))


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue")]
    for name in ("a.gif", "a.webp", "a.png", "a.tiff"):
        options = {"lossless": True} if name == "a.webp" else {}
        path = save(tmp_path, frames[0], name, save_all=True, append_images=frames[1:], **options)
        picture = read_picture(path)
        check(picture, (4, 5))
        assert (picture == [255, 0, 0]).all()


def test_arrays():
    assert read_picture(CORNERS) is CORNERS
    assert (read_picture(CORNERS[:, ::-1]) == CORNERS[:, ::-1]).all()
    assert (read_picture(CORNERS / 255) == CORNERS).all()
    assert (read_picture((CORNERS / 255).astype(np.float32)) == CORNERS).all()
    assert (read_picture(CORNERS.astype(np.uint16) * 257) == CORNERS).all()
    assert (read_picture(CORNERS > 0) == CORNERS).all()
    grey = CORNERS[:, :, 0]
    for array in (grey, grey[:, :, None]):
        assert (read_picture(array) == grey[:, :, None]).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (CORNERS.transpose(2, 0, 1), "transpose"),
        (CORNERS[None], r"shape \(1, 8, 8, 3\)"),
        (CORNERS[:, :, :2], "expected .height, width, 3"),
        (CORNERS.astype(np.int64), "astype"),
        (CORNERS.astype(float), "run from 0 to 255"),
        (CORNERS / 255 - 0.1, "run from -0.1"),
        (np.full((2, 2, 3), np.nan), "nan"),
        (np.zeros((0, 4, 3), np.uint8), "no pixel"),
        (np.array(["a"]), "shape"),
        (np.broadcast_to(np.uint8(0), (10_001, 10_000, 3)), "more than 100 megapixels"),
        ([[0, 1]], "a path, a PIL picture or a numpy array; got list"),
        (None, "got NoneType"),
    ],
)
def test_arrays_that_are_no_pictures(array, message):
    with pytest.raises(ValueError, match=message):
        read_picture(array)


def png_of_size(width, height):
    """A PNG that says it is large; its data are missing."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(10_001, 10_000), (15_000, 15_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_large_pictures_are_refused_before_they_are_decoded(size, tmp_path):
    (tmp_path / "large.png").write_bytes(png_of_size(*size))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"large\.png has more than 100 megapixels"):
            read_picture(tmp_path / "large.png")


def test_a_picture_between_pil_s_limit_and_ours_is_read_without_a_warning(tmp_path, monkeypatch):
    path = save(tmp_path, Image.new("L", (40, 30)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(read_picture(path), (30, 40))
    monkeypatch.setattr(pictures, "MAX_PIXELS", 1199)
    for source in (path, Image.new("L", (40, 30))):
        with pytest.raises(ValueError, match="megapixels"):
            read_picture(source)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.tiff", "a.webp", "a.bmp"])
def test_truncated_files_are_refused_and_named(name, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    whole = save(tmp_path, Image.fromarray(noise), name).read_bytes()
    for share in (0.0, 0.001, 0.01, 0.1, 0.5, 0.9):
        (tmp_path / f"cut_{name}").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ValueError, match=rf"cut_{name} cannot be read .*truncated, damaged"):
            read_picture(tmp_path / f"cut_{name}")


def test_damaged_files_raise_nothing_else(tmp_path):
    rng = np.random.default_rng(0)
    refused = 0
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP"):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(buffer, kind)
        for _ in range(60):
            data = bytearray(buffer.getvalue())
            for place in rng.integers(0, min(len(data), 200), size=4):
                data[place] = rng.integers(0, 256)
            (tmp_path / "file").write_bytes(data)
            try:
                assert read_picture(tmp_path / "file").shape[2] == 3
            except ValueError:
                refused += 1
    assert refused > 20


def test_what_is_no_picture(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no picture at .*none\.jpg"):
        read_picture(tmp_path / "none.jpg")
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path)
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(ValueError, match=r"text\.jpg cannot be read"):
        read_picture(tmp_path / "text.jpg")
    # PIL would hand this to Ghostscript.
    (tmp_path / "program.jpg").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    )
    with pytest.raises(ValueError, match="cannot identify image file"):
        read_picture(tmp_path / "program.jpg")
    closed = Image.open(save(tmp_path, Image.new("L", (2, 2))))
    closed.close()
    with pytest.raises(ValueError, match="cannot be read"):
        read_picture(closed)
