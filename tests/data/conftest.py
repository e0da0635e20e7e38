"""Stand-ins for publishers and mirrors, the package index and an installed package; and working folders with params."""

import threading
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from stages.data import download
from stages.data.catalog import Bundled, Wheel
from tests.data.publishers import sha256

ROOT = Path(__file__).resolve().parents[2]


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


MEMBERS = {
    "thing/data/a/1.txt": "one",
    "thing/data/b/2.txt": "two",
    "thing/data/c.bin": "no",
    "thing/__init__.py": "raise SystemExit",
}


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return sha256(path.read_bytes())


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel in a folder that takes the place of the package index."""
    index = tmp_path / "index"
    index.mkdir()
    information = {
        "METADATA": "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
    }
    members = MEMBERS | {f"thing-1.0.dist-info/{name}": text for name, text in information.items()}
    file = index / "thing-1.0-py3-none-any.whl"
    checksum = write_zip(file, members)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return Wheel("thing", "1.0", file.name, file.stat().st_size, checksum, root="thing/data", pattern="*/*.txt", count=2)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that must not be imported, with a file in it."""
    (tmp_path / "lib" / "shipping" / "data").mkdir(parents=True)
    (tmp_path / "lib" / "shipping" / "__init__.py").write_text("raise AssertionError('imported')")
    (tmp_path / "lib" / "shipping" / "data" / "photo.png").write_text("photo")
    monkeypatch.syspath_prepend(tmp_path / "lib")
    return Bundled("shipping", "data/photo.png", sha256(b"photo"), "photos")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A folder with the paper's params, of which a test can change words."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "presets/paper.yaml").read_text()

    def write(*changes):
        Path("params.yaml").write_text(text)
        for old, new in changes:
            assert Path("params.yaml").read_text().count(old) >= 1
            Path("params.yaml").write_text(Path("params.yaml").read_text().replace(old, new, 1))

    write()
    return write


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """An empty working folder with the paper's params, and a function that changes those of one data set."""
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((ROOT / "presets/paper.yaml").read_text())
    # StyleGAN2 and its figures ask more of their data set than the small ones here give.
    params["data"]["folders"]["faces"] = "/faces"
    params["stylegan2"]["dataset"] = "faces"

    def change(dataset, **values):
        params["data"]["datasets"][dataset] |= values
        Path("params.yaml").write_text(yaml.safe_dump(params))

    change("celeba", train=3, test=2)
    return change
