"""The checker itself: it passes what is right, and nothing else."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.golden import check as checker
from tests.golden.case import ADAPTERS
from tests.golden.compare import compare

DATA = Path(__file__).parent / "data"
COUNT = len(list(DATA.glob("*.npz"))) + 3  # two lists of tokens, one of a made-up data set


def run(folder: Path, capsys, *arguments: str) -> tuple[int, list[str]]:
    code = checker.main([str(folder), *arguments])
    return code, capsys.readouterr().out.splitlines()


def changed(source: str, folder: Path, **arrays) -> Path:
    """A copy of a golden file with other entries; None removes one."""
    content = dict(np.load(DATA / source))
    for name, value in arrays.items():
        name = name.replace("__", "/")
        if value is None:
            del content[name]
        else:
            content[name] = value(content[name]) if callable(value) else value
    np.savez(folder / source, **content)
    return folder


def with_meta(source: str, folder: Path, **entries) -> Path:
    meta = json.loads(str(np.load(DATA / source)["meta"])) | entries
    return changed(source, folder, meta=np.array(json.dumps(meta)))


ARITHMETIC = "metrics_lavt_arithmetic.npz"


def test_the_files_of_this_repository_pass(capsys):
    code, lines = run(DATA, capsys)
    assert code == 0
    assert lines[-1] == f"{COUNT} passed, 0 failed"
    assert all(line.split()[4] == "ok" for line in lines[:-1])


def test_all_golden_files_of_metrics_and_data_pass(golden_folder, real_data, capsys):
    code, lines = run(golden_folder, capsys, "--only", "metrics,data")
    assert code == 0
    assert lines[-1] == "14 passed, 0 failed"


@pytest.mark.parametrize("name", ["I", "U", "iou", "mIoU", "oIoU", "pr", "printed"])
def test_a_tampered_output_fails(name, tmp_path, capsys):
    code, lines = run(changed(ARITHMETIC, tmp_path, **{f"out__{name}": lambda value: value + 1}), capsys)
    assert code == 1
    assert "FAIL" in lines[0]
    assert name in lines[0]
    assert lines[-1] == "0 passed, 1 failed"


@pytest.mark.parametrize("file", sorted(path.name for path in DATA.glob("*.npz")))
def test_a_tampered_last_output_fails_in_every_file(file, tmp_path, capsys):
    meta = json.loads(str(np.load(DATA / file)["meta"]))
    shutil.copy(DATA / "formula.py", tmp_path)
    for name in (meta["outputs"][0], meta["outputs"][-1]):
        code, lines = run(changed(file, tmp_path, **{f"out__{name}": lambda value: value + 100}), capsys)
        assert code == 1
        assert "FAIL" in lines[0]
        assert name in lines[0]


@pytest.mark.parametrize("file", ["bert_tokens.json", "cris_tokens.json"])
def test_a_tampered_token_fails(file, tmp_path, capsys):
    content = json.loads((DATA / file).read_text())
    content[content["meta"]["outputs"][-1]][1][2] += 1
    (tmp_path / file).write_text(json.dumps(content))
    assert run(tmp_path, capsys)[0] == 1


@pytest.mark.parametrize(
    ("part", "tamper"),
    [
        ("masks", lambda masks: masks["8"].update(pixels_union=1)),
        ("masks", lambda masks: masks["9"].update(crc32_union_packbits=1)),
        ("masks", lambda masks: masks["8"].update(pixels_equal_1=1482)),
        ("masks", lambda masks: masks.pop("8")),
        ("boxes", lambda boxes: boxes["3"].__setitem__(2, 1.0)),
        ("sentences", lambda sentences: sentences["3"][0].__setitem__(1, "cat")),
        ("sentences", lambda sentences: sentences["3"].pop()),
        ("all_ref_ids_in_order", lambda ids: ids.reverse()),
        ("ref_ids_by_cat", lambda ids: ids["1"].pop()),
    ],
)
def test_a_tampered_expectation_of_the_reader_fails(part, tamper, tmp_path, capsys):
    content = json.loads((DATA / "refer_synthetic_expected.json").read_text())
    tamper(content[part])
    (tmp_path / "refer_synthetic_expected.json").write_text(json.dumps(content))
    shutil.copytree(DATA / "refer_synthetic", tmp_path / "refer_synthetic")
    code, lines = run(tmp_path, capsys)
    assert code == 1
    assert part in lines[0]


def test_nan_fails_in_the_file_and_in_our_answer(tmp_path, capsys, monkeypatch):
    folder = changed(ARITHMETIC, tmp_path, out__mIoU=np.array(np.nan))
    code, lines = run(folder, capsys)
    assert code == 1
    assert "NaN in the file" in lines[0]
    right = ADAPTERS["metrics.lavt_arithmetic"]
    monkeypatch.setitem(ADAPTERS, "metrics.lavt_arithmetic", lambda case: right(case) | {"mIoU": float("nan")})
    code, lines = run(with_meta(ARITHMETIC, tmp_path), capsys)
    assert code == 1
    assert "NaN in ours" in lines[0]


def test_a_missing_output_fails_with_its_name(tmp_path, capsys, monkeypatch):
    code, lines = run(changed(ARITHMETIC, tmp_path, out__oIoU=None), capsys)
    assert code == 1
    assert "oIoU is missing in the file" in lines[0]
    code, lines = run(with_meta(ARITHMETIC, tmp_path, outputs=["I", "gIoU"]), capsys)
    assert code == 1
    assert "gIoU is missing in our answer" in lines[0]


def test_another_shape_fails(tmp_path, capsys):
    code, lines = run(changed(ARITHMETIC, tmp_path, out__I=lambda value: value[:-1]), capsys)
    assert code == 1
    assert "shape" in lines[0]


def test_an_adapter_that_raises_fails_and_the_rest_goes_on(tmp_path, capsys):
    shutil.copy(DATA / "metrics_cris_arithmetic.npz", tmp_path)
    code, lines = run(changed(ARITHMETIC, tmp_path, in__pred=None), capsys)
    assert code == 1
    assert "KeyError" in lines[1]
    assert lines[-1] == "1 passed, 1 failed"


def test_an_unknown_component_is_no_success(tmp_path, capsys):
    shutil.copy(DATA / "metrics_cris_arithmetic.npz", tmp_path)
    code, lines = run(with_meta(ARITHMETIC, tmp_path, component="nobody.knows"), capsys)
    assert code == 1
    assert lines[1].split()[:5] == ["nobody.knows", ARITHMETIC, "-", "-", "unknown"]
    assert lines[-1] == "1 passed, 0 failed"


def test_damaged_files_fail(tmp_path, capsys):
    (tmp_path / "short.npz").write_bytes((DATA / ARITHMETIC).read_bytes()[:500])
    (tmp_path / "short.json").write_bytes((DATA / "bert_tokens.json").read_bytes()[:500])
    (tmp_path / "empty.json").write_text('{"meta": {"component": "data.x"}}')
    np.savez(tmp_path / "bare.npz", x=np.zeros(1))
    code, lines = run(tmp_path, capsys)
    assert code == 1
    assert lines[-1] == "0 passed, 4 failed"


def test_only_selects_and_nothing_selected_fails(capsys, tmp_path):
    code, lines = run(DATA, capsys, "--only", "metrics.cris,data.bert")
    assert code == 0
    assert lines[-1] == "3 passed, 0 failed"
    for arguments in (["--only", "nothing"], ["--only", ","], ["--only", ""]):
        code, lines = run(DATA, capsys, *arguments)
        assert code == 1
        assert "nothing was selected" in lines[0]
    assert run(tmp_path, capsys)[0] == 1
    with pytest.raises(SystemExit) as stop:
        checker.main([str(tmp_path / "nowhere")])
    assert stop.value.code == 2
    assert "nowhere" in capsys.readouterr().err


def test_missing_data_is_skipped_and_counted_never_passed(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("RIS_TEST_DATA", raising=False)
    meta = {"component": "data.refer", "outputs": ["n_refs"], "config": {"data": "../data/none", "dataset": "refcoco"}}
    (tmp_path / "refer.json").write_text(json.dumps({"meta": meta, "n_refs": 1}))
    code, lines = run(tmp_path, capsys)
    assert code == 1  # nothing was checked
    assert "skipped" in lines[0]
    assert lines[-2:] == ["1 skipped (needs RIS_TEST_DATA)", "0 passed, 0 failed"]
    shutil.copy(DATA / ARITHMETIC, tmp_path)
    code, lines = run(tmp_path, capsys)
    assert code == 0
    assert lines[-2:] == ["1 skipped (needs RIS_TEST_DATA)", "1 passed, 0 failed"]


def test_other_sizes_are_read_from_the_file(tmp_path, capsys):
    """A file that was never seen: three masks of 2 x 3 pixels, counted by hand."""
    pred = np.array([[1, 1, 0, 0, 0, 0], [0] * 6, [1] * 6], bool)
    target = np.array([[0, 1, 1, 0, 0, 0], [0] * 6, [1] * 6], bool)
    precisions = [100 / 3] * 5
    folder = changed(
        ARITHMETIC,
        tmp_path,
        in__pred=np.packbits(pred),
        in__target=np.packbits(target),
        in__shape=np.array([3, 2, 3]),
        out__I=np.array([1, 0, 6]),
        out__U=np.array([3, 0, 6]),
        out__iou=np.array([1 / 3, 0, 1]),
        out__mIoU=np.array(400 / 9),
        out__oIoU=np.array(700 / 9),
        out__pr=np.array(precisions),
        out__printed=np.array([44.44, *[33.33] * 5, 77.78]),
    )
    code, lines = run(folder, capsys)
    assert (code, lines[-1]) == (0, "1 passed, 0 failed")


def test_compare_finds_the_worst_leaf():
    expected = {"a": {"x": 1.0, "y": [1, 2]}, "b": {"x": 2.0, "y": [3, 4]}}
    assert compare(expected, expected, None, "out").ok
    mine = {"a": {"x": 1.05, "y": [1, 2]}, "b": {"x": 2.0, "y": [3, 5]}}
    worst = compare(mine, expected, {"x": 0.1, "others": 0}, "out")
    assert (worst.ok, worst.error, worst.where) == (False, 1.0, "out.b.y")
    assert compare(mine, expected, {"x": 0.1, "others": 1}, "out").ok
    assert not compare("cat", "dog", None, "out").ok
    assert compare(np.array([np.inf]), np.array([np.inf]), {"atol": 1.0}, "out").ok
    assert not compare(np.array([1.0]), np.array([np.inf]), {"atol": 1.0}, "out").ok
    assert compare(np.array([1.5, 10.9]), np.array([1.0, 10.0]), {"atol": 0.5, "rtol": 0.1}, "out").ok
    assert not compare(np.array([1.5, 12.9]), np.array([1.0, 10.0]), {"atol": 0.5, "rtol": 0.1}, "out").ok
