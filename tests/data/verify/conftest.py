"""A small data set of which every line of the report is ok, until a test spoils it."""

import hashlib
import json
from pathlib import Path

import pytest

from ris_lib.data.verify import OFFICIAL, Counts, read_files, verify_files


class Sound:
    """Two parts of a small RefCOCO (train on image 9, val on image 4) and tables that call them official."""

    def __init__(self, folder, table: Path):
        self.folder, self.table = folder, table
        folder.refs[1]["split"] = "train"
        for ref in folder.refs:
            ref["sent_ids"] = [entry["sent_id"] for entry in ref["sentences"]]

    def write(self, **how) -> Path:
        """Make the files and the table of checksums; returns the root."""
        self.folder.write(**how)
        files = (self.folder.refs_file, self.folder.instances_file)
        members = {f"refcoco/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
        entry = {"file": "refcoco.zip", "addresses": ["https://example.org/refcoco.zip"], "members": members}
        self.table.write_text(json.dumps({"refcoco": entry}))
        return self.folder.root

    def verdicts(self, **how) -> dict:
        """What the files are judged, by the question."""
        found = verify_files(read_files(self.write(**how), "refcoco", "unc"))
        assert len({verdict.check for verdict in found}) == len(found)
        return {verdict.check: verdict for verdict in found}


@pytest.fixture
def sound(refer_folder, tmp_path, monkeypatch) -> Sound:
    """Files without a fault, not written yet."""
    monkeypatch.setenv("RIS_SOURCES", str(tmp_path / "sources.json"))
    monkeypatch.setitem(OFFICIAL, ("refcoco", "unc"), {"train": Counts(1, 1, 1), "val": Counts(1, 2, 4)})
    return Sound(refer_folder, tmp_path / "sources.json")
