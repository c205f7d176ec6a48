"""The wheel: all of the library and nothing else, and it works where only what it asks for is installed."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from packaging.requirements import Requirement
from PIL import Image

ROOT = Path(__file__).parents[1]

#: Stands in a folder of its own as ``sitecustomize.py``: what the wheel does not ask for is not found.
BLOCKER = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    names = frozenset({names!r})

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in cls.names else super().find_spec(name, path, target)

sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""


def tracked(folder: str) -> set[str]:
    listed = subprocess.run(["git", "ls-files", "-z", folder], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no clone: what belongs to the library is asked of git")
    return {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the files that git knows, in a folder of its own."""
    source = tmp_path_factory.mktemp("source")
    for name in tracked("ris_lib") | {"pyproject.toml", "README.md", "LICENSE"}:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    build = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (path,) = (source / "dist").glob("*.whl")
    return path


def test_it_holds_the_library_and_nothing_else(wheel):
    with ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert inside == tracked("ris_lib")
    assert "ris_lib/py.typed" in inside


def needed() -> set[str]:
    """Every distribution that the library asks for, and what these ask for."""
    found, open_ends = set(), ["ris_lib"]
    while open_ends:
        name = open_ends.pop()
        for text in distribution(name).requires or []:
            asked = Requirement(text)
            plain = re.sub(r"[-_.]+", "-", asked.name).lower()
            wanted = asked.marker is None or asked.marker.evaluate({"extra": ""})
            if wanted and plain not in found:
                found.add(plain)
                open_ends.append(plain)
    return found


@pytest.fixture(scope="module")
def clean(wheel, tmp_path_factory):
    """A function that runs Python with the wheel, and without what it does not ask for."""
    site, custom = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("custom")
    with ZipFile(wheel) as archive:
        archive.extractall(site)
    allowed = needed() | {"ris-lib"}
    blocked = {
        module
        for module, homes in packages_distributions().items()
        if not any(re.sub(r"[-_.]+", "-", home).lower() in allowed for home in homes)
    }
    assert {"pytest", "otter", "sphinx"} <= blocked
    (custom / "sitecustomize.py").write_text(BLOCKER.format(names=sorted(blocked)), encoding="utf-8")

    def run(*arguments: str, cwd: Path) -> str:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (custom, site))), "COLUMNS": "160"}
        done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    assert run("-c", "from importlib.util import find_spec; print(find_spec('pytest'))", cwd=site).strip() == "None"
    assert Path(run("-c", "import ris_lib; print(ris_lib.__file__)", cwd=site).strip()).is_relative_to(site)
    return run


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(256, size=(120, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg")
    return tmp_path


def test_importing_it_is_quick_and_does_not_import_torch(clean, tmp_path):
    code = "import sys, time; begun = time.perf_counter(); import ris_lib; print(time.perf_counter() - begun)"
    seconds, torch = clean("-c", f"{code}; print('torch' in sys.modules)", cwd=tmp_path).split()
    assert float(seconds) < 3
    assert torch == "False"


@pytest.mark.slow
def test_what_the_readme_shows_in_python_runs(clean, photo):
    shown = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert len(shown) >= 2
    code = "\n".join(shown) + "\nprint(masks.shape, masks.dtype, type(model).__name__)"
    assert clean("-c", code, cwd=photo).strip() == "(2, 120, 160) bool ReferringSegmenter"


@pytest.mark.slow
def test_every_public_name_is_there(clean, tmp_path):
    code = "import ris_lib; print(all(hasattr(ris_lib, name) for name in ris_lib.__all__), *ris_lib.list_models())"
    there, *models = clean("-c", code, cwd=tmp_path).split()
    assert there == "True"
    assert {"eavl_tiny", "magnet_base"} <= set(models)


@pytest.mark.slow
def test_the_command_predicts_with_weights_that_ship(clean, photo):
    listed = clean("-m", "ris_lib", "models", "*_tiny", cwd=photo)
    assert "coupalign_tiny" in listed
    said = clean("-m", "ris_lib", "predict", "--model", "eavl_tiny", "photo.jpg", "the left person", cwd=photo)
    assert said
    (written,) = photo.rglob("prediction.json")
    assert json.loads(written.read_text(encoding="utf-8"))
