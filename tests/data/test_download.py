"""Downloading, from a server on this machine: retried where that helps, shown, whole or not there."""

import base64
import gzip
import hashlib
import socket

import pytest

from stages.data import download as module
from stages.data.download import DownloadError, Progress, download, without_credentials

CONTENT = bytes(range(256)) * 1000


def answers(site, *several):
    """A page that gives one answer after the other, and the last for ever."""

    def page(handler, before):
        several[min(before, len(several) - 1)](handler)

    return page


def whole(site):
    return lambda handler: site.answer(handler, CONTENT)


def status(site, number):
    return lambda handler: site.answer(handler, b"", status=number)


def cut_short(site):
    def send(handler):
        site.answer(handler, CONTENT[:1000], length=len(CONTENT))
        handler.close_connection = True

    return send


def test_the_file_arrives_whole_and_a_line_says_so(site, tmp_path, capfd):
    site.pages["/file.bin"] = CONTENT
    download(f"{site.address}/file.bin", tmp_path / "file.bin", len(CONTENT))
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert capfd.readouterr().err.startswith("file.bin: 256.0 kB, ")


@pytest.mark.parametrize(
    "passing", [cut_short, lambda site: status(site, 500), lambda site: status(site, 503), lambda site: status(site, 429)]
)
def test_what_may_pass_is_tried_again_from_the_start(site, tmp_path, capfd, passing):
    site.pages["/file.bin"] = answers(site, passing(site), passing(site), whole(site))
    download(f"{site.address}/file.bin", tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert len(site.asked) == 3
    assert all("Range" not in headers for _, headers in site.asked)
    assert "attempt 2 of 4" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("failure", "asked", "reason"),
    [
        (lambda site: status(site, 404), 1, "^HTTP 404 Not Found$"),
        (lambda site: status(site, 403), 1, "^HTTP 403 Forbidden$"),
        (lambda site: status(site, 500), 4, "^HTTP 500 Internal Server Error$"),
        (cut_short, 4, "^the connection broke off$"),
    ],
)
def test_what_does_not_pass_leaves_no_file(site, tmp_path, failure, asked, reason):
    site.pages["/file.bin"] = answers(site, failure(site))
    with pytest.raises(DownloadError, match=reason):
        download(f"{site.address}/file.bin", tmp_path / "file.bin")
    assert len(site.asked) == asked
    assert not list(tmp_path.iterdir())


