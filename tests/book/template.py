"""Modules of ``book`` for the tests (``book`` itself is no package): the set-up cell, which chapter builds what."""

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def _module(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem.lstrip("_"), ROOT / "book" / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


setup = _module("_setup_cell.py")
built_in = _module("_ext/built_in.py")
