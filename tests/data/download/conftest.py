"""A host on this machine that has small archives of all data sets, and a table of addresses that names it."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest

from tests.data.download.server import server

SETS = {"refcoco": ("unc", "google"), "refcoco+": ("unc",), "refcocog": ("umd", "google")}


def packed(folder: Path, inside: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, f"{inside}/{path.relative_to(folder).as_posix()}")
    return buffer.getvalue()


@pytest.fixture
def host(refer_folder, tmp_path, monkeypatch):
    """Small archives of all three data sets and their photographs, and a table that knows them."""
    for name, cuts in SETS.items():
        for cut in cuts:
            refer_folder.name, refer_folder.split_by = name, cut
            refer_folder.write()
    with server() as running:
        table = {}
        for name in SETS:
            content = packed(refer_folder.root / name, name)
            running.files[f"{name}.zip"] = content
            table[name] = {
                "file": f"{name}.zip",
                "addresses": [f"{running.address}/dead/{name}.zip", f"{running.address}/{name}.zip"],
                "sha256": hashlib.sha256(content).hexdigest(),
                "members": {f"{name}/{path.name}": "" for path in (refer_folder.root / name).iterdir()},
            }
        photographs = refer_folder.root / "images" / "train2014"
        running.files["train2014.zip"] = packed(photographs, "train2014")
        md5 = hashlib.md5(running.files["train2014.zip"]).hexdigest()
        table["train2014"] = {"file": "train2014.zip", "addresses": [f"{running.address}/train2014.zip"], "md5": md5}
        address = f"{running.address}/train2014/{{file_name}}"
        table["photographs"] = {"file": "{file_name}", "addresses": [address]}
        running.files |= {f"train2014/{path.name}": path.read_bytes() for path in photographs.iterdir()}
        (tmp_path / "sources.json").write_text(json.dumps(table))
        monkeypatch.setenv("RIS_SOURCES", str(tmp_path / "sources.json"))
        monkeypatch.setenv("RIS_CACHE", str(tmp_path / "cache"))
        yield running