def test_waits_grow(site, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(module, "SECONDS_BEFORE_RETRY", 2.0)
    monkeypatch.setattr(module.time, "sleep", waits.append)
    site.pages["/file.bin"] = answers(site, status(site, 500))
    with pytest.raises(DownloadError):
        download(f"{site.address}/file.bin", tmp_path / "file.bin")
    assert waits == [2.0, 4.0, 8.0]


def test_a_machine_that_does_not_listen(site, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(DownloadError, match="^Connection refused$"):
        download(f"http://127.0.0.1:{port}/file.bin", tmp_path / "file.bin")


def test_a_server_that_falls_silent(site, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_OF_SILENCE", 0.1)
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DownloadError, match="^no answer for"):
        download(f"http://127.0.0.1:{silent.getsockname()[1]}/file.bin", tmp_path / "file.bin")
    assert not list(tmp_path.iterdir())


def test_an_interruption_in_the_middle_leaves_nothing(site, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "update", interrupt)
    site.pages["/file.bin"] = CONTENT
    with pytest.raises(KeyboardInterrupt):
        download(f"{site.address}/file.bin", tmp_path / "file.bin")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_no_network_failure(site, tmp_path):
    site.pages["/file.bin"] = CONTENT
    with pytest.raises(OSError, match="No such file"):
        download(f"{site.address}/file.bin", tmp_path / "no" / "folder" / "file.bin")
    assert len(site.asked) <= 1


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip"])
def test_a_compressed_file_is_not_unpacked_in_passing(site, tmp_path, encoding):
    content = gzip.compress(CONTENT)
    site.pages["/file.tgz"] = lambda handler, _: site.answer(handler, content, Content_Encoding=encoding)
    download(f"{site.address}/file.tgz", tmp_path / "file.tgz")
    assert (tmp_path / "file.tgz").read_bytes() == content


def test_redirects_are_followed(site, tmp_path):
    site.pages["/old"] = lambda handler, _: site.answer(handler, b"", status=301, Location="/new")
    site.pages["/new"] = CONTENT
    download(f"{site.address}/old", tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_redirects_never_lead_out_of_https():
    class Redirect:
        is_redirect = True
        headers = {"location": "HTTP://elsewhere/file"}

    with pytest.raises(DownloadError, match="not protected"):
        module._look_at("https")(Redirect())


# ---- Google Drive, which asks before it gives a large file, and refuses with a page ------------------------------------------

CONFIRM = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>
<form action="https://elsewhere.example/search"><input type="hidden" name="no" value="no"></form>
<form id="download-form" action="{action}" method="get"><input type="submit" value="Download anyway"/>
<input type="hidden" name="id" value="abc"><input type="hidden" name="confirm" value="t">
<input type="hidden" name="uuid" value="1-2"></form>"""
QUOTA = "<html><head><title>Google Drive - Quota exceeded</title></head><body>Sorry ...</body></html>"


def page(site, text):
    return lambda handler, _: site.answer(handler, text.encode(), kind="text/html; charset=utf-8")


def test_the_question_before_a_large_file_is_answered(site, tmp_path):
    site.pages["/uc?export=download&id=abc"] = page(site, CONFIRM.format(action=f"{site.address}/download"))
    site.pages["/download?id=abc&confirm=t&uuid=1-2"] = CONTENT
    download(f"{site.address}/uc?export=download&id=abc", tmp_path / "file.zip")
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_a_form_that_leads_to_someone_else_is_not_followed(site, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        action = f"http://127.0.0.1:{other.getsockname()[1]}/download"
        site.pages["/uc"] = page(site, CONFIRM.format(action=action))
        with pytest.raises(DownloadError, match="a web page came instead of the file"):
            download(f"{site.address}/uc", tmp_path / "file.zip")
        other.settimeout(0.01)
        with pytest.raises(TimeoutError):
            other.accept()


@pytest.mark.parametrize(
    ("there", "follows"),
    [
        ("https://drive.usercontent.google.com/download", True),
        ("https://evilgoogle.com/download", False),
        ("http://drive.usercontent.google.com/download", False),
        ("https://drive.google.com.evil.example/download", False),
        ("http://[broken/download", False),
    ],
)
def test_google_s_own_addresses_belong_together(there, follows):
    parsed = module._Page()
    parsed.feed(CONFIRM.format(action=there))
    confirmed = parsed.confirmed_address("https://drive.google.com/uc?export=download&id=abc")
    assert confirmed == (f"{there}?id=abc&confirm=t&uuid=1-2" if follows else None)


def test_a_used_up_quota_is_told_as_such_and_not_tried_again(site, tmp_path):
    site.pages["/uc"] = page(site, QUOTA)
    with pytest.raises(DownloadError, match='a web page came.*"Google Drive - Quota exceeded".*used up'):
        download(f"{site.address}/uc", tmp_path / "file.zip")
    assert len(site.asked) == 1
    assert not list(tmp_path.iterdir())


def test_a_quota_page_after_the_question_is_told_too(site, tmp_path):
    site.pages["/uc"] = page(site, CONFIRM.format(action="/download"))
    site.pages["/download"] = page(site, QUOTA)
    with pytest.raises(DownloadError, match="Quota exceeded"):
        download(f"{site.address}/uc", tmp_path / "file.zip")
    assert len(site.asked) == 2


@pytest.mark.parametrize(
    "text", ["", "<![nonsense[", "<title>" + "long " * 1000, "<title>\x1b[31mred\x07</title>", "\ufffd<form id=download-form>"]
)
def test_strange_pages_become_one_short_line(site, tmp_path, text):
    site.pages["/uc"] = page(site, text)
    with pytest.raises(DownloadError, match="^a web page came instead of the file") as caught:
        download(f"{site.address}/uc", tmp_path / "file.zip")
    assert len(str(caught.value)) < 200 and str(caught.value).isprintable()


# ---- Credentials and addresses -----------------------------------------------------------------------------------------------


def test_credentials_are_used_and_never_shown(site, tmp_path, capfd):
    site.pages["/file.bin"] = answers(site, status(site, 500), status(site, 401))
    with pytest.raises(DownloadError) as caught:
        download(site.address.replace("://", "://me:se%40cret@") + "/file.bin", tmp_path / "file.bin")
    assert site.asked[0][1]["Authorization"] == "Basic " + base64.b64encode(b"me:se@cret").decode()
    shown = str(caught.value) + "".join(capfd.readouterr())
    assert "cret" not in shown and "HTTP 401" in shown


def test_credentials_may_stand_in_netrc(site, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    site.pages["/file.bin"] = CONTENT
    download(f"{site.address}/file.bin", tmp_path / "file.bin")
    assert site.asked[0][1]["Authorization"] == "Basic " + base64.b64encode(b"me:secret").decode()


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://me:secret@host:8/a", "http://host:8/a"),
        ("https://token@host/a@b", "https://host/a@b"),
        ("http://a:b@c@host/", "http://host/"),
        ("http://host/a", "http://host/a"),
    ],
)
def test_an_address_is_shown_without_credentials(address, shown):
    assert without_credentials(address) == shown


@pytest.mark.parametrize("address", ["http://[bad/file", "http://host:port/file", "http:///file", "ftp://host/file"])
def test_an_address_that_is_none_is_told_at_once(tmp_path, address):
    with pytest.raises(DownloadError):
        download(address, tmp_path / "file.bin")


# ---- Progress ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_log_file_gets_a_line_every_ten_seconds_with_rate_and_time_left(clock, capfd):
    progress = Progress("faces.zip", None)
    progress.total = 1_000_000_000
    for _ in range(100):
        clock[0] += 1.0
        progress.update(10_000_000)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 9
    assert lines[0] == "faces.zip: 110.0 MB of 1.00 GB, 10.0 MB/s, 01:29 left"
    progress.reset()
    progress.update(1_000_000_000)
    progress.close()
    assert capfd.readouterr().err == "faces.zip: 1.00 GB, 10.0 MB/s\n"


def test_where_the_server_names_no_length_the_known_size_serves_and_else_none(clock, capfd):
    for size, line in ((400, "a: 200 B of 400 B, 10 B/s, 00:20 left\n"), (None, "a: 200 B, 10 B/s\n")):
        progress = Progress("a", size)
        progress.total = 0
        clock[0] += 20.0
        progress.update(200)
        assert capfd.readouterr().err == line


def test_a_terminal_gets_a_bar(monkeypatch, site, tmp_path, capfd):
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    site.pages["/file.bin"] = CONTENT
    download(f"{site.address}/file.bin", tmp_path / "file.bin")
    assert hashlib.md5((tmp_path / "file.bin").read_bytes()).digest() == hashlib.md5(CONTENT).digest()
    assert "100%|" in capfd.readouterr().err
