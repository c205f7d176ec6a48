"""The script: its lines, its exit status, its JSON, and input that means harm."""

import importlib.util
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from ris_lib.data.verify import read_files, verify_files
from tests.data.conftest import ReferFolder

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "data_scripts" / "verify.py"


def script(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, SCRIPT, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment)


@pytest.fixture
def main():
    """The script inside this process, which takes a list of arguments."""
    spec = importlib.util.spec_from_file_location("verify_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_lines_status_json_and_the_list_without_leaks(sound, tmp_path):
    root, file = sound.write(), tmp_path / "report.json"
    done = script("--root", str(root), "--dataset", "refcoco", "--split-by", "unc", "--json", str(file), "--fix-leaks",
                  str(tmp_path / "clean"))  # fmt: skip
    assert done.returncode == 1, done.stderr  # the table in a new process is the official one
    lines = done.stdout.splitlines()
    assert lines[0].startswith("refcoco (unc) in ")
    assert (
        "differs  split val: 1 images, 2 refs, 4 sentences; expected 1,500 images, 3,811 refs, 10,834 sentences"
        in lines
    )
    assert "ok       the target against itself scores 100: 5 sentences" in lines
    assert any("train has 1 images, 1 refs, 1 sentences; before 1 images" in line for line in lines)
    report = json.loads(file.read_text())["refcoco"]
    assert report["counts"]["differs"] == sum(line.startswith("differs ") for line in lines)
    assert len(report["verdicts"]) == sum(report["counts"].values())
    assert report["without_leaks"]["left_out"] == {}
    assert (tmp_path / "clean" / "refcoco" / "refs(unc).p").is_file()


def test_what_google_cuts_hold_out_goes_where_it_is_asked_for(main, tmp_path, capsys):
    root = tmp_path / "root"
    for name, cut, splits in (("refcoco", "unc", ["train"] * 3), ("refcocog", "google", ["train", "val", "train"])):
        folder = ReferFolder(root, name, cut)
        for ref, split in zip(folder.refs, splits, strict=True):
            ref["split"] = split
        folder.write()
    left_out = {}
    for flags in ([], ["--google"]):
        out, file = tmp_path / f"out{len(flags)}", tmp_path / "report.json"
        asked = ["--root", str(root), "--dataset", "refcoco", "--fix-leaks", str(out), "--json", str(file), *flags]
        with pytest.raises(SystemExit):
            main(asked)
        left_out[len(flags)] = json.loads(file.read_text())["refcoco"]["without_leaks"]["left_out"]
    assert left_out == {0: {}, 1: {"refcocog (google) val": [9]}}


def test_json_goes_to_stdout_alone_and_holds_all_faults(sound, main, capsys):
    sound.folder.annotations[0]["segmentation"] = []
    sound.folder.annotations[2]["segmentation"] = []
    with pytest.raises(SystemExit) as ended:
        main(["--root", str(sound.write()), "--data", "refcoco", "--json", "-"])
    assert ended.value.code == 1
    out, lines = capsys.readouterr()
    found = {entry["check"]: entry for entry in json.loads(out)["refcoco"]["verdicts"]}
    assert len(found["every ref has a mask"]["faults"]) == 2
    assert "differs  every ref has a mask: 2 faults" in lines


def test_it_ends_with_0_where_nothing_differs(sound, main, capsys):
    arguments = ["--root", str(sound.write()), "--dataset", "refcoco"]
    assert main(arguments) == 0
    assert " 0 differ, 0 leak, " in capsys.readouterr().out
    sound.folder.refs[0]["sentences"].pop()
    sound.write()
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 1


def test_several_data_sets_are_reported_one_after_the_other(sound, main, tmp_path, capsys):
    ReferFolder(sound.folder.root, "refcocog", "umd").write()
    file = tmp_path / "report.json"
    with pytest.raises(SystemExit) as ended:  # only the first is what the official table says
        main(["--root", str(sound.write()), "--dataset", "refcoco", "refcocog", "refcoco", "--json", str(file)])
    assert ended.value.code == 1
    lines = [line.split(" in ")[0] for line in capsys.readouterr().out.splitlines() if str(sound.folder.root) in line]
    assert lines == ["refcoco (unc)", "refcocog (umd)"]
    report = json.loads(file.read_text())
    assert [(name, found["counts"]["differs"] > 0) for name, found in report.items()] == [
        ("refcoco", False),
        ("refcocog", True),
    ]


def test_leaks_do_not_change_the_status_and_what_fails_later_loses_no_report(sound, main, tmp_path, capsys):
    other = ReferFolder(sound.folder.root, "refcocog", "umd")
    other.refs[1]["split"] = "test"
    arguments = ["--root", str(sound.write()), "--dataset", "refcoco", "--json", str(tmp_path / "report.json")]
    other.write()
    sound.write()
    assert main(arguments) == 0
    assert "leaks    train of refcoco (unc), scored on refcocog (umd): of its 1 images 1 in 'test'" in (
        capsys.readouterr().out.replace("0 in 'val', ", "")
    )
    (tmp_path / "report.json").unlink()
    assert main([*arguments, "--fix-leaks", str(tmp_path / "clean")]) == 2
    assert "nothing would be left" in capsys.readouterr().err
    assert json.loads((tmp_path / "report.json").read_text())["refcoco"]["counts"]["leaks"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing to verify; name data sets"),
        (("--dataset", "refcoco", "refcoco+", "--fix-leaks", "clean"), "makes one data set, and 2 are named"),
        (("--dataset", "refcocos"), "unknown data set 'refcocos'; did you mean"),
        (("--dataset", "refcoco", "--split-by", "umd"), "unknown split_by 'umd' of refcoco"),
        (("--dataset", "refcoco+"), "there is no"),
        (("--dataset", "refcoco", "--json", "{root}"), "is a folder"),
        (("--dataset", "refcoco", "--fix-leaks", "{root}"), "exists and is not an empty folder"),
    ],
)
def test_wrong_names_end_with_2_and_one_line(sound, main, arguments, words, capsys):
    root = str(sound.write())
    assert main(["--root", root, *(argument.format(root=root) for argument in arguments)]) == 2
    out, error = capsys.readouterr()
    assert error.startswith("verify.py: ")
    assert words in error
    assert error.count("\n") == 1
    assert not out


