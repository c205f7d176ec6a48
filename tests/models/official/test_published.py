"""Files at a public address, from a server of this machine that speaks the hub's language."""

import hashlib
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import huggingface_hub.constants
import pytest
import torch

from ris_lib.models import create_model
from ris_lib.models.official import published
from ris_lib.models.official.published import PUBLISHED, Checkpoint, fetch_published
from tests.models.official.small import checkpoint, make_small, official_weights, shrink, system

pytestmark = pytest.mark.slow

REPOSITORY, COMMIT, FILE = "somebody/weights", "0123456789abcdef0123456789abcdef01234567", "magnet_refcoco+.pth"


@pytest.fixture(scope="module")
def model():
    return make_small("MagNet")


@pytest.fixture(scope="module")
def content(model, tmp_path_factory) -> bytes:
    """A file of MagNet's form."""
    path = tmp_path_factory.mktemp("published") / FILE
    torch.save(checkpoint("MagNet", official_weights(model, system("MagNet").rules)), path)
    return path.read_bytes()


@pytest.fixture
def hub(content, tmp_path, monkeypatch):
    """A server with one file; ``asked`` lists the requests. Caches of this library and of the hub's are empty."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler({f"/{REPOSITORY}/resolve/{COMMIT}/{FILE}": content}))
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("RIS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_ENDPOINT", address)
    for name, value in {  # what the library made of the environment when it was imported
        "ENDPOINT": address,
        "HUGGINGFACE_CO_URL_TEMPLATE": address + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(tmp_path / "hub" / "hub"),
    }.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    entry = Checkpoint(REPOSITORY, COMMIT, FILE, hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(PUBLISHED, "magnet_base", {"refcoco+": entry})
    shrink("MagNet", monkeypatch)
    yield server
    server.shutdown()
    server.server_close()


def _handler(files: dict[str, bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.server.asked.append(self.command)
            content = files.get(unquote(self.path))
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            if content is not None:
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            else:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            return content

        def do_GET(self):
            self.wfile.write(self.do_HEAD() or b"")

        def log_message(self, *arguments):
            pass

    return Handler


def same(model, again) -> bool:
    return all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_published_file_is_fetched_checked_converted_and_kept(hub, model, tmp_path):
    first = create_model("magnet_base", pretrained="official:refcoco+")
    assert same(model, first)
    assert not first.training
    assert "GET" in hub.asked
    hub.asked.clear()
    folder = fetch_published("magnet_base", "refcoco+")
    assert same(model, create_model("magnet_base", pretrained="official:refcoco+"))
    assert hub.asked == []
    assert folder.is_relative_to(tmp_path / "cache")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "yxchng/mask-grounding" in card
    assert f"`{FILE}`" in card
    assert "Licence of the weights: none is stated" in card


def test_what_the_hub_has_kept_is_not_fetched_again(hub, model, monkeypatch, tmp_path):
    fetch_published("magnet_base", "refcoco+")
    monkeypatch.setenv("RIS_CACHE", str(tmp_path / "another"))
    hub.asked.clear()
    assert same(model, create_model("magnet_base", pretrained="official:refcoco+"))
    assert hub.asked == []


def test_parts_may_be_changed(hub):
    again = create_model("magnet_base", pretrained="official:refcoco+", fusion={"language_side": "fixed01"})
    assert again.config.fusion[0]["language_side"] == "fixed01"


def test_another_file_is_refused_and_nothing_is_kept(hub, monkeypatch, tmp_path):
    entry = PUBLISHED["magnet_base"]["refcoco+"]
    monkeypatch.setitem(PUBLISHED, "magnet_base", {"refcoco+": entry._replace(sha256="0" * 64)})
    monkeypatch.setattr(published, "read_checkpoint", None)  # it must not come so far
    with pytest.raises(
        ValueError, match=rf"its SHA-256 is {entry.sha256}, not 0{{64}}. It is not read. Delete "
    ) as error:
        fetch_published("magnet_base", "refcoco+")
    blob = Path(str(error.value).split("Delete ")[1].split(" and try")[0])
    assert blob.is_file()
    assert not any(path.is_dir() for path in (tmp_path / "cache" / "official").iterdir())


def test_after_the_bad_file_was_deleted_the_right_one_is_fetched(hub, model):
    from huggingface_hub import hf_hub_download

    file = Path(hf_hub_download(REPOSITORY, FILE, revision=COMMIT))
    file.resolve().write_bytes(b"half a file")
    with pytest.raises(ValueError, match="It is not read"):
        fetch_published("magnet_base", "refcoco+")
    file.resolve().unlink()
    assert same(model, create_model("magnet_base", pretrained="official:refcoco+"))


def test_without_a_network_the_message_says_what_to_do(hub, monkeypatch):
    entry = PUBLISHED["magnet_base"]["refcoco+"]
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the library tries again and again
    hub.shutdown()
    hub.server_close()
    with pytest.raises(FileNotFoundError, match=r"magnet_refcoco\+\.pth of somebody/weights .* ris convert magnet_ref"):
        fetch_published("magnet_base", "refcoco+")
    assert entry.file == FILE


def test_a_file_that_the_server_lacks_is_not_found(hub, monkeypatch):
    entry = PUBLISHED["magnet_base"]["refcoco+"]
    monkeypatch.setitem(PUBLISHED, "magnet_base", {"refcoco+": entry._replace(file="other.pth")})
    with pytest.raises(FileNotFoundError, match=r"could not be fetched \(\w*EntryNotFoundError\)"):
        fetch_published("magnet_base", "refcoco+")


def test_the_environment_alone_leads_to_the_server(hub, model, tmp_path):
    """A fresh process, as a user starts it: nothing but HF_ENDPOINT, HF_HOME and RIS_CACHE is set."""
    script = """
import sys
from ris_lib.models.official import convert, published
from tests.models.official.small import SYSTEMS, small_config
published.PUBLISHED["magnet_base"] = {"refcoco+": published.Checkpoint(*sys.argv[1:5])}
convert.SYSTEMS = tuple(
    s._replace(config=lambda weights: small_config("MagNet")) if s.title == "MagNet" else s for s in SYSTEMS
)
print(published.fetch_published("magnet_base", "refcoco+"))
"""
    entry = PUBLISHED["magnet_base"]["refcoco+"]
    root = Path(__file__).parents[3]
    answer = subprocess.run(
        [sys.executable, "-c", script, *entry],
        cwd=root,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr
    folder = Path(answer.stdout.strip())
    assert same(model, create_model("magnet_base", pretrained=folder))
    assert (tmp_path / "hub").is_dir()


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        (
            "lavt_base",
            "official:refcoco",
            r"no checkpoint of lavt_base is at a public address .* ris convert FILE FOLDER",
        ),
        ("magnet_base", "official:refcok", r"unknown checkpoint 'refcok' of magnet_base; did you mean 'refcoco'"),
        ("magnet_bas", "official:refcoco", r"unknown model 'magnet_bas'; did you mean 'magnet_base'"),
    ],
)
def test_what_is_not_published_is_answered(name, pretrained, message):
    with pytest.raises(ValueError, match=message):
        create_model(name, pretrained=pretrained)


def test_the_four_published_files_are_told_apart():
    files = PUBLISHED["magnet_base"].values()
    assert len({entry.sha256 for entry in files}) == len({entry.file for entry in files}) == 4
    assert all(len(entry.sha256) == 64 and len(entry.revision) == 40 for entry in files)
