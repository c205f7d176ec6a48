"""The list of outside links is the repository's, and a visit tells dead from alive."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from book import _links
from ris_lib import _urls

SITE = Path(__file__).parents[2] / "_build" / "html"


def test_the_list_is_current():
    listed = _links.LIST.read_text(encoding="utf-8").split()
    assert listed == list(_links.collect()), "book/_links.txt is not current; run make format"
    assert len(listed) > 5


@pytest.mark.book
def test_no_page_has_an_outside_link_that_is_not_listed():
    pages = [page for page in SITE.rglob("*.html") if "_modules" not in page.parts]
    assert pages, f"there is no page in {SITE}; run make book first"
    listed = _links.LIST.read_text(encoding="utf-8").split()
    for page in pages:
        for link in BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").find_all("a", href=True):
            address = link["href"].partition("#")[0]
            if address.startswith("http") and _links.is_outside(address):
                assert address in listed, f"{page.relative_to(SITE)} leads to {address}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see https://a.org/b, then", {"https://a.org/b"}),
        ("[here](https://a.org/b_(c)).", {"https://a.org/b_(c)"}),
        ("<https://a.org/b#part>", {"https://a.org/b"}),
        ('"x": "http://a.org/b\\n"', {"http://a.org/b"}),
        ("  doi       = {10.1/x},", {"https://doi.org/10.1/x"}),
        ('f"https://a.org/{name}" f"https://{host}"', set()),
        ("no address", set()),
    ],
)
def test_addresses_of_a_text(text, found):
    assert _links.addresses(text) == found


def test_our_own_addresses_and_those_of_nobody_are_left_out():
    colab = _urls.REPOSITORY.replace("https://github.com", "https://colab.research.google.com/github")
    ours = [_urls.REPOSITORY, f"{_urls.REPOSITORY}/blob/main", f"{colab}/blob/main", f"{_urls.BOOK}/a.html"]
    nobody = ["http://127.0.0.1:80", "http://localhost", "https://example.org/x"]
    assert not any(map(_links.is_outside, ours + nobody))
    assert _links.is_outside("https://github.com/someone/else")


class Host(BaseHTTPRequestHandler):
    """Answers as the path says: /200 always, /405-200 with 405 to HEAD and 200 to GET, /503,200 one after the other."""

    seen: list[tuple[str, str, str]]

    def answer(self):
        before = [path for _, path, _ in self.seen].count(self.path)
        self.seen.append((self.command, self.path, self.headers["User-Agent"]))
        if self.path == "/slow":
            time.sleep(0.5)
        codes = self.path.strip("/").replace("slow", "200")
        if "-" in codes:
            code = codes.split("-")[self.command == "GET"]
        else:
            code = codes.split(",")[min(before, codes.count(","))]
        self.send_response(int(code))
        self.end_headers()

    do_HEAD = do_GET = answer  # noqa: N815

    def log_message(self, *given):
        pass


@pytest.fixture
def host():
    kind = type("Host", (Host,), {"seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", kind.seen
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "reason", "asked"),
    [
        ("/200", None, ["HEAD"]),
        ("/405-200", None, ["HEAD", "GET"]),
        ("/403", None, ["HEAD", "GET"]),
        ("/503,503,200", None, ["HEAD", "GET", "HEAD"]),
        ("/404", "answers 404", ["HEAD", "GET"]),
        ("/500", "answers 500", ["HEAD", "GET"] * 3),
    ],
)
def test_a_visit_tells_dead_from_alive(host, path, reason, asked):
    address, seen = host
    assert _links.visit(address + path, pause=0.0) == reason
    assert [method for method, _, _ in seen] == asked
    assert {agent for _, _, agent in seen} == {_links.AGENT}


def test_silence_is_death(host):
    address, _ = host
    assert "timed out" in _links.visit(f"{address}/slow", seconds=0.05, pause=0.0)
    assert _links.visit("http://127.0.0.1:1/", pause=0.0) is not None


def test_a_doi_that_leads_on_is_alive_and_not_followed(monkeypatch):
    kept = []
    monkeypatch.setattr(_links.urllib.request, "build_opener", lambda *given: kept.append(given) or Refuses())
    assert _links.visit("https://doi.org/10.1/x", pause=0.0) is None
    assert _links.visit("https://a.org/x", pause=0.0) == "answers 302"
    assert kept == [(_links._Stay,), ()]


class Refuses:
    """An opener that does not follow a redirection."""

    def open(self, request, timeout):
        raise _links.urllib.error.HTTPError(request.full_url, 302, "", {}, None)


def test_the_dead_are_named_and_the_run_fails(host, tmp_path, monkeypatch, capsys):
    address, _ = host
    monkeypatch.setattr(_links, "LIST", tmp_path / "list.txt")
    monkeypatch.setattr(_links, "PAUSE", 0.0)
    monkeypatch.setattr(_links, "collect", lambda: {f"{address}/404": ["README.md", "book/intro.md"]})
    assert _links.main([]) == 0
    assert _links.LIST.read_text() == f"{address}/404\n"
    assert _links.main(["--visit"]) == 1
    assert f"{address}/404 answers 404; it stands in README.md, book/intro.md" in capsys.readouterr().out
    _links.LIST.write_text(f"{address}/200\n")
    assert _links.main(["--visit"]) == 0
