"""The page for addresses that are not there works from every depth, as a static host shows it."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from bs4 import BeautifulSoup

from ris_lib import _urls
from tests.browser import needed, wcag_faults

SITE = Path(__file__).parents[2] / "_build" / "html"
ROOT = urlsplit(_urls.BOOK).path + "/"
DEEP = f"{ROOT}chapters/deep/er/nothing.html"

pytestmark = pytest.mark.book
browser = pytest.fixture(scope="module")(needed)


class Pages(SimpleHTTPRequestHandler):
    """A host that keeps the book below ``/ris-book/`` and answers 404.html where nothing is."""

    def translate_path(self, path: str) -> str:
        inside = urlsplit(path).path
        return super().translate_path("/" + inside.removeprefix(ROOT) if inside.startswith(ROOT) else "/not/the/book")

    def send_error(self, code, *given):
        page = (SITE / "404.html").read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *given):
        pass


@pytest.fixture(scope="module")
def host():
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Pages, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_every_link_leads_into_the_site_from_any_address():
    page = BeautifulSoup((SITE / "404.html").read_text(encoding="utf-8"), "html.parser")
    base = page.find("base")["href"]
    assert base == ROOT
    elements = page.find_all(["a", "link", "script", "img", "form"])
    early = [tag for tag in page.base.find_all_previous(["link", "script"]) if tag.get("href") or tag.get("src")]
    assert early == [], "the base stands behind an address that needs it"
    links = [tag.get("href") or tag.get("src") or tag.get("action") for tag in elements]
    for link in filter(None, links):
        parts = urlsplit(urljoin(urljoin(f"https://a.org{DEEP}", base), link))
        if parts.netloc == "a.org":
            assert parts.path.startswith(ROOT), f"{link} leaves the book"
            assert (SITE / parts.path.removeprefix(ROOT)).is_file(), f"{link} leads nowhere"
    assert "#main-content" not in links


def test_a_lost_reader_sees_the_book_and_finds_home(browser, host):
    page = browser.new_page()
    answers = {}
    page.on("response", lambda response: answers.update({response.url: response.status}))
    assert page.goto(host + DEEP).status == 404
    page.wait_for_load_state("networkidle")
    del answers[host + DEEP]
    assert len(answers) > 10
    assert set(answers.values()) == {200}, answers
    assert page.locator("article h1").inner_text() == "There is no such page"
    assert page.locator(".bd-sidebar-primary .toctree-l1").count() > 10
    assert wcag_faults(page) == []
    page.locator("article form input").fill("kernel")
    page.locator("article form input").press("Enter")
    page.wait_for_url(f"{host}{ROOT}search.html?q=kernel")
    page.goto(host + DEEP)
    page.locator("article a", has_text="first page").click()
    page.wait_for_url(f"{host}{ROOT}intro.html")
    page.close()


def test_the_root_of_the_site_leads_to_the_first_page(browser, host):
    page = browser.new_page()
    page.goto(host + ROOT)
    page.wait_for_url(f"{host}{ROOT}intro.html")
    page.close()
