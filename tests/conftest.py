"""Fixtures for every test: real data and golden numbers where this machine has them, one thread, a cache of its own."""

import os
from pathlib import Path

import pytest
import torch


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set: this test needs files that are not in the repository")
    folder = Path(value)
    if not folder.is_dir():
        raise FileNotFoundError(f"{variable}={value} is not a folder")
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real COCO and RefCOCO samples, named by RIS_TEST_DATA."""
    return _folder("RIS_TEST_DATA")


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    """Numbers made by other implementations, named by RIS_GOLDEN."""
    return _folder("RIS_GOLDEN")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Indices and drawn scenes of a test run go to a folder of its own, never to the user's cache."""
    before = os.environ.get("RIS_CACHE")
    os.environ["RIS_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["RIS_CACHE"]
    else:
        os.environ["RIS_CACHE"] = before
