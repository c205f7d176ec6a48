"""The table of official counts: what the notes and the book say, what the real files hold, and how cuts are judged."""

import json
from pathlib import Path

import pytest

from ris_lib.data.refer import SPLIT_BY
from ris_lib.data.verify import OFFICIAL, Counts, read_files, verify_files
from ris_lib.data.verify.counts import check_counts, check_cuts
from ris_lib.data.verify.refs import check_splits

CHAPTER = Path(__file__).parents[3] / "book" / "chapters" / "02_data.ipynb"


def states(verdicts):
    return {verdict.check: verdict.state for verdict in verdicts}


def test_every_cut_stands_in_the_table_and_totals_are_the_known_ones():
    assert set(OFFICIAL) == {(name, cut) for name, cuts in SPLIT_BY.items() for cut in cuts}
    refs = {cut: sum(counts.refs for counts in table.values()) for cut, table in OFFICIAL.items()}
    assert refs["refcoco", "unc"] == refs["refcoco", "google"] == 50000
    assert refs["refcocog", "umd"] == refs["refcocog", "google"] == 49822
    sentences = {
        cut: sum(counts.sentences or 0 for counts in table.values())
        for cut, table in OFFICIAL.items()
        if cut != ("refcoco", "google")
    }
    assert list(sentences.values()) == [142210, 141564, 95010, 95010]


def test_the_book_prints_the_same_table():
    cells = json.loads(CHAPTER.read_text(encoding="utf-8"))["cells"]
    page = "".join("".join(cell["source"]) for cell in cells)
    names = {"refcoco": "RefCOCO", "refcoco+": "RefCOCO+", "refcocog": "RefCOCOg"}
    for (name, cut), table in OFFICIAL.items():
        if (name, cut) == ("refcoco", "google"):
            continue
        rows = [f"{split} | {c.images:,} | {c.refs:,} | {c.sentences:,} |" for split, c in table.items()]
        text = f"| {names[name]} ({cut}) | " + "\n| | ".join(rows)
        assert text in page, f"chapter 2 has not the rows\n{text}"


def test_a_split_that_lacks_one_sentence_differs(sound):
    sound.folder.refs[0]["sentences"].pop()
    verdict = sound.verdicts()["split val"]
    assert verdict.state == "differs"
    assert "1 images, 2 refs, 3 sentences; expected 1 images, 2 refs, 4 sentences" in str(verdict)


def test_what_the_table_does_not_know_is_not_compared(sound, monkeypatch):
    monkeypatch.setitem(OFFICIAL, ("refcoco", "unc"), {"train": Counts(None, 1, None), "val": Counts(None, 3, None)})
    verdicts = check_counts(read_files(sound.write(), "refcoco"))
    assert states(verdicts) == {"split train": "ok", "split val": "differs", "no other split": "ok"}


@pytest.mark.parametrize(
    ("name", "cut", "shared", "disjoint"),
    [
        ("refcocog", "umd", "differs", "ok"),
        ("refcocog", "google", "ok", "differs"),
        ("refcoco", "google", *["cannot"] * 2),
    ],
)
def test_images_of_umd_are_divided_and_those_of_google_are_not(refer_folder, name, cut, shared, disjoint):
    refer_folder.name, refer_folder.split_by = name, cut
    for ref, split in zip(refer_folder.refs, ("val", "train", "val")):
        ref["split"] = split
    assert check_splits(read_files(refer_folder.write(), name, cut))[-1].state == disjoint
    refer_folder.refs[0]["split"] = "train"
    assert check_splits(read_files(refer_folder.write(), name, cut))[-1].state == shared


def test_the_two_cuts_of_refcocog_divide_the_same_objects(refer_folder):
    refer_folder.name, refer_folder.split_by = "refcocog", "umd"
    files = read_files(refer_folder.write(), "refcocog")
    assert states(check_cuts(files)) == {"the cut google divides the same objects": "cannot"}
    refer_folder.split_by = "google"
    refer_folder.write()
    assert [verdict.state for verdict in check_cuts(files)] == ["ok"]
    refer_folder.refs.pop()
    refer_folder.write()
    (verdict,) = check_cuts(files)
    assert (verdict.state, verdict.faults) == ("differs", ("annotation 71 only in umd",))
    refer_folder.refs_file.write_bytes(b"no pickle")
    (verdict,) = check_cuts(files)
    assert verdict.state == "cannot"
    assert "no readable pickle" in verdict.came


REAL = [
    ("mini_refcoco", "refcoco", {"val": (4, 11, 30), "testA": (2, 6, 18), "testB": (3, 6, 20)}),
    (
        "mini_refcoco",
        "refcoco+",
        {"train": (13, 35, 100), "val": (4, 11, 33), "testA": (2, 6, 16), "testB": (3, 6, 18)},
    ),
    ("mini_refcoco", "refcocog", {"val": (5, 11, 20)}),
    ("refcoco_text", "refcoco", {"train": (169, 432, 1222), "val": (1500, 3811, 10834), "testA": (750, 1975, 5657)}),
    ("refcoco_text", "refcoco+", {"val": (1500, 3805, 10758), "testA": (750, 1975, 5726)}),
    ("refcoco_text", "refcocog", {"val": (853, 1673, 3176)}),
]


@pytest.mark.parametrize(("folder", "name", "expected"), REAL)
def test_the_real_files_are_judged_as_they_are(folder, name, expected, real_data):
    files = read_files(real_data / folder, name)
    verdicts = {verdict.check: verdict for verdict in verify_files(files)}
    for split, official in OFFICIAL[name, files.split_by].items():
        verdict = verdicts[f"split {split}"]
        came = Counts(*expected[split]) if split in expected else None
        assert verdict.came == (str(came) if came else "no ref of it")
        assert verdict.state == ("ok" if came == official else "differs")
    samples = {check for check in verdicts if check.startswith("split ") or "published" in check}
    lacking = {"every ref has a mask", "every image has a record", "every photograph is there"}
    differs = {check for check, verdict in verdicts.items() if verdict.state == "differs"} - samples
    assert differs == (lacking if folder == "refcoco_text" else set())