REF = {"ref_id": 1, "ann_id": 1, "image_id": 1, "split": "val", "sentences": []}


class _Evil:
    def __reduce__(self):
        return print, ("code of the pickle has run",)


def nested(value: bytes) -> bytes:
    """A pickle of one ref whose field ``split`` is written by hand."""
    head = b"\x80\x02](}(X\x06\x00\x00\x00ref_idK\x01X\x06\x00\x00\x00ann_idK\x01X\x08\x00\x00\x00image_idK\x01"
    return head + b"X\x09\x00\x00\x00sentences]X\x05\x00\x00\x00split" + value + b"ue."


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps([_Evil()]), r"the pickle names builtins\.print; only containers"),
        (pickle.dumps({"ref_id": 1}), "holds dict, not a list of refs"),
        (pickle.dumps([]), "not a list of refs"),
        (pickle.dumps([{"ref_id": 1}]), "ref number 0 has no ann_id, image_id, split, sentences"),
        (pickle.dumps([REF | {"ann_id": "1"}]), "expected a whole number"),
        (
            pickle.dumps([REF | {"ref_id": 10**30}]),
            "expected a whole number",
        ),
        (nested(b"]" * 50_000 + b"a" * 49_999), "has split .*; expected a name"),
        (pickle.dumps([{"ref_id": 1}])[:-9], "no readable pickle, perhaps truncated"),
        (b"{}", "no readable pickle"),
        (b"", "no readable pickle"),
    ],
)
def test_pickles_that_mean_harm_are_refused_with_words(content, words, sound, capsys):
    root = sound.write()
    sound.folder.refs_file.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_files(root, "refcoco")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no readable JSON, perhaps truncated"),
        ("[" * 100_000, "no readable JSON"),
        ("[]", "expected COCO's instances format"),
        ('{"images": {}, "annotations": [], "categories": []}', "has no list 'images'"),
        ('{"images": [7], "annotations": [], "categories": []}', "no whole number as id"),
        ('{"images": [], "annotations": [{"id": true}], "categories": []}', "no whole number as id"),
    ],
)
def test_json_of_something_else_is_refused_with_words(content, words, sound):
    root = sound.write()
    sound.folder.instances_file.write_text(content)
    with pytest.raises(ValueError, match=words):
        read_files(root, "refcoco")


STRANGE = [None, True, -1, 10**400, 1e308, "text", "\x00", "../up", [], [[]], {}, [None], {"a": 1}, [[1, 2, 3]], 1e-300]


@pytest.mark.parametrize("value", STRANGE, ids=range(len(STRANGE)))
def test_strange_values_anywhere_are_judged_and_never_break_the_report(value, sound):
    places = [("refs", key) for key in ("sentences", "sent_ids", "file_name", "category_id")]
    places += [("images", key) for key in ("file_name", "height", "width")]
    places += [("annotations", key) for key in ("image_id", "segmentation", "bbox", "iscrowd", "category_id")]
    for where, key in places:
        entry = getattr(sound.folder, where)[0]
        kept = entry[key]
        entry[key] = value
        root = sound.write(pictures=None)
        verdicts = verify_files(read_files(root, "refcoco"))
        assert all(str(verdict) for verdict in verdicts)
        json.dumps([verdict.to_dict() for verdict in verdicts])
        entry[key] = kept
    for key in ("sent", "sent_id", "raw"):
        sentence = sound.folder.refs[0]["sentences"][0]
        kept = sentence[key]
        sentence[key] = value
        assert verify_files(read_files(sound.write(pictures=None), "refcoco"))
        sentence[key] = kept


def test_a_list_in_lists_without_end_inside_a_sentence_is_named(sound):
    root = sound.write()
    refs = pickle.dumps(sound.folder.refs, protocol=2)
    assert b"X\x09\x00\x00\x00big thing" in refs
    sound.folder.refs_file.write_bytes(refs.replace(b"X\x09\x00\x00\x00big thing", b"]" * 9000 + b"a" * 8999, 1))
    verdicts = {verdict.check: verdict for verdict in verify_files(read_files(root, "refcoco"))}
    assert "has no text in 'sent'" in str(verdicts["every ref has a sentence"])
