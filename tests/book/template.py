"""The template of the set-up cell, ``book/_setup_cell.py``, as a module; ``book`` itself is no package."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]

_spec = importlib.util.spec_from_file_location("setup_cell", ROOT / "book" / "_setup_cell.py")
setup = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(setup)
