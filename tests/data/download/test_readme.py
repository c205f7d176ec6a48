"""The block of the README that goes from nothing to scores, run as it stands there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.conftest import with_every_split

ROOT = Path(__file__).parents[3]


def block() -> list[str]:
    """The commands below the heading, one a line."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (found,) = re.findall(
        r"^## From nothing to scores on real data\n+```\n(.*?)```$", text, flags=re.DOTALL | re.MULTILINE
    )
    return found.splitlines()


@pytest.fixture
def refer_folder(refer_folder):
    """More images than two, in the splits that RefCOCO has."""
    return with_every_split(refer_folder)


def test_the_block_names_each_step_once_and_no_other_host():
    assert [line.split()[:2] for line in block()] == [
        ["python", "data_scripts/download.py"],
        ["python", "data_scripts/verify.py"],
        ["python", "data_scripts/build_index.py"],
        ["ris", "train"],
        ["ris", "eval"],
    ]
    assert not re.search("RIS_|http|limit", "\n".join(block()))


@pytest.mark.slow
def test_it_runs_from_an_empty_folder_to_printed_scores(host, tmp_path):
    work = tmp_path / "clone"
    shutil.copytree(ROOT / "data_scripts", work / "data_scripts", ignore=shutil.ignore_patterns("__pycache__"))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    assert shutil.which("ris", path=path), "the command is not installed beside this Python; make setup installs it"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    steps = [line.replace("--steps 600", "--steps 2") for line in block()]
    assert sum(a != b for a, b in zip(steps, block(), strict=True)) == 1
    shown = {}
    for line in steps:
        done = subprocess.run(  # by a shell, into which a reader pastes it
            line, shell=True, cwd=work, env=environment, capture_output=True, text=True, encoding="utf-8"
        )
        step = re.search(r"(\w+)\.py|ris (\w+)", line)
        shown[step[1] or step[2]] = done.stdout
        # These files are not the official ones, which verify.py has to say; everything else ends well.
        assert done.returncode == (1 if step[1] == "verify" else 0), done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    assert "photographs: 11 fetched" in shown["download"]
    differing = [line.split()[1:3] for line in shown["verify"].splitlines() if line.startswith("differs ")]
    assert differing == [["split", f"{split}:"] for split in ("train", "val", "testA", "testB")]
    assert "built in" in shown["build_index"]
    assert "  train: 8 images, 8 refs, 16 sentences" in shown["build_index"].splitlines()
    indices = list((tmp_path / "cache" / "refer").glob("[!.]*.arrow"))
    assert [str(path) for path in indices] == [shown["build_index"].splitlines()[0].split(" MB at ")[1]]
    assert "lavt_tiny on refcoco (unc) val, protocol original" in shown["eval"]
    for score in ("mIoU", "oIoU", "Prec@0.5"):
        value = float(re.search(rf"{re.escape(score)} *\S? *([0-9.]+)", shown["eval"])[1])
        assert 0 <= value <= 1
