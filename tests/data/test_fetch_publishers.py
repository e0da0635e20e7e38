"""Fetching from publishers: their archives, downloads that fail, runs that are killed or go on at once."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.data import fetch, prepare
from stages.data.catalog import ENTRIES
from stages.runtime.errors import UserError
from tests.data.publishers import UNPACK, bsds500, names_in, published, published_files

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def publishers(site, monkeypatch):
    """The catalogue with its official editions at the site, which serves small files in the publishers' forms."""
    files = published_files()
    for name, content in files.items():
        site.pages[f"/{name}"] = content
    for name in ("celeba", "mnistm", "svhn", "usps"):
        here = tuple(
            replace(
                source,
                addresses=(f"{site.address}/{source.file}",),
                checksum=f"md5:{hashlib.md5(files[source.file]).hexdigest()}",
                unpack=source.unpack and replace(source.unpack, count=6),
            )
            for source in ENTRIES[name].sources["official"]
        )
        monkeypatch.setitem(fetch.ENTRIES, name, replace(ENTRIES[name], sources={"official": here}))
    return files


@pytest.mark.parametrize("dataset", ["celeba", "mnistm", "svhn", "usps"])
def test_official_data_sets_go_from_their_publishers_to_arrays(publishers, settings, monkeypatch, capfd, dataset):
    from torchvision.datasets import SVHN

    settings(("train: 40000", "train: 30"), ("test: 2621", "test: 20"))
    md5 = hashlib.md5(publishers["train_32x32.mat"]).hexdigest()
    monkeypatch.setattr(SVHN, "split_list", {split: ["", f"{split}_32x32.mat", md5] for split in ("train", "test")})
    fetch.main(dataset)
    raw = Path("data/raw", dataset)
    kept = {source.file for source in fetch.ENTRIES[dataset].sources["official"] if source.unpack is None}
    assert {path.name: path.read_bytes() for path in raw.iterdir() if path.is_file()} == {name: publishers[name] for name in kept}
    prepare.main(dataset)
    with np.load(f"data/prepared/{dataset}.npz") as arrays:
        shapes = {name: arrays[name].shape for name in arrays}
    side = 64 if dataset == "celeba" else 28
    train, test = {"celeba": (30, 20), "mnistm": (2, 1), "svhn": (2, 2), "usps": (3, 2)}[dataset]
    assert shapes["train_images"] == (train, side, side, 3) and shapes["test_images"] == (test, side, side, 3)
    assert ("train_labels" in shapes) == (dataset != "celeba")


def test_of_bsds500_the_pictures_alone_stay(site, tmp_path):
    fetch.fetch((published(site, "BSR_bsds500.tgz", bsds500(), unpack=UNPACK),), tmp_path / "raw/mnistm")
    files = [path for path in (tmp_path / "raw").rglob("*") if path.is_file()]
    assert sorted(str(path.relative_to(tmp_path / "raw/mnistm/bsds500")) for path in files) == [
        f"{split}/{number}.jpg" for split in ("test", "train", "val") for number in (1, 2)
    ]


def link(name, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(f"BSR/BSDS500/data/images/{name}")
    info.type, info.linkname = kind, "/etc/passwd"
    return info, b""


def plain(name):
    return tarfile.TarInfo(name), b"bad"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bsds500([link("train/3.jpg")]), "is malicious: .*link or device"),
        (bsds500([link("train/3.jpg", tarfile.LNKTYPE)]), "is malicious: .*link or device"),
        (bsds500([link("train/3.jpg", tarfile.CHRTYPE)]), "is malicious: .*link or device"),
        (bsds500([plain("BSR/BSDS500/data/images/../../../../../../escaped.jpg")]), "is malicious: .*outside"),
        (bsds500([plain("/escaped.jpg")]), "is malicious: .*outside"),
        (bsds500([plain("BSR/BSDS500/data/images/train/3.jpg")]), "holds 7 files .*, not 6"),
        (bsds500()[:200], "is a damaged archive"),
        (b"<html>moved</html>", "is a damaged archive"),
    ],
)
def test_an_archive_that_is_not_as_it_should_be_leaves_what_was_there(site, tmp_path, content, message):
    raw = tmp_path / "raw"
    (raw / "mnistm").mkdir(parents=True)
    (raw / "mnistm/old.txt").write_text("old")
    with pytest.raises(UserError, match=message) as caught:
        fetch.fetch((published(site, "BSR_bsds500.tgz", content, unpack=UNPACK),), raw / "mnistm")
    assert "\n" not in str(caught.value)
    assert names_in(tmp_path) == ["raw", "raw/mnistm", "raw/mnistm/old.txt"]


def wrong_hash(site):
    return published(site, "usps.bz2", b"other", checksum="md5:" + "0" * 32)


def gone(site):
    return published(site, "usps.bz2", b"", addresses=(f"{site.address}/gone",))


def truncated(site):
    source = published(site, "usps.bz2", b"content")

    def cut_short(handler, _):
        site.answer(handler, b"con", length=7)
        handler.close_connection = True

    site.pages["/usps.bz2"] = cut_short
    return source


def shortened(site):
    """A proxy that knows no better sends less, and says so."""
    source = published(site, "usps.bz2", b"content")
    site.pages["/usps.bz2"] = b"con"
    return source


def no_server(site):
    return published(site, "usps.bz2", b"", addresses=("http://127.0.0.1:1/usps.bz2",))


