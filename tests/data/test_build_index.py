"""The script that builds the index: once, again when a file has changed, and never by half."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ris_lib.data import load_dataset, load_index
from ris_lib.data.refer import refer_index

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "data_scripts" / "build_index.py"


@pytest.fixture
def main(monkeypatch, tmp_path):
    """The script inside this process, which takes a list of arguments; its cache is this test's own."""
    monkeypatch.setenv("RIS_CACHE", str(tmp_path / "cache"))
    spec = importlib.util.spec_from_file_location("build_index_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def kept(tmp_path) -> list[Path]:
    """The indices of this test."""
    return sorted((tmp_path / "cache" / "refer").glob("[!.]*.arrow"))


def test_it_says_where_the_index_went_and_what_is_in_it_and_load_dataset_takes_it(
    refer_folder, main, tmp_path, capsys, monkeypatch
):
    refer_folder.refs[1]["split"] = "train"
    refer_folder.annotations[1]["segmentation"] = []
    root = refer_folder.write(pictures=None)
    assert main(["--root", str(root), "--dataset", "refcoco"]) == 0
    (path,) = kept(tmp_path)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith(f"refcoco (unc) in {root}: built in ")
    assert first.endswith(f" MB at {path}")
    assert lines == [
        "  val: 1 images, 2 refs, 4 sentences",
        "  train: 1 images, 1 refs, 1 sentences; 1 refs without a mask",
    ]
    by_split = [refer_folder.refs[k] for k in (0, 2, 1)]
    assert load_index(path).sentences() == [entry["sent"] for ref in by_split for entry in ref["sentences"]]
    monkeypatch.setattr(sys.modules[refer_index.__module__], "read_refer", None)  # reading the files would fail now
    assert load_dataset("refcoco", "val", root=root).counts() == {"images": 1, "refs": 2, "sentences": 4}


def test_a_second_run_builds_nothing_and_several_sets_go_at_once(refer_folder, main, tmp_path, capsys):
    root = refer_folder.write(pictures=None)
    refer_folder.name, refer_folder.split_by = "refcocog", "umd"
    refer_folder.write(pictures=None)
    arguments = ["--root", str(root), "--data", "refcoco", "refcocog", "--json", str(tmp_path / "report.json")]
    assert main(arguments) == 0
    before = {path: path.stat() for path in kept(tmp_path)}
    assert [path.name[:11] for path in before] == ["refcoco-unc", "refcocog-um"]
    assert main(arguments) == 0
    assert {path: path.stat() for path in kept(tmp_path)} == before
    assert capsys.readouterr().out.count(": was there, ") == 2
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["refcocog"]["path"] == str(kept(tmp_path)[1])
    assert report["refcocog"]["split_by"] == "umd"
    assert not report["refcocog"]["new"]
    assert report["refcoco"]["splits"]["val"] == {"images": 2, "refs": 3, "sentences": 5, "without_mask": 0}


def test_an_index_of_other_files_is_built_again(refer_folder, main, tmp_path, capsys):
    root = refer_folder.write(pictures=None)
    arguments = ["--root", str(root), "--data", "refcoco"]
    assert main(arguments) == 0
    newer = refer_folder.instances_file.stat().st_mtime_ns + 10**9
    os.utime(refer_folder.instances_file, ns=(newer, newer))  # same size, same content, another time
    assert main(arguments) == 0
    refer_folder.refs[2]["sentences"].pop(0)
    refer_folder.refs[2]["sentences"] += [{"sent": "cup to the left", "sent_id": 7}, {"sent": "cup", "sent_id": 8}]
    refer_folder.write(pictures=None)
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out.count(": built in ") == 3
    assert out.splitlines()[-1] == "  val: 2 images, 3 refs, 6 sentences"


def test_a_damaged_index_is_new_again(refer_folder, main, tmp_path, capsys):
    arguments = ["--root", str(refer_folder.write(pictures=None)), "--data", "refcoco"]
    assert main(arguments) == 0
    (path,) = kept(tmp_path)
    path.write_bytes(path.read_bytes()[:-50])
    assert main(arguments) == 0
    assert capsys.readouterr().out.count(": built in ") == 2
    assert len(load_index(path)) == 3


KILLED = """
import os, runpy, signal, sys
def killed(partial, path):
    os.truncate(partial, os.path.getsize(partial) // 2)
    os.kill(os.getpid(), signal.SIGKILL)
os.replace = killed
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_run_that_is_killed_while_it_writes_leaves_no_index(refer_folder, main, tmp_path, capsys):
    arguments = ["--root", str(refer_folder.write(pictures=None)), "--data", "refcoco"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", KILLED, SCRIPT, *arguments], env=environment, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = tmp_path / "cache" / "refer"
    assert kept(tmp_path) == []
    assert [name for name in os.listdir(folder) if name.startswith(".partial-")]
    assert main(arguments) == 0
    assert ": built in " in capsys.readouterr().out
    assert len(load_index(kept(tmp_path)[0])) == 3
    assert [name for name in os.listdir(folder) if name.startswith(".partial-")] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing to index; name data sets: --dataset refcoco"),
        (("--data", "refcocos"), "unknown data set 'refcocos'; did you mean"),
        (("--data", "refcoco", "--split-by", "umd"), "unknown split_by 'umd' of refcoco"),
        (("--data", "refcocog"), r"refs(umd).p, but there is no"),
        (("--data", "refcoco", "--json", "{root}"), "is a folder; name a file"),
    ],
)
def test_wrong_input_ends_with_2_and_one_line(refer_folder, main, tmp_path, arguments, words, capsys):
    root = str(refer_folder.write(pictures=None))
    assert main(["--root", root, *(argument.format(root=root) for argument in arguments)]) == 2
    out, error = capsys.readouterr()
    assert error.startswith("build_index.py: ")
    assert words in error
    assert error.count("\n") == 1
    assert not out
    assert kept(tmp_path) == []
