"""From an empty folder to data sets that the library reads, by the functions and by the script."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ris_lib.data import load_dataset
from ris_lib.data.download import DownloadError, download_annotations, download_photographs
from tests.data.download.conftest import SETS
from tests.data.download.server import web_page

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"}


PHOTOGRAPHS = {f"images/train2014/COCO_train2014_{number:012d}.jpg" for number in (4, 9)}


@pytest.mark.parametrize("images", ["needed", "all"])
def test_an_empty_folder_becomes_data_sets_and_a_second_time_nothing_happens(host, tmp_path, images):
    root = tmp_path / "new" / "folder"
    assert download_annotations(root, [*SETS, "refcoco"], progress=False) == list(SETS)
    assert download_photographs(root, SETS, images, progress=False) == 2
    cuts = {f"{name}/refs({cut}).p" for name, cuts in SETS.items() for cut in cuts}
    assert files(root) == PHOTOGRAPHS | cuts | {f"{name}/instances.json" for name in SETS}
    sample = load_dataset("refcocog", "val", root=root, split_by="google")[0]
    assert sample.image.shape == (20, 30, 3)
    host.asked.clear()
    assert download_annotations(root, SETS, progress=False) == []
    assert download_photographs(root, SETS, images, progress=False) == 0
    assert host.asked == []


def test_archives_stay_where_that_is_asked_for(host, tmp_path):
    download_annotations(tmp_path / "new", ["refcoco+"], keep_archives=True, progress=False)
    assert "archives/refcoco+.zip" in files(tmp_path / "new")


def test_a_file_that_is_missing_is_added_and_the_others_stay(host, tmp_path):
    root = tmp_path / "new"
    (root / "refcoco").mkdir(parents=True)
    (root / "refcoco" / "refs(unc).p").write_bytes(b"my own")
    assert download_annotations(root, ["refcoco"], progress=False) == ["refcoco"]
    assert (root / "refcoco" / "refs(unc).p").read_bytes() == b"my own"
    assert (root / "refcoco" / "refs(google).p").is_file()


def test_wrong_names_are_refused_before_the_network(host, tmp_path):
    with pytest.raises(ValueError, match=r"unknown data set 'refcocoo'; did you mean"):
        download_annotations(tmp_path, ["refcoco", "refcocoo"])
    with pytest.raises(ValueError, match="unknown choice of images 'some'"):
        download_photographs(tmp_path, ["refcoco"], "some")
    assert host.asked == []


def test_photographs_need_annotations_first(host, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected .*refs\(unc\)\.p"):
        download_photographs(tmp_path, ["refcoco"])


def test_a_changed_archive_is_not_unpacked(host, tmp_path):
    host.files["refcoco.zip"] += b"x"
    with pytest.raises(DownloadError, match="the file is another one: sha256"):
        download_annotations(tmp_path / "new", ["refcoco"], progress=False)
    assert files(tmp_path / "new") == set()


def script(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "data_scripts" / "download.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})


def test_the_script_does_it_all(host, tmp_path):
    done = script("--root", str(tmp_path / "new"), "--data", "refcoco", "refcoco+")
    assert done.returncode == 0, done.stderr
    assert "2 fetched, 0 were there" in done.stdout
    assert "photographs: 2 fetched" in done.stdout
    assert files(tmp_path / "new") > PHOTOGRAPHS
    again = script("--root", str(tmp_path / "new"), "--dataset", "refcoco", "refcoco+", "--images", "all")
    assert "0 fetched, 2 were there" in again.stdout
    assert "photographs: 0 fetched" in again.stdout


def test_the_script_says_what_is_wrong_in_one_line_and_ends_with_2(host, tmp_path):
    host.faults["refcoco.zip"] = [web_page]
    wrong = [
        ((), "nothing to download"),
        (("--weights", "magnet"), "expected MODEL:DATA, such as magnet:refcoco"),
        (("--weights", "lavt:refcoco"), "no checkpoint of lavt_base is at a public address"),
        (("--root", str(tmp_path / "new"), "--data", "refcoco"), "a web page instead of the file"),
    ]
    for arguments, words in wrong:
        done = script(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("download.py: ")
        assert words in done.stderr
        assert "Traceback" not in done.stderr
