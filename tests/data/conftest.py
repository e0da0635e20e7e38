"""A web server on this machine in the place of publishers and mirrors."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stages.data import download


class Site:
    """Serves `pages`: by path either bytes, or a function of the handler and of how often this path was asked before."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.pages: dict[str, bytes | Callable] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


def answer(handler, content, *, status=200, length=None, kind="application/octet-stream", **headers):
    """Send `content`; `length` is what the header promises, if not the truth."""
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(content) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)


@pytest.fixture
def site(monkeypatch):
    """An empty Site; what it refuses is asked again without waiting."""
    monkeypatch.setattr(download, "SECONDS_BEFORE_RETRY", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.partition("?")[0]
            before = site.paths().count(self.path)
            site.asked.append((self.path, dict(self.headers)))
            page = site.pages.get(self.path, site.pages.get(path))
            if page is None:
                answer(self, b"", status=404)
            elif callable(page):
                page(self, before)
            else:
                answer(self, page)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site = Site(f"http://127.0.0.1:{server.server_port}")
    site.answer = answer
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    server.shutdown()
    server.server_close()
    thread.join()