def used_up(site):
    source = published(site, "img_align_celeba.zip", b"")
    quota = b"<html><head><title>Google Drive - Quota exceeded</title></head></html>"
    site.pages["/img_align_celeba.zip"] = lambda handler, _: site.answer(handler, quota, kind="text/html")
    return source


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (wrong_hash, r"usps\.bz2.*: not the file that was pinned, md5 [0-9a-f]{32}, not 0{32}; 5 bytes"),
        (gone, r"usps\.bz2.*gone: HTTP 404 Not Found"),
        (truncated, r"usps\.bz2.*the connection broke off"),
        (shortened, r"usps\.bz2.*not the file that was pinned.*3 bytes"),
        (no_server, r"usps\.bz2.*Connection refused"),
        (used_up, r"img_align_celeba\.zip.*Quota exceeded"),
    ],
)
def test_a_failed_download_names_file_reason_and_what_to_do_and_leaves_what_was_there(site, tmp_path, broken, reason):
    raw = tmp_path / "raw"
    (raw / "set").mkdir(parents=True)
    (raw / "set/old.txt").write_text("old")
    with pytest.raises(UserError, match=f"^{reason}.*by hand.*data\\.mirror in params\\.yaml") as caught:
        fetch.fetch((published(site, "good.gz", b"good"), broken(site)), raw / "set")
    assert "\n" not in str(caught.value)
    assert names_in(raw) == ["set", "set/old.txt"]


@pytest.mark.parametrize("way", ["publisher", "mirror"])
def test_a_full_disk_names_the_folder_and_leaves_nothing(site, tmp_path, monkeypatch, way):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror/a.gz").write_bytes(b"content")
    source = published(site, "a.gz", b"content")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch.shutil, "copyfile", full)
    monkeypatch.setattr("stages.data.download.Progress.update", full)
    with pytest.raises(UserError, match=r"raw/set can't be filled: no space left on device: free some space"):
        fetch.fetch((source,), tmp_path / "raw/set", str(tmp_path / "mirror") if way == "mirror" else None)
    assert not list((tmp_path / "raw").iterdir())


def test_the_next_address_serves_where_one_fails_or_gives_something_else(site, tmp_path):
    site.pages["/other/a.gz"] = b"other"
    addresses = tuple(f"{site.address}/{name}/a.gz" for name in ("gone", "other", "good"))
    source = published(site, "good/a.gz", b"good", addresses=addresses, file="a.gz")
    fetch.fetch((source,), tmp_path / "raw/set")
    assert (tmp_path / "raw/set/a.gz").read_bytes() == b"good"
    assert site.paths() == ["/gone/a.gz", "/other/a.gz", "/good/a.gz"]


@pytest.mark.parametrize("kind", ["sha256", "md5", "sha256-prefix"])
def test_a_checksum_of_every_kind_admits_its_file_alone(site, tmp_path, kind):
    digest = hashlib.new(kind.removesuffix("-prefix"), b"weights").hexdigest()[: 8 if kind.endswith("prefix") else None]
    fetch.fetch((published(site, "a.pth", b"weights", checksum=f"{kind}:{digest}"),), tmp_path / "raw/set")
    with pytest.raises(UserError, match=f"not the file that was pinned, {kind} [0-9a-f]{{{len(digest)}}}, not {digest}"):
        fetch.fetch((published(site, "a.pth", b"others", checksum=f"{kind}:{digest}"),), tmp_path / "raw/set")
    assert (tmp_path / "raw/set/a.pth").read_bytes() == b"weights"


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_shortened_checksum_counts_only_where_it_says_so(site, tmp_path, kind):
    for digits in ("", hashlib.new(kind, b"weights").hexdigest()[:8]):
        with pytest.raises(UserError, match="not the file that was pinned"):
            fetch.fetch((published(site, "a.pth", b"weights", checksum=f"{kind}:{digits}"),), tmp_path / "raw/set")


def test_what_a_killed_run_left_is_removed_by_the_next(site, tmp_path):
    source = published(site, "a.gz", b"content")
    site.pages["/slow"] = lambda handler, _: time.sleep(2)
    code = (
        "from pathlib import Path; from stages.data import fetch; from stages.data.catalog import Download\n"
        f"fetch.fetch((Download(({site.address + '/slow'!r},), 'a.gz', None, 'md5:'),), Path({str(tmp_path / 'raw/set')!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as process:
        while not site.asked and process.poll() is None:
            time.sleep(0.01)
        left = names_in(tmp_path / "raw")
        fetch.fetch((source,), tmp_path / "raw/set")
        assert left and names_in(tmp_path / "raw") == [*left, "set", "set/a.gz"], "a running fetch was disturbed"
        process.send_signal(signal.SIGKILL)
    fetch.fetch((source,), tmp_path / "raw/set")
    assert names_in(tmp_path / "raw") == ["set", "set/a.gz"]


def test_two_runs_at_once_both_end_with_the_whole_folder(site, tmp_path, monkeypatch):
    source, folder, original = published(site, "a.gz", b"content"), tmp_path / "raw/set", os.replace
    others = []

    def replace_while_another_run_does(first, second):
        if Path(second) == folder and not others:
            others.append(True)
            fetch.fetch((source,), folder)
        original(first, second)

    monkeypatch.setattr(fetch.os, "replace", replace_while_another_run_does)
    fetch.fetch((source,), folder)
    assert others and names_in(tmp_path / "raw") == ["set", "set/a.gz"]


def test_no_network_drive_without_locks_stops_a_fetch(site, tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fetch.fcntl, "flock", no_locks)
    (tmp_path / "raw/.set-other").mkdir(parents=True)
    (tmp_path / "raw/.set-other/lock").touch()
    fetch.fetch((published(site, "a.gz", b"content"),), tmp_path / "raw/set")
    assert names_in(tmp_path / "raw") == [".set-other", ".set-other/lock", "set", "set/a.gz"]
