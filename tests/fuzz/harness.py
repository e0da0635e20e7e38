"""Feeding made-up input to one reader, case after case, and watching what it does.

A case may end in a value or in a UserError. Anything else fails: another exception, more than SECONDS, more memory than
MEMORY above what there was, a file or folder written, made, moved or removed outside of the case's own, a process or connection
started, an import by a pickle.
"""

import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from stages.runtime.errors import UserError

# Cases of each target in the quick suite; the slow one has as many as the target says.
QUICK = 50
SECONDS = 20
MEMORY = 2 << 30
FORBIDDEN = {"os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "socket.connect", "pickle.find_class"}
# Of what changes names: where its audit event has each of them, and the descriptor of the folder that it is relative to.
CHANGES = {
    "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.symlink": ((1, 2),),
    "os.link": ((1, 3),),
    "os.rename": ((0, 2), (1, 3)),
}

set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis")


@dataclass(frozen=True, repr=False)
class Target:
    """A reader: `strategy` draws a case, `read(folder, case)` feeds it from files below `folder`; `cases` in a slow run.

    `allowed` says which results are values as they should be; by default all are. `start` is a case that must be read.
    """

    name: str
    cases: int
    strategy: st.SearchStrategy
    read: Callable[[Path, Any], Any]
    allowed: Callable[[Any], bool] = lambda value: True
    start: Any = None


class Hang(BaseException):
    """A case took too long. No Exception, so that no reader takes it for damage."""


class Watch:
    """What the interpreter reports of itself (audit events) while a case is being read."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    @contextmanager
    def over(self, folder: Path) -> Iterator[None]:
        self.seen, self.folder = [], str(folder)
        try:
            yield
        finally:
            self.folder = None

    def _hear(self, event: str, arguments: tuple) -> None:
        if self.folder is None:
            return
        if event in FORBIDDEN:
            self.seen.append(f"{event}{arguments}"[:200])
        if event == "open" and self._writes(*arguments[:3]):
            self.seen.append(f"wrote {arguments[0]!r}"[:200])
        for name, beside in CHANGES.get(event, ()):
            if self._outside(_place(arguments[name], arguments[beside])):
                self.seen.append(f"{event} {arguments[name]!r}"[:200])

    def _writes(self, path: Any, mode: str | None, flags: int) -> bool:
        if isinstance(path, int) or not flags & (os.O_WRONLY | os.O_RDWR):
            return False
        return self._outside(os.path.realpath(os.fsdecode(path)))

    def _outside(self, name: str) -> bool:
        return not name.startswith((self.folder, "/dev/")) and "__pycache__" not in name


def _place(path: Any, beside: int) -> str:
    """Where a name itself is, whatever it links to."""
    folder, name = os.path.split(os.fsdecode(path))
    start = os.getcwd() if beside == -1 else os.readlink(f"/proc/self/fd/{beside}")
    return os.path.join(os.path.realpath(os.path.join(start, folder)), name)


WATCH = Watch()


def run(target: Target, cases: int) -> int:
    """Feed so many cases, always the same ones, to the target; returns how many there were."""
    counted = 0

    @seed(0)
    @settings(
        max_examples=cases,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(target.strategy)
    def one(case: Any) -> None:
        nonlocal counted
        counted += 1
        feed(target, case)

    with _limited_memory():
        one()
    return counted


def feed(target: Target, case: Any) -> Any:
    """One case in a folder of its own; returns the value, or the UserError."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(os.path.realpath(name))
        previous, tempfile.tempdir = tempfile.tempdir, str(folder)
        try:
            with _alarm(), WATCH.over(folder):
                value = target.read(folder, case)
        except UserError as error:
            value = error
            assert str(error).strip(), "an error without words"
            assert len(str(error)) < 2000, f"an error of {len(str(error))} characters"
        finally:
            tempfile.tempdir = previous
    assert not WATCH.seen, f"{target.name} did what no reader may do: {WATCH.seen}"
    assert isinstance(value, UserError) or target.allowed(value), f"{target.name} let {value!r} through"
    return value


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Hang(f"a case took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _limited_memory() -> Iterator[None]:
    """Let the process have MEMORY more than it has now, where the system can tell and limit that (Linux)."""
    pages = Path("/proc/self/statm")
    if not pages.exists():
        yield
        return
    now = int(pages.read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@st.composite
def damaged(draw: st.DrawFn, originals: list[bytes], times: int = 4) -> bytes:
    """One of the originals with up to `times` bytes or stretches changed, inserted, removed, repeated or cut off."""
    content = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, times))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.sampled_from([1, 2, 4, 8, 64, 1000]))
        match draw(st.sampled_from(["set", "flip", "number", "insert", "remove", "repeat", "cut"])):
            case "set":
                content[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "flip" if content:
                content[at] ^= 1 << draw(st.integers(0, 7))
            case "number":
                number = draw(
                    st.sampled_from([0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**62, 2**63, 2**64 - 1])
                )
                size = draw(st.sampled_from([1, 2, 4, 8]))
                order = draw(st.sampled_from(["little", "big"]))
                content[at : at + size] = (number % 256**size).to_bytes(size, order)
            case "insert":
                content[at:at] = draw(st.binary(max_size=16))
            case "remove":
                del content[at : at + length]
            case "repeat":
                content[at:at] = content[at : at + length] * draw(st.sampled_from([1, 10, 100]))
            case "cut":
                del content[at:]
    return bytes(content)


def written(folder: Path, name: str, content: bytes) -> Path:
    """The content in a file below the folder."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
