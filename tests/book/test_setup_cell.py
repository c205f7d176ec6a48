"""What the set-up cell asks of pip, in a shell of IPython whose ``%pip`` only takes notes."""

import importlib.metadata
import re
import sys
from types import ModuleType

import pytest
from IPython.core.interactiveshell import InteractiveShell
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from traitlets.config import Config

from ris_lib._urls import PACKAGE
from tests.book.template import ROOT, setup

LIBRARY = f'install -q --no-deps "{PACKAGE}"'


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Run the cell with some packages hidden from it; returns the lines that ``%pip`` was given."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    distributions = importlib.metadata.distributions

    def run(*hidden: str) -> list[str]:
        def installed(**context):
            return [] if context.get("name") in hidden else distributions(**context)

        monkeypatch.setattr(importlib.metadata, "distributions", installed)
        monkeypatch.setitem(sys.modules, "page", page := ModuleType("page"))
        shell = InteractiveShell(user_module=page, config=Config(HistoryManager={"enabled": False}))
        lines = []
        shell.register_magic_function(lines.append, magic_name="pip")
        shell.run_cell(setup.SOURCE).raise_error()
        assert shell.user_ns["DEVICE"] in ("cpu", "cuda")
        return lines

    return run


@pytest.fixture
def colab(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))


def test_nothing_is_installed_outside_of_colab(asked):
    assert asked("ris_lib", "tyro") == []


@pytest.mark.usefixtures("colab")
def test_colab_gets_the_library_and_what_it_lacks_alone(asked):
    assert asked("ris_lib", "tyro", "open_clip_torch") == [LIBRARY, "install -q tyro", "install -q open_clip_torch"]
    assert asked("ris_lib") == [LIBRARY]
    assert asked("tyro") == [], "the library is there: the cell runs for the second time"


@pytest.mark.usefixtures("colab")
def test_what_only_the_book_and_the_tests_need_is_left_out(asked):
    extras = [need for need in importlib.metadata.requires("ris_lib") if "extra ==" in need]
    assert len(extras) > 10
    assert asked("ris_lib", *(Requirement(need).name for need in extras)) == [LIBRARY]


def test_the_versions_of_colab_are_those_that_the_library_accepts():
    """`make colab` must find the packages that Colab lacks lacking, and the others in versions that are allowed."""
    listed = map(Requirement, re.findall(r"^\w.*", (ROOT / "tests/colab/requirements.txt").read_text("utf-8"), re.M))
    pins = {canonicalize_name(pin.name): next(iter(pin.specifier)) for pin in listed}
    assert {pin.operator for pin in pins.values()} == {"=="}
    lacking = set()
    for need in map(Requirement, importlib.metadata.requires("ris_lib")):
        if need.marker is None and (pin := pins.get(canonicalize_name(need.name))):
            assert pin.version in need.specifier, f"Colab has {need.name} {pin.version}; pyproject.toml wants {need}"
        elif need.marker is None:
            lacking.add(need.name)
    assert lacking == {"open_clip_torch", "tyro"}
