"""Photographs one by one: which, whole, of the right size, and what happens when some cannot be had."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from ris_lib.data.download import DownloadError, Source, fetch_photographs, needed_photographs
from ris_lib.data.refer import photographs_of
from tests.data.download.server import cut_after, redirect_to, reset, server, silence, status, web_page

module = sys.modules[fetch_photographs.__module__]
NAMES = [f"COCO_train2014_{number:012d}.jpg" for number in range(1, 31)]
NEEDED = dict.fromkeys(NAMES, (20, 30))


def jpeg(height=20, width=30, seed=0, kind="JPEG") -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def host():
    with server() as running:
        for seed, name in enumerate(NAMES):
            running.files[f"train2014/{name}"] = jpeg(seed=seed)
        yield running


def get(host, folder, needed=NEEDED, waits=None, **options) -> int:
    source = Source("{file_name}", (f"{host.address}/train2014/{{file_name}}",))
    sleep = ([] if waits is None else waits).append
    return fetch_photographs(source, folder, needed, progress=False, sleep=sleep, **options)


def refused(host, folder, **options) -> str:
    with pytest.raises(DownloadError) as caught:
        get(host, folder, **options)
    return str(caught.value)


@pytest.mark.parametrize("connections", [1, 8])
def test_all_arrive_and_a_second_time_nothing_is_asked(host, tmp_path, connections):
    assert get(host, tmp_path, connections=connections) == 30
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        name: host.files[f"train2014/{name}"] for name in NAMES
    }
    host.asked.clear()
    assert get(host, tmp_path) == 0
    assert host.asked == []


def test_only_what_is_missing_is_fetched(host, tmp_path):
    (tmp_path / NAMES[3]).write_bytes(b"mine")
    assert get(host, tmp_path) == 29
    assert (tmp_path / NAMES[3]).read_bytes() == b"mine"


def test_what_passes_is_waited_for(host, tmp_path):
    path = f"train2014/{NAMES[0]}"
    host.faults[path] = [reset, cut_after(100), status(503), status(429)]
    waits = []
    assert get(host, tmp_path, waits=waits) == 30
    assert waits == [2.0, 4.0, 8.0, 16.0]


def test_silence_is_a_broken_connection(host, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["ris_lib.data.download.fetch"], "SILENCE", 0.3)
    host.faults[f"train2014/{NAMES[0]}"] = [silence(3)]
    assert get(host, tmp_path, dict(list(NEEDED.items())[:2])) == 2


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (web_page, "no whole JPEG file"),
        (status(404), "answers 404"),
        (redirect_to("loop"), "TooManyRedirects"),
        (lambda handler, content: handler.answer(200, content[: len(content) // 2]), "no whole JPEG file"),
        (lambda handler, content: handler.answer(200, b""), "no whole JPEG file"),
        (lambda handler, _: handler.answer(200, jpeg(kind="PNG")), "no whole JPEG file"),
        (lambda handler, _: handler.answer(200, jpeg(20, 31)), "is 20 x 31, its annotations are made for 20 x 30"),
    ],
    ids=["web page", "404", "redirect loop", "truncated", "empty", "a PNG", "another size"],
)
def test_what_cannot_be_had_is_named_and_the_rest_is_there(host, tmp_path, fault, reason):
    host.faults["loop"] = [redirect_to("loop") for _ in range(30)]
    host.faults[f"train2014/{NAMES[7]}"] = [fault]
    message = refused(host, tmp_path)
    assert message.startswith("1 of 30 photographs are missing")
    assert NAMES[7] in message
    assert reason in message
    assert sorted(path.name for path in tmp_path.iterdir()) == [name for name in NAMES if name != NAMES[7]]
    assert get(host, tmp_path) == 1


def test_a_file_without_end_is_left(host, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 3000)
    host.files[f"train2014/{NAMES[0]}"] = bytes(100_000)
    assert "sends more than 3,000 bytes" in refused(host, tmp_path)


def test_a_host_that_is_down_is_not_asked_for_everything(host, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "GIVE_UP", 5)
    host.files.clear()
    message = refused(host, tmp_path, connections=1)
    assert message.startswith("30 of 30 photographs are missing")
    assert message.count("answers 404") == 5
    assert len({path for path, _ in host.asked}) < 15


def test_the_next_address_is_tried(host, tmp_path):
    source = Source("{file_name}", (f"{host.address}/none/{{file_name}}", f"{host.address}/train2014/{{file_name}}"))
    assert fetch_photographs(source, tmp_path, NEEDED, progress=False) == 30


def test_needed_are_those_that_the_refs_are_on(refer_folder):
    refer_folder.images.append({"id": 77, "file_name": "COCO_train2014_000000000077.jpg", "height": 5, "width": 5})
    root = refer_folder.write(pictures=None)
    expected = {"COCO_train2014_000000000004.jpg": (20, 30), "COCO_train2014_000000000009.jpg": (20, 30)}
    assert photographs_of(root, "refcoco", "unc") == needed_photographs(root, ["refcoco"]) == expected


def test_a_size_that_is_not_known_is_not_compared(refer_folder):
    del refer_folder.images[0]["height"]
    root = refer_folder.write()
    assert needed_photographs(root, ["refcoco"])["COCO_train2014_000000000009.jpg"] is None


def test_two_data_sets_that_disagree_are_refused(refer_folder):
    root = refer_folder.write()
    refer_folder.name = "refcoco+"
    refer_folder.images[0]["height"] = 99
    refer_folder.write()
    with pytest.raises(
        ValueError, match=r"COCO_train2014_000000000009\.jpg is \(99, 30\), another data set: \(20, 30\)"
    ):
        needed_photographs(root, ["refcoco", "refcoco+"])


@pytest.mark.parametrize("name", ["../a.jpg", "a/b.jpg", "", "..", "a\\b.jpg", "C:a.jpg", None])
def test_a_name_that_leads_elsewhere_is_refused(refer_folder, name):
    refer_folder.images[0]["file_name"] = name
    with pytest.raises(ValueError, match="expected the plain name of a file"):
        needed_photographs(refer_folder.write(pictures=None), ["refcoco"])


def test_a_ref_without_its_image_is_refused(refer_folder):
    refer_folder.images.pop()
    with pytest.raises(ValueError, match="image_id 4 is not in"):
        needed_photographs(refer_folder.write(), ["refcoco"])


def test_a_full_disk_is_seen_before(host, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "USUAL", 10**15)
    assert "Make room" in refused(host, tmp_path)
    assert host.asked == []
