"""Run chapters in an environment like Colab's: ``python -m tests.colab.check [--python PROGRAM] [CHAPTER ...]``.

A fresh environment has Colab's versions (``requirements.txt``) and not our library. Each chapter lies alone in a
folder, as in Colab, and its set-up cell takes its branch for Colab, with a wheel of this clone in place of the release.
A chapter fails where a cell fails, where its set-up cell leaves out what the library needs, and where it replaces what
was there. A chapter is named by the start of its file's name: ``01``; without names, all run. This needs no package.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ris_lib._urls import PACKAGE

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / "_build" / "colab"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / "python"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
CHAPTERS = ROOT / "book" / "chapters"


class CheckError(Exception):
    """What is wrong, in words for a person."""


def run(*command: object, **options: object) -> str:
    """Run a program and return what it prints; CheckError with the end of that where it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    if done.returncode:
        raise CheckError(f"{' '.join(words)}\nended with exit code {done.returncode}:\n{done.stdout[-6000:]}")
    return done.stdout


def make_environment(python: str) -> None:
    """An environment with Colab's versions, in which ``google.colab`` is imported before any notebook starts."""
    if not shutil.which(python):
        raise CheckError(f"no program {python!r}; expected a Python, best Colab's 3.13: make colab PYTHON=python3.13")
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    if shutil.which("uv"):
        run("uv", "venv", "--python", python, ENVIRONMENT)
        run("uv", "pip", "install", "--no-config", "--python", PYTHON, "-r", REQUIREMENTS)
    else:
        run(python, "-m", "venv", ENVIRONMENT)
        run(PYTHON, "-m", "pip", "install", "-r", REQUIREMENTS)
    packages = Path(run(PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (packages / "google" / "colab").mkdir(parents=True)
    (packages / "google" / "colab" / "__init__.py").touch()
    (packages / "colab.pth").write_text("import google.colab\n", encoding="utf-8")


def build_wheel(folder: Path) -> Path:
    """A wheel of this clone, built from a copy: what an earlier build left here must not get into it."""
    source = folder / "source"
    shutil.copytree(ROOT / "ris_lib", source / "ris_lib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    run(PYTHON, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, source)
    return next(folder.glob("*.whl"))


def versions() -> dict[str, str]:
    """Package -> version, of all that the environment holds."""
    listed = json.loads(run(PYTHON, "-m", "pip", "--disable-pip-version-check", "list", "--format", "json"))
    return {package["name"]: package["version"] for package in listed}


def copy_chapter(number: str, wheel: Path, folder: Path) -> Path:
    """The chapter, alone in a folder; its set-up cell installs the wheel."""
    found = list(CHAPTERS.glob(f"{number}*.ipynb"))
    if len(found) != 1:
        raise CheckError(f"{len(found)} chapters start with {number!r}; expected one, such as 01")
    text = found[0].read_text(encoding="utf-8")
    if text.count(PACKAGE) != 1:
        raise CheckError(f"{found[0].name} names {PACKAGE} {text.count(PACKAGE)} times; expected once: make format")
    folder.mkdir()
    copy = folder / found[0].name
    copy.write_text(text.replace(PACKAGE, wheel.as_posix()), encoding="utf-8")
    return copy


def run_chapter(notebook: Path, before: dict[str, str]) -> dict[str, str]:
    """Run every cell; returns what the set-up cell installed, and takes that away again."""
    ours = ("RIS_", "PYTHON", "JUPYTER", "IPYTHON")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    variables |= {"RIS_CACHE": str(notebook.parent / "cache"), "IPYTHONDIR": str(notebook.parent / "ipython")}
    try:
        run(BIN / "jupyter-execute", "--timeout=600", notebook, cwd=notebook.parent, env=variables)
        run(PYTHON, "-m", "pip", "check")  # all that the library needs is there, in a version that it accepts
    finally:
        after = versions()
        added = {name: version for name, version in after.items() if name not in before}
        if added:
            run(PYTHON, "-m", "pip", "uninstall", "--yes", *added)
    changed = [f"{name} {was} -> {after.get(name)}" for name, was in before.items() if after.get(name) != was]
    if changed:
        raise CheckError(f"the set-up cell replaced what Colab brings: {', '.join(changed)}")
    if "ris_lib" not in added:
        raise CheckError(f"the set-up cell installed {sorted(added)}; expected ris_lib and what it lacks")
    return added


def main() -> int:
    """Make the environment, run the chapters, say what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER")
    parser.add_argument("--python", default=sys.executable, metavar="PROGRAM", help="Colab's is 3.13")
    options = parser.parse_args()
    chapters = options.chapters or sorted(path.stem for path in CHAPTERS.glob("*.ipynb"))
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        make_environment(options.python)
        wheel = build_wheel(Path(folder))
        before = versions()
        python = run(PYTHON, "--version").strip()
        print(f"{python}, {len(before)} packages, {wheel.name} ({time.perf_counter() - start:.0f} s)", flush=True)
        for number in chapters:
            start = time.perf_counter()
            try:
                added = run_chapter(copy_chapter(number, wheel, Path(folder, number)), before)
                said = "ok, installed " + ", ".join(f"{name} {version}" for name, version in added.items())
            except CheckError as error:
                failed += 1
                said = f"FAIL, {error}"
            print(f"{number} ({time.perf_counter() - start:.0f} s): {said}", flush=True)
    print(f"{len(chapters) - failed} passed, {failed} failed")
    return min(failed, 1)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CheckError as error:
        sys.exit(str(error))
