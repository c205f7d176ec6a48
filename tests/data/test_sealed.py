"""A sealed split: the same for one key, another for the next, like ``test``, and nowhere on disk afterwards."""

import numpy as np
import pytest

from ris_lib.data.scenes import make_scene
from ris_lib.data.sealed import fingerprint, read_key, sealed_scenes

KEY = "a key of some letters"


def pictures(key, count=3):
    with sealed_scenes(key, size=32, count=count) as dataset:
        return [(sample.image, [e.sentence for e in sample.expressions]) for sample in dataset]


def test_one_key_gives_one_split():
    for (image, sentences), (again, repeated) in zip(pictures(KEY), pictures(KEY), strict=True):
        np.testing.assert_array_equal(image, again)
        assert sentences == repeated


def test_another_key_gives_other_scenes_and_none_of_them_is_of_test():
    scenes = {key: [make_scene("test", number, key) for number in range(20)] for key in (KEY, KEY + "s", "")}
    said = {key: {(s.surface, s.objects) for s in made} for key, made in scenes.items()}
    assert not said[KEY] & said[KEY + "s"]
    assert not said[KEY] & said[""]


def test_without_a_key_scenes_are_what_they_were():
    assert make_scene("test", 5) == make_scene("test", 5, key="")


def test_masks_belong_to_the_pictures():
    with sealed_scenes(KEY, size=48, count=2) as dataset:
        for number, sample in enumerate(dataset):
            scene = make_scene("test", number, KEY)
            assert [e.sentence for e in sample.expressions] == [e.sentence for e in scene.expressions]
            assert all(e.mask().any() and e.mask().shape == (48, 48) for e in sample.expressions)
        assert dataset.split == "sealed"
        assert dataset.seed_info["key"] == fingerprint(KEY)


def test_nothing_stays_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    cache = tmp_path / "cache"
    monkeypatch.setenv("RIS_CACHE", str(cache))
    with sealed_scenes(KEY, size=32, count=1) as dataset:
        assert list(tmp_path.rglob("*.npy"))
        dataset[0]
    assert not list(tmp_path.rglob("*.npy"))
    assert not cache.exists()


def test_a_fingerprint_does_not_hold_the_key():
    assert fingerprint(KEY) != fingerprint(KEY + "s")
    assert fingerprint(KEY) not in KEY


def test_a_key_is_read_without_the_end_of_its_line(tmp_path):
    path = tmp_path / "key.txt"
    path.write_text(f"  {KEY}\r\n")
    assert read_key(path) == KEY


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"short\n", "key of 5 letters.*expected 16"),
        (b"\xff\xfe" * 20, "is no text"),
        (None, "make one with: python -c"),
    ],
)
def test_bad_keys_are_refused(tmp_path, content, message):
    path = tmp_path / "key.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_key(path)


@pytest.mark.parametrize("count", [0, 1001])
def test_a_count_out_of_range_is_refused(count):
    with pytest.raises(ValueError, match="expected 1 to 1000"), sealed_scenes(KEY, count=count):
        pass
