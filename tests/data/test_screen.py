"""Bad photographs among a thousand: found before the first step, listed, left out where that is asked for."""

import io
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from ris_lib.data import load_dataset
from ris_lib.data.pictures import inspect_picture, read_picture
from ris_lib.data.screen import bad_pictures, screen
from tests.data.conftest import ReferFolder, square

module = sys.modules[screen.__module__]


def jpeg(height=20, width=30) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


WHOLE = jpeg()
#: Name of the fault -> what stands in the file (None = there is none), and how that is said.
BAD = {
    "truncated": (WHOLE[:-100], "cannot be read"),
    "cut in its last byte": (WHOLE[:-1], "cannot be read"),
    "empty": (b"", "cannot be read"),
    "a web page": (b"<html>Sign in</html>" * 50, "cannot be read"),
    "wrong size": (jpeg(30, 20), r"is 30 x 20 (height x width), its annotations are made for 20 x 30"),
    "missing": (None, "is missing; expected "),
}


def photographs(folder: ReferFolder, count: int) -> dict[str, str]:
    """Write so many photographs, and in place of some of the last ones what is bad; file name -> fault."""
    folder.images = [{"id": k, "file_name": f"{k:06d}.jpg", "height": 20, "width": 30} for k in range(count)]
    folder.annotations = [folder.annotation(k, k, [square(2, 2, 6)], [2.0, 2.0, 6.0, 6.0]) for k in range(count)]
    folder.refs = [folder.ref(k, k, k, "train", [f"cup {k % 7}"]) for k in range(count)]
    places = folder.write(pictures=None) / "images" / "train2014"
    places.mkdir(parents=True)
    for image in folder.images:
        (places / image["file_name"]).write_bytes(WHOLE)
    bad = {f"{count - 1 - k:06d}.jpg": fault for k, fault in enumerate(BAD)}
    for name, fault in bad.items():
        content, _ = BAD[fault]
        (places / name).unlink() if content is None else (places / name).write_bytes(content)
    return bad


@pytest.fixture
def thousand(refer_folder):
    """A thousand photographs of which six are bad."""
    return refer_folder, photographs(refer_folder, 1000)


def test_bad_photographs_among_a_thousand_are_refused_and_all_are_named(thousand):
    folder, bad = thousand
    dataset = load_dataset("refcoco", "train", root=folder.root)
    with pytest.raises(ValueError, match="--skip-bad, in Python skip_bad=True") as refused:
        screen(dataset)
    first, *lines, last = str(refused.value).splitlines()
    assert first == "6 of 1,000 pictures of refcoco train cannot be trained on:"
    assert "data_scripts/download.py" in last
    for name, fault in bad.items():
        (line,) = [line for line in lines if name in line]
        assert BAD[fault][1] in line


def test_they_are_left_out_where_that_is_asked_for_and_never_in_silence(thousand):
    folder, bad = thousand
    dataset = load_dataset("refcoco", "train", root=folder.root)
    with pytest.warns(UserWarning, match=r"6 of 1,000 pictures of refcoco train are left out:") as said:
        left = screen(dataset, skip=True)
    assert all(name in str(said[0].message) for name in bad)
    assert left.counts() == {"images": 994, "refs": 994, "sentences": 994}
    assert left.seed_info["skipped"] == sorted(bad)
    assert not {record["file_name"] for record in left.records()} & bad.keys()
    assert bad_pictures(left) == []
    assert left[993].image_id == 993
    assert len(dataset) == 1000


def test_a_run_that_goes_on_leaves_out_the_same_and_no_others(refer_folder):
    bad = photographs(refer_folder, 12)
    dataset = load_dataset("refcoco", "train", root=refer_folder.root)
    for name in bad:
        (refer_folder.root / "images" / "train2014" / name).write_bytes(WHOLE)
    with pytest.warns(UserWarning, match="picture 000011.jpg was bad when the run began"):
        assert len(screen(dataset, skip=True, known=list(bad))) == 6
    (refer_folder.root / "images" / "train2014" / "000002.jpg").unlink()
    with (
        pytest.raises(ValueError, match=r"1 of 12 pictures .*, and were not left out when the run began:\n  .*000002"),
        warnings.catch_warnings(action="error"),
    ):
        screen(dataset, skip=True, known=list(bad))


def test_where_all_are_bad_none_can_be_left_out_and_a_long_list_is_cut(refer_folder):
    photographs(refer_folder, 30)
    for path in (refer_folder.root / "images" / "train2014").iterdir():
        path.unlink()
    dataset = load_dataset("refcoco", "train", root=refer_folder.root)
    with pytest.raises(ValueError, match=r"(?s)^all of 30 pictures of refcoco train cannot.*\n  and 10 more$"):
        screen(dataset, skip=True)


def test_whole_pictures_are_passed_without_being_decoded(refer_folder, monkeypatch):
    dataset = load_dataset("refcoco", "val", root=refer_folder.write())
    monkeypatch.setattr(Image.Image, "load", None)
    assert screen(dataset) is dataset


def outcome(look, path) -> str:
    try:
        return "can be read" if look(path) is not None else ""
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_a_look_from_outside_says_what_reading_says(kind, tmp_path):
    path = tmp_path / f"a.{kind}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)).save(path, kind)
    whole = path.read_bytes()
    assert inspect_picture(path) == (20, 30)
    path.write_bytes(whole + b"behind the end")
    assert inspect_picture(path) == read_picture(path).shape[:2]
    for size in (0, 1, 20, len(whole) // 2, len(whole) - 60, len(whole) - 1):
        path.write_bytes(whole[:size])
        said = outcome(inspect_picture, path)
        assert said == outcome(read_picture, path)
        assert "cannot be read" in said or size > len(whole) // 2  # the last bytes of some formats hold no pixel
    path.unlink()
    with pytest.raises(FileNotFoundError, match="no picture at"):
        inspect_picture(path)


def test_a_picture_without_a_known_size_is_not_compared(refer_folder):
    refer_folder.images[0]["height"] = None
    for annotation in refer_folder.annotations:
        annotation["segmentation"] = []
    with pytest.warns(UserWarning, match="have no mask"):
        dataset = load_dataset("refcoco", "val", root=refer_folder.write())
    Image.new("RGB", (5, 5)).save(refer_folder.root / "images/train2014/COCO_train2014_000000000009.jpg")
    assert screen(dataset) is dataset
