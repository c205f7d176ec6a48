"""One file from a server that fails in every way that real ones do."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ris_lib.data.download import DownloadError, Source, fetch
from ris_lib.data.download import fetch as package_fetch
from tests.data.download.server import (
    cut_after,
    redirect_to,
    reset,
    server,
    silence,
    status,
    web_page,
    wrong_length,
)

module = sys.modules[package_fetch.__module__]
CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def host():
    with server() as running:
        running.files["a.zip"] = CONTENT
        yield running


@pytest.fixture
def waits():
    """Stands for ``sleep``: notes how long, and does not."""
    return []


def get(host, folder, waits, paths=("a.zip",), progress=False, **known):
    source = Source("a.zip", tuple(f"{host.address}/{path}" for path in paths), **{"sha256": SHA256} | known)
    return fetch(source, folder / "a.zip", progress=progress, sleep=waits.append)


def refused(host, folder, waits, *args, **known) -> str:
    with pytest.raises(DownloadError) as caught:
        get(host, folder, waits, *args, **known)
    assert not (folder / "a.zip").exists()
    return str(caught.value)


def left(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_file_arrives_and_is_not_fetched_twice(host, tmp_path, waits):
    assert get(host, tmp_path, waits, size=len(CONTENT)) == tmp_path / "a.zip"
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert get(host, tmp_path, waits) == tmp_path / "a.zip"
    assert host.asked == [("a.zip", "")]
    assert left(tmp_path) == ["a.zip"]
    assert waits == []


@pytest.mark.parametrize("tags", [True, False], ids=["with a version", "by its checksum alone"])
def test_what_has_arrived_is_not_asked_for_again(host, tmp_path, waits, tags):
    host.tags = tags
    host.faults["a.zip"] = [cut_after(100_000), cut_after(50_000), reset]
    get(host, tmp_path, waits)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    starts = [asked.removeprefix("bytes=").removesuffix("-") for _, asked in host.asked]
    assert starts == ["", "100000", "150000", "150000"]
    assert waits == [2.0, 2.0, 4.0]  # who gives something is asked again soon


def test_without_version_and_checksum_a_broken_file_begins_anew(host, tmp_path, waits):
    host.tags = False
    host.faults["a.zip"] = [cut_after(100_000)]
    get(host, tmp_path, waits, sha256="")
    assert [asked for _, asked in host.asked] == ["", ""]
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_server_without_ranges_begins_anew(host, tmp_path, waits):
    host.ranges = False
    host.faults["a.zip"] = [cut_after(100_000)]
    get(host, tmp_path, waits)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_file_that_changed_between_two_halves_is_whole_in_the_end(host, tmp_path, waits):
    old = b"old" * 50_000
    host.files["a.zip"] = old
    host.faults["a.zip"] = [cut_after(100_000), status(503)]
    host.faults["a.zip"].append(lambda handler, _: (host.files.update({"a.zip": CONTENT}), status(503)(handler, b"")))
    get(host, tmp_path, waits)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_pieces_that_do_not_fit_are_fetched_once_more_in_one(host, tmp_path, waits):
    (tmp_path / "a.zip.part").write_bytes(b"of something else")
    host.tags = False
    get(host, tmp_path, waits)
    assert [asked for _, asked in host.asked] == ["bytes=17-", ""]
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_beginning_that_is_longer_than_the_file_is_thrown_away(host, tmp_path, waits):
    (tmp_path / "a.zip.part").write_bytes(b"x" * (len(CONTENT) + 5))
    get(host, tmp_path, waits)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_file_that_was_whole_when_the_process_died_is_only_checked(host, tmp_path, waits):
    (tmp_path / "a.zip.part").write_bytes(CONTENT)
    get(host, tmp_path, waits, size=len(CONTENT))
    assert host.asked == []
    assert left(tmp_path) == ["a.zip"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (web_page, "a web page instead of the file"),
        (status(404), "answers 404"),
        (status(403), "answers 403"),
        (wrong_length, "512,004 bytes; expected 512,000"),
        (redirect_to("loop"), "TooManyRedirects"),
        (lambda handler, _: handler.answer_file(b"x" * len(CONTENT)), "the file is another one: sha256"),
    ],
    ids=["web page", "404", "403", "wrong length", "redirect loop", "another file"],
)
def test_an_address_that_gives_nonsense_is_left_at_once_for_the_next(host, tmp_path, waits, fault, reason):
    host.faults["loop"] = [redirect_to("loop") for _ in range(30)]
    host.faults["a.zip"] = [fault, fault]
    message = refused(host, tmp_path, waits, size=len(CONTENT))
    assert f"{host.address}/a.zip: " in message
    assert reason in message
    assert waits == []
    assert left(tmp_path) == []
    host.files["mirror/a.zip"] = CONTENT
    get(host, tmp_path, waits, ("a.zip", "mirror/a.zip"))
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert host.asked[-1][0] == "mirror/a.zip"


def test_a_busy_server_is_asked_again_when_it_says(host, tmp_path, waits):
    host.faults["a.zip"] = [status(429, {"Retry-After": "7"}), status(503), reset]
    get(host, tmp_path, waits)
    assert waits == [7.0, 4.0, 8.0]


def test_another_attempt_is_said_on_the_screen_where_there_is_a_bar(host, tmp_path, waits, capsys):
    host.faults["a.zip"] = [status(503)]
    get(host, tmp_path, waits, progress=True)
    assert f"answers 503; attempt 2 of {module.ATTEMPTS} in 2 s" in capsys.readouterr().err


def test_a_server_that_stays_down_is_given_up(host, tmp_path, waits):
    host.faults["a.zip"] = [status(500) for _ in range(99)]
    message = refused(host, tmp_path, waits)
    assert f"answers 500 ({module.ATTEMPTS} attempts)" in message
    assert len(host.asked) == module.ATTEMPTS
    assert len(waits) == module.ATTEMPTS - 1


def test_a_server_that_always_sends_the_same_beginning_is_given_up(host, tmp_path, waits):
    host.ranges = False
    host.faults["a.zip"] = [cut_after(1000) for _ in range(99)]
    assert "attempts)" in refused(host, tmp_path, waits)
    assert len(host.asked) == module.ATTEMPTS


def test_silence_is_a_broken_connection(host, tmp_path, waits, monkeypatch):
    monkeypatch.setattr(module, "SILENCE", 0.3)
    host.faults["a.zip"] = [silence(3)]
    get(host, tmp_path, waits)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert host.asked[-1][1] != ""


def test_nobody_listens(tmp_path, waits):
    source = Source("a.zip", ("http://127.0.0.1:9/a.zip",))
    with pytest.raises(DownloadError, match=r"no connection .*\n.*Or fetch it on another machine"):
        fetch(source, tmp_path / "a.zip", progress=False, sleep=waits.append)


def test_a_certificate_that_nobody_signed_is_refused(tmp_path, waits):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-days", "2", "-nodes", "-newkey", "rsa:2048"]
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    subprocess.run(
        ["openssl", "req", "-x509", *subject, "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    import ssl

    with server() as host:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        host.socket = context.wrap_socket(host.socket, server_side=True)
        address = host.address.replace("http://127.0.0.1", "https://localhost")
        with pytest.raises(DownloadError, match="certificate is not valid"):
            fetch(Source("a.zip", (f"{address}/a.zip",)), tmp_path / "a.zip", progress=False, sleep=waits.append)
    assert waits == []


def test_a_full_disk_is_seen_before(host, tmp_path, waits, monkeypatch):
    usage = SimpleNamespace(free=module.SPARE + 1000)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DownloadError, match=r"0\.2 GB free; a\.zip\.part needs"):
        get(host, tmp_path, waits)
    usage.free = 10**12
    get(host, tmp_path, waits)


def test_a_disk_that_fills_up_loses_nothing(host, tmp_path, waits, monkeypatch):
    real, written = Path.open, []

    def open_on_a_small_disk(path, mode="r", **options):
        file = real(path, mode, **options)
        if mode == "ab" and not written:
            put = file.write

            def write(block):
                if sum(written) > 100_000:
                    raise OSError(28, "No space left on device")
                written.append(len(block))
                return put(block)

            class Small:
                def __enter__(self):
                    return self

                def __exit__(self, *error):
                    file.close()

                def __getattr__(self, name):
                    return write if name == "write" else getattr(file, name)

            return Small()
        return file

    monkeypatch.setattr(Path, "open", open_on_a_small_disk)
    with pytest.raises(DownloadError, match=r"disk of .* is full; make room"):
        get(host, tmp_path, waits)
    monkeypatch.undo()
    kept = (tmp_path / "a.zip.part").stat().st_size
    assert kept > 100_000
    get(host, tmp_path, waits)
    assert host.asked[-1] == ("a.zip", f"bytes={kept}-")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


PROGRAM = """
import sys
from ris_lib.data.download import Source, fetch
fetch(Source("a.zip", (sys.argv[1],), sha256=sys.argv[3]), sys.argv[2], progress=False)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_killed_process_goes_on_where_it_was(host, tmp_path, waits):
    path = tmp_path / "a.zip"
    host.faults["a.zip"] = [silence(30)]
    command = [sys.executable, "-c", PROGRAM, f"{host.address}/a.zip", str(path), SHA256]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(command, env=environment)
    part = tmp_path / "a.zip.part"
    end = time.monotonic() + 120
    while (not part.exists() or not part.stat().st_size) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = part.stat().st_size
    assert 0 < kept < len(CONTENT)
    assert not path.exists()
    get(host, tmp_path, waits)
    assert host.asked[-1] == ("a.zip", f"bytes={kept}-")
    assert path.read_bytes() == CONTENT


def test_two_processes_fetch_it_once(host, tmp_path, waits):
    command = [sys.executable, "-c", PROGRAM, f"{host.address}/a.zip", str(tmp_path / "a.zip"), SHA256]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    host.faults["a.zip"] = [cut_after(1000)]
    both = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert len(host.asked) == 2  # a broken one and the rest
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_place_that_cannot_be_written_is_refused_before_the_network(tmp_path, waits):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file and no folder"):
        fetch(Source("a.zip", ("http://127.0.0.1:9/a.zip",)), tmp_path / "file" / "a.zip")
