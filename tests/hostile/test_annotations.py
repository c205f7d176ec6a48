"""``instances.json`` of any shape: rows, or a refusal that names the file; never half an index."""

import copy
import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import strategies as some

from ris_lib.data.refer import photographs_of, refer_index
from ris_lib.data.verify import read_files, verify_files
from tests.data.conftest import ReferFolder
from tests.hostile.cases import CHANGES, DAMAGE, MEGABYTE, VALUES, attempt, damaged, fuzz, replaced

#: What reading may take: 16 megabytes are an index's own; JSON's empty dictionary has 64 bytes, and 3 in the file.
BOUND = 16 * MEGABYTE
FOR_EACH_BYTE = 100


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> ReferFolder:
    folder = ReferFolder(tmp_path_factory.mktemp("annotations") / "root")
    folder.annotations[0]["segmentation"] = {"size": [20, 30], "counts": [100, 50, 450]}
    folder.write()
    return folder


@pytest.fixture(scope="module")
def cache(small, tmp_path_factory):
    """A cache folder for indices, beside the data. Arrow takes room for its own at its first call."""
    folder, before = tmp_path_factory.mktemp("cache"), os.environ["RIS_CACHE"]
    os.environ["RIS_CACHE"] = str(folder)
    refer_index(small.root, "refcoco")
    yield folder
    os.environ["RIS_CACHE"] = before


def content(small: ReferFolder) -> dict:
    """What the small file holds."""
    whole = {"images": small.images, "annotations": small.annotations, "categories": [{"id": 47, "name": "cup"}]}
    return copy.deepcopy(whole)


@pytest.fixture(scope="module")
def real_files(small) -> list[bytes]:
    files = [json.dumps(content(small)).encode(), json.dumps(content(small), indent=1).encode()]
    if folder := os.environ.get("RIS_TEST_DATA"):
        for file in sorted(Path(folder).rglob("instances*.json"))[:4]:
            whole = json.loads(file.read_bytes())
            files.append(
                json.dumps({key: value[:3] for key, value in whole.items() if isinstance(value, list)}).encode()
            )
    return files


def read(small: ReferFolder, cache: Path, data: bytes) -> None:
    """Through every door: the index, the list of photographs, the report of faults."""
    small.instances_file.write_bytes(data)
    shutil.rmtree(cache / "refer", ignore_errors=True)
    bound, named = BOUND + FOR_EACH_BYTE * len(data), small.name
    kept, _ = attempt(lambda: refer_index(small.root, small.name), cache, names=named, bound=bound)
    if kept is not None:
        assert len(kept.index) == 3
    attempt(lambda: photographs_of(small.root, small.name, small.split_by), names=named, bound=bound)
    report, _ = attempt(lambda: verify_files(read_files(small.root, small.name)), cache, names=named, bound=bound)
    for verdict in report or ():
        str(verdict).encode()
    assert not list(cache.rglob("*partial*"))


@fuzz(30, changes=CHANGES)
def test_records_of_any_shape(small, cache, changes):
    read(small, cache, json.dumps(replaced(content(small), changes)).encode())


@fuzz(10, value=VALUES)
def test_json_of_any_shape(small, cache, value):
    read(small, cache, json.dumps(value).encode())


@fuzz(15, damage=DAMAGE)
def test_damaged_files(small, cache, real_files, damage):
    read(small, cache, damaged(real_files, damage))


PLACES = [("categories", 0, "name"), ("annotations", 2, "bbox"), ("annotations", 2, "segmentation")]
PLACES += [("annotations", 2, "iscrowd"), ("images", 0, "file_name"), ("images", 0, "height"), ("images", 0, "another")]


@fuzz(5, depth=some.one_of(some.integers(600, 1000), some.integers(900, 100_000)), place=some.sampled_from(PLACES))
def test_nests_as_deep_as_they_like(small, cache, depth, place):
    part, number, key = place
    whole = content(small)
    whole[part][number][key] = "@"
    read(small, cache, json.dumps(whole).replace('"@"', "[" * depth + "]" * depth).encode())
