"""A server of files on this machine that knows ranges, and every way in which real ones disappoint."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

#: A fault: gets the handler and the file's bytes, and answers in place of the server.
Fault = Callable[["Handler", bytes], None]


class Server(ThreadingHTTPServer):
    """Files by their path, faults to come by path, and all that was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.asked: list[tuple[str, str]] = []
        self.tags, self.ranges = True, True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        pass  # a client that goes away is part of the tests


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self):
        path = unquote(self.path).lstrip("/")
        self.server.asked.append((path, self.headers.get("Range", "")))
        content = self.server.files.get(path)
        if self.server.faults.get(path):
            return self.server.faults[path].pop(0)(self, content or b"")
        if content is None:
            return self.answer(404, b"no such file")
        self.answer_file(content)

    def answer_file(self, content: bytes, send: int | None = None):
        """The file, or the part that was asked for; at most ``send`` bytes of it really leave."""
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if self.server.ranges else None
        if wanted and self.headers.get("If-Range", tag) == tag:
            start = int(wanted[1])
            if start >= len(content):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            where = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            return self.answer(206, content[start:], where | self._tag(tag), send)
        self.answer(200, content, self._tag(tag), send)

    def _tag(self, tag: str) -> dict[str, str]:
        return {"ETag": tag} if self.server.tags else {}

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None, send: int | None = None):
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(content))} | (headers or {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[:send])
        if send is not None and send < len(content):
            self.close_connection = True

    def log_message(self, *given):
        pass


@contextmanager
def server() -> Iterator[Server]:
    """A running server."""
    running = Server()
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield running
    finally:
        running.shutdown()
        running.server_close()


def cut_after(count: int) -> Fault:
    """The connection breaks after so many bytes."""
    return lambda handler, content: handler.answer_file(content, send=count)


def status(code: int, headers: dict[str, str] | None = None) -> Fault:
    return lambda handler, content: handler.answer(code, b"", headers)


def web_page(handler: Handler, content: bytes) -> None:
    """What captive portals and dead hosts send: HTML with status 200."""
    handler.answer(200, b"<html>Sign in</html>", {"Content-Type": "text/html; charset=utf-8"})


def silence(seconds: float) -> Fault:
    """Half of the file, then nothing."""

    def fault(handler: Handler, content: bytes) -> None:
        handler.answer_file(content, send=len(content) // 2)
        handler.wfile.flush()
        time.sleep(seconds)

    return fault


def reset(handler: Handler, content: bytes) -> None:
    """The connection is closed without an answer."""
    handler.close_connection = True
    handler.connection.close()


def wrong_length(handler: Handler, content: bytes) -> None:
    """A whole answer of another length than the file's."""
    handler.answer(200, content + b"more")


def redirect_to(path: str) -> Fault:
    return lambda handler, content: handler.answer(302, b"", {"Location": f"/{path}"})
