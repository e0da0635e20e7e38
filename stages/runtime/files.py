"""Files that are either whole or not there, and one line for what the file system refuses."""

import errno
import fcntl
import glob
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stages.runtime.errors import UserError

ADVICE = {
    errno.ENOSPC: "free some space there and run it again",
    errno.EDQUOT: "free some of your quota and run it again",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f) and run it again",
    errno.EACCES: "give your user the right to it (ls -ld shows who has it) and run it again",
    errno.EPERM: "give your user the right to it (ls -ld shows who has it) and run it again",
    errno.EROFS: "mount it for writing, or work in a copy elsewhere",
    errno.EISDIR: "a folder stands where a file is needed: move it away",
    errno.ENOTDIR: "a file stands where a folder is needed: move it away",
    errno.EEXIST: "a file stands where a folder is needed: move it away",
    errno.ENOENT: "run `dvc repro`, which makes it",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


class CannotWrite(UserError):
    """A file could not be written; what stood under its name stands there still."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which takes its name only when the block ends without an error.

    The temporary name keeps the suffix, because some writers choose their format by it. Parent folders are made, and what
    killed writers of the same path left is removed. Whatever the file system refuses becomes a CannotWrite.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        handle, temporary = _locked_temporary(path)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            os.fsync(handle)
            os.replace(temporary, path)
            _sync_folder(path.parent)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            os.close(handle)
    except OSError as error:
        raise CannotWrite(f"{path} can't be written: {reason(error)}") from error


def refuse_taken(path: str | Path, replace: bool) -> None:
    """UserError where a file of this name exists and is not to be replaced; a folder never is."""
    if Path(path).is_dir():
        raise UserError(f"{path} is a folder: give a file's name")
    if os.path.lexists(path) and not replace:
        raise UserError(f"{path} exists already: give another name, or --force to replace it")


def reason(error: OSError) -> str:
    """What the file system said, and what to do about it."""
    said = os.strerror(error.errno) if error.errno else str(error)
    return f"{said[:1].lower()}{said[1:]}: {ADVICE.get(error.errno, 'look into it and run it again')}"


def refused(path: str | Path, error: Exception) -> UserError | None:
    """What to raise where the system is why `path` can't be read, so that the file may be sound; None where its content is.

    Decoders of damaged files raise OSErrors, too: such as have no number, or ask for a place that no file has (EINVAL).
    """
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path} is missing: run `dvc repro`, which makes it")
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return UserError(f"{path} can't be read: {reason(error)}")
    return None


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON; NaN and infinity are refused with ValueError, since JSON has neither."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text)


def read_json(path: str | Path) -> Any:
    """A JSON file's content; UserError where the file is missing or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        damaged = UserError(f"{path} is damaged ({str(error)[:200]}): delete it and run `dvc repro`")
        raise refused(path, error) or damaged from None


def sha256(path: str | Path) -> str:
    """The file's SHA-256 as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lock(handle: int) -> bool:
    """Whether the open file is now this process's alone, which the kernel undoes when the process ends in any way.

    Where the file system knows no locks nobody can tell, and the answer is yes.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _locked_temporary(path: Path) -> tuple[int, Path]:
    """A new file beside `path`, locked so that others can tell it from a killed writer's."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        if lock(handle) and os.path.exists(name):
            return handle, Path(name)
        os.close(handle)  # another writer's clearing up took it for a leftover in just this moment


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of `path` that no living process has locked."""
    for name in path.parent.glob(f".{glob.escape(path.stem)}-????????{glob.escape(path.suffix)}"):
        with suppress(OSError), name.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            name.unlink()


def _sync_folder(folder: Path) -> None:
    """Have the new name itself survive a power failure; some network file systems can't, and do without."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
