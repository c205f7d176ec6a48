"""Every address of the project agrees with ``ris_lib/_urls.py``."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from ris_lib import _urls

ROOT = Path(__file__).parents[1]
#: Text files of the repository's own that may name its address.
FILES = sorted(
    path
    for pattern in ("*.md", "*.cff", "*.yml", "book/**/*.md", "book/**/*.ipynb", ".github/**/*.yml", "ris_lib/**/*.py")
    for path in ROOT.glob(pattern)
)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_config_of_the_book():
    config = yaml.safe_load(read("_config.yml"))
    assert config["repository"]["url"] == _urls.REPOSITORY
    assert config["repository"]["path_to_book"] == "book"
    assert config["html"]["baseurl"] == _urls.BOOK


def test_citation():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["repository-code"] == _urls.REPOSITORY
    assert citation["url"] == _urls.BOOK
    assert citation.get("doi") == _urls.DOI
    entry = dict(re.findall(r"^  (\w+) += \{(.+)\},?$", read("book/licence.md"), flags=re.MULTILINE))
    assert entry["title"] == citation["title"]
    assert entry["url"] == _urls.BOOK
    assert entry.get("doi") == _urls.DOI


def test_readme():
    assert _urls.REPOSITORY in read("README.md")
    assert _urls.BOOK in read("README.md")


def test_tag_and_citation_are_of_this_version():
    version = re.search(r'^version = "(.+)"', read("pyproject.toml"), flags=re.MULTILINE)[1]
    assert f"v{version}" == _urls.TAG
    assert yaml.safe_load(read("CITATION.cff"))["version"] == version
    assert f"## {version}" in read("CHANGELOG.md")


@pytest.mark.parametrize("path", sorted(ROOT.glob("book/**/*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_install_this_package(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    installs = [
        line for cell in cells if cell["cell_type"] == "code" for line in cell["source"] if "pip install" in line
    ]
    ours = [line.split('"')[1] for line in installs if "git+" in line]
    assert ours == [_urls.PACKAGE]
    # a cell may fetch what the library needs and Colab lacks, and nothing else
    needs = {re.match(r"[\w-]+", text)[0] for text in tomllib.loads(read("pyproject.toml"))["project"]["dependencies"]}
    # (the set-up cell takes each name from the library's own metadata)
    assert {line.split()[-1] for line in installs if "git+" not in line} <= {"{name}", *needs}


def test_no_file_names_another_address():
    ours = re.compile(rf"(github\.com/|//)([\w-]+)(/|\.github\.io/){re.escape(_urls.NAME)}\b")
    owners = {
        (match[2].lower(), str(path.relative_to(ROOT)))
        for path in FILES
        for match in ours.finditer(path.read_text(encoding="utf-8"))
        if path.name != "_urls.py"
    }
    assert {owner for owner, _ in owners} <= {_urls.OWNER.lower()}, owners
