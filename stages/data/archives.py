"""Taking files out of zip and tar archives from outside: nothing lands outside of the folder, and nothing but plain files."""

import errno
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from gzip import BadGzipFile
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from stages.runtime.errors import UserError

# What zipfile and tarfile raise for damaged archives; IndexError is for an empty name.
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, BadGzipFile, EOFError, NotImplementedError) + (
    zlib.error,
    LZMAError,
    struct.error,
    ValueError,
    OverflowError,
    IndexError,
)


@dataclass(frozen=True)
class Member:
    """A member of an archive, its name as the archive has it; `plain` tells files from links, devices and the like."""

    name: str
    plain: bool
    open: Callable[[], BinaryIO]


def unpack(archive: Path, root: str, pattern: str, folder: Path) -> list[str]:
    """Write the members `root`/`pattern` of a zip or tar archive into `folder`, named relative to `root`; returns these names.

    All of the archive is looked through before anything is written. UserError for a damaged archive, for one that has a
    member whose name is absolute or climbs with `..`, and where a wanted member is a link or device or comes twice.
    """
    with _reporting_damage(archive), _members(archive) as members:
        wanted = list(_wanted(archive, members, root, pattern))
        for name, member in wanted:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as content, target.open("xb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
    return [name for name, _ in wanted]


def _wanted(archive: Path, members: list[Member], root: str, pattern: str) -> Iterator[tuple[str, Member]]:
    seen = set()
    for member in members:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name:
            raise _malicious(archive, f"its member {member.name!r} would land outside of the data folder")
        name = member.name.removeprefix("./").removeprefix(f"{root}/")
        if name == member.name.removeprefix("./") or name.endswith("/") or not fnmatchcase(name, pattern):
            continue
        if name.startswith("/"):
            raise _malicious(archive, f"its member {member.name!r} would land outside of the data folder")
        if not member.plain:
            raise _malicious(archive, f"its member {member.name!r} is a link or device, not a file")
        if name in seen:
            raise _malicious(archive, f"it has {member.name!r} twice")
        seen.add(name)
        yield name, member


@contextmanager
def _members(archive: Path) -> Iterator[list[Member]]:
    """The archive's members but folders, readable while the context is open."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            yield [
                Member(info.filename, stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG), lambda i=info: zipped.open(i))
                for info in zipped.infolist()
                if not info.is_dir()
            ]
    else:
        with tarfile.open(archive) as tarred:
            yield [Member(info.name, info.isreg(), lambda i=info: tarred.extractfile(i)) for info in tarred if not info.isdir()]


@contextmanager
def _reporting_damage(archive: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        # tarfile adds a line for each compression that it tried.
        reason = str(error).partition("\n")[0].rstrip(":")
        raise UserError(f"{archive.name} is a damaged archive ({reason}): fetch it again") from None
    # A file where a member needs a folder, or the other way round; and what zipfile says of encrypted members.
    except (FileExistsError, NotADirectoryError, IsADirectoryError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{archive.name} is no archive that can be unpacked ({reason}): fetch it again") from None
    except OSError as error:
        # A damaged place to read from or name to write to; anything else, such as a full disk, is no fault of the archive.
        if error.errno not in (None, errno.EINVAL, errno.ENAMETOOLONG):
            raise
        raise UserError(f"{archive.name} is a damaged archive ({error}): fetch it again") from None


def _malicious(archive: Path, reason: str) -> UserError:
    return UserError(f"{archive.name} is malicious: {reason}")
