"""Resume state: one folder a run and fingerprint, from which an interrupted training goes on exactly.

`python -m stages.runtime.resume --list` shows what is kept in .resume/ (or RESUME_DIR), `--clear [RUN ...]` removes it.
"""

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.runtime.errors import UserError
from stages.runtime.files import CannotWrite, lock, reason, replacing, sha256
from stages.runtime.interruption import say

ROOT = Path(__file__).resolve().parents[2]
# Of the file format below: a state of another version is refused, whatever it holds.
VERSION = 2
# Say which values params may take, and give none: these are in the fingerprint themselves.
VALUELESS = ("stages.runtime.schema", "stages.runtime.datasets", "stages.runtime.values")


class ResumeState:
    """The saved state of `run` under `.resume/RUN-FINGERPRINT/` (or below RESUME_DIR).

    The fingerprint covers the params, the bytes of the input files and the code of every `stages` module that is loaded: a
    training with others starts on its own. Package versions, the device and the numbers of threads and processes are not in
    it; where they have changed, resuming says so.

    state.pt is the newest state and previous.pt the one before it. Each holds the SHA-256 of all that follows, a line of JSON
    about itself (run, fingerprint, step, what it was made with), and what torch.save makes of the state.
    """

    def __init__(self, run: str, params: Any, inputs: Sequence[str | Path]) -> None:
        self.run = run
        self.made_of = {"inputs": {str(path): sha256(path) for path in inputs}, "code": _code()}
        content = json.dumps(
            [run, params, list(self.made_of["inputs"].values()), self.made_of["code"]], sort_keys=True, default=_plain
        )
        self.fingerprint = hashlib.sha256(content.encode()).hexdigest()[:16]
        self.folder = _root() / f"{run}-{self.fingerprint}"
        self._lock: int | None = None
        self._newest_is_whole = False

    def acquire(self) -> None:
        """Keep other processes from this state until `release` or `clear`, or until this process ends in any way.

        Raises UserError where another one has it.
        """
        if self._lock is not None:
            return
        path = self.folder / "lock"
        try:
            # Once more for a second: a killed run may still be going down, and `--list` looks at locks, too.
            for attempt in range(5):
                self._lock = _locked(path)
                if self._lock is not None:
                    break
                time.sleep(0.2 * (attempt < 4))
        except OSError as error:
            raise CannotWrite(f"{self.folder} can't be written: {reason(error)} (RESUME_DIR names another place)") from None
        if self._lock is None:
            raise UserError(f"{self.run} is being trained by process {_owner(path)} with the same params: wait for it or stop it")

    def release(self) -> None:
        """Let other processes have the state; a folder without one goes."""
        if self._lock is None:
            return
        if not any(path.exists() for path in self._files()):
            shutil.rmtree(self.folder, ignore_errors=True)
        self._unlock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """`acquire`, and `release` where the block fails; otherwise the state stays this process's until `clear`."""
        self.acquire()
        try:
            yield
        except BaseException:  # Ctrl-C too: whatever ends the work gives the state free
            self.release()
            raise

    def save(self, state: dict[str, Any], step: int) -> None:
        """Put `state` (tensors, numbers, words, lists and dicts of them) in place of the newest one, which becomes the previous.

        Raises CannotWrite where there is no space or no right to write; the newest is then kept, as such or as the previous.
        """
        import torch

        about = {"version": VERSION, "run": self.run, "fingerprint": self.fingerprint, "step": step}
        payload = io.BytesIO()
        torch.save(state, payload)
        line = json.dumps(about | {"made_with": _made_with()} | self.made_of).encode() + b"\n"
        digest = hashlib.sha256(line)
        digest.update(payload.getbuffer())
        newest, previous = self._files()
        with replacing(newest) as temporary:
            with temporary.open("wb") as file:
                file.write(digest.hexdigest().encode() + b"\n" + line)
                file.write(payload.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            # Only once the new one is safely on the disk do the old ones move.
            if self._newest_is_whole and newest.exists():
                os.replace(newest, previous)
        self._newest_is_whole = True

    def load(self, problem: Callable[[dict[str, Any]], str | None] = lambda state: None) -> dict[str, Any] | None:
        """The newest state that is whole and this run's, or None; what is left out on the way is said in a line.

        `problem` says what makes a state unfit, or None: one that is unfit is left out, too.
        """
        for path in self._files():
            try:
                about, state = _read(path)
                if (about["run"], about["fingerprint"]) != (self.run, self.fingerprint):
                    raise _Refused(f"belongs to {about['run']}-{about['fingerprint']}")
                if unfit := problem(state):
                    raise _Refused(unfit)
            except FileNotFoundError:
                continue
            except _Refused as error:
                say(f"{self.run}: {path} is left out, it {error}")
                continue
            except (OSError, MemoryError) as error:
                # It may be whole: to train anew over it would throw it away.
                why = reason(error) if isinstance(error, OSError) else "not enough memory"
                raise UserError(
                    f"{path} can't be read: {why} (`python -m stages.runtime.resume --clear {self.run}` has it start afresh)"
                ) from None
            self._newest_is_whole = path.name == "state.pt"
            self._say_what_differs(about["made_with"])
            return state
        return None

    def clear(self) -> None:
        """Remove the saved state: the run is finished."""
        # The folder's name is free from here on: another process may have it, lock and all.
        shutil.rmtree(self.folder, ignore_errors=True)
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _say_what_differs(self, then: dict[str, Any]) -> None:
        differing = [f"{key} {then.get(key)} then, {value} now" for key, value in _made_with().items() if then.get(key) != value]
        if differing:
            say(f"{self.run}: goes on with another environment, which may change the last digits ({'; '.join(differing)})")

    def _files(self) -> tuple[Path, Path]:
        return self.folder / "state.pt", self.folder / "previous.pt"


class _Refused(Exception):
    """What is wrong with a state file, to follow the words `it`."""


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a state file says about itself, and the state; _Refused where a byte has changed or the version is another."""
    import torch

    with path.open("rb") as file:
        digest = file.readline(100).strip()
        start = file.tell()
        if hashlib.file_digest(file, "sha256").hexdigest().encode() != digest:
            raise _Refused("is damaged")
        file.seek(start)
        about = _header(file.readline())
        payload = io.BytesIO(file.read())
    try:
        state = torch.load(payload, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # the checksum can be right for anything; torch.load alone raises half a dozen kinds
        if "not enough memory" in str(error):
            raise MemoryError from None  # as torch's own allocator says it
        raise _Refused(f"is no resume state ({type(error).__name__})") from None
    if not isinstance(state, dict):
        raise _Refused("is no resume state")
    return about, state


def _header(line: bytes) -> dict[str, Any]:
    """What the line says about a state; _Refused where it is none of this version's."""
    kinds = {"version": int, "run": str, "fingerprint": str, "step": int, "made_with": dict, "inputs": dict, "code": dict}
    try:
        about = json.loads(line)
        version = about["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _Refused(f"is no resume state ({type(error).__name__})") from None
    if version != VERSION:
        raise _Refused(f"has version {str(version)[:20]} where {VERSION} is read")
    if not all(isinstance(about.get(key), kind) for key, kind in kinds.items()):
        raise _Refused("is no resume state")
    return about


def _locked(path: Path) -> int | None:
    """The handle of the locked file, made with its folder; None where another process has it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # a run that has just finished removed the folder
        if not lock(handle):
            os.close(handle)
            return None
        if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
            os.truncate(handle, 0)
            with suppress(OSError):  # who has the lock is only said, and a full disk no reason not to have it
                os.write(handle, str(os.getpid()).encode())
            return handle
        os.close(handle)  # the same, after it was opened


def _owner(path: Path) -> str:
    try:
        return path.read_text() or "?"
    except OSError:
        return "?"


def _root() -> Path:
    return Path(os.environ.get("RESUME_DIR") or ".resume")


def _code() -> dict[str, str]:
    """SHA-256 of each loaded file of this repository's stages, by its path."""
    files = {Path(module.__file__).resolve() for name, module in list(sys.modules.items()) if _ours(name, module)}
    return {str(file.relative_to(ROOT)): sha256(file) for file in sorted(files)}


def _ours(name: str, module: Any) -> bool:
    file = getattr(module, "__file__", None)
    if not file or name in VALUELESS or not (name == "__main__" or name.startswith("stages.")):
        return False
    return Path(file).resolve().is_relative_to(ROOT / "stages")


def _plain(value: Any) -> Any:
    return value.model_dump() if hasattr(value, "model_dump") else str(value)


def _made_with() -> dict[str, Any]:
    import torch

    from stages.runtime.processes import world

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"torch": torch.__version__, "device": device, "threads": torch.get_num_threads(), "processes": world()}


@dataclass
class Kept:
    """One folder of saved states, as `--list` shows it."""

    folder: Path
    run: str
    step: int
    saved: float
    size: int
    note: str


def kept() -> list[Kept]:
    """All folders of saved states, the newest last; whatever else stands in RESUME_DIR is not theirs to list or remove."""
    described = [_described(folder) for folder in _root().glob("*") if _is_states(folder)]
    return sorted(filter(None, described), key=lambda one: one.saved)


def _is_states(folder: Path) -> bool:
    with suppress(OSError):
        return (
            re.fullmatch(r".+-[0-9a-f]{16}", folder.name) is not None
            and folder.is_dir()
            and not folder.is_symlink()
            and all(re.fullmatch(r"lock|state\.pt|previous\.pt|\.state-.{8}\.pt", path.name) for path in folder.iterdir())
        )
    return False


def _described(folder: Path) -> Kept | None:
    """None for a folder that its run has removed in this moment."""
    files = [path for path in (folder / "state.pt", folder / "previous.pt") if path.exists()]
    about = next(filter(None, map(_about, files)), None)
    try:
        saved = max([path.stat().st_mtime for path in files], default=folder.stat().st_mtime)
        size = sum(path.stat().st_size for path in files)
    except OSError:
        return None
    run = about["run"] if about else folder.name.rpartition("-")[0]
    return Kept(folder, run, about["step"] if about else 0, saved, size, _note(folder, about))


def _about(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            file.readline()
            return _header(file.readline())
    except (OSError, _Refused):
        return None


def _note(folder: Path, about: dict[str, Any] | None) -> str:
    if _in_use(folder):
        return f"in use by process {_owner(folder / 'lock')}"
    if about is None:
        return "nothing in it can be read"
    changed = [name for name, digest in {**about["inputs"], **about["code"]}.items() if _digest(name) != digest]
    return f"stale: {', '.join(changed)} changed since" if changed else "goes on where the params are as they were then"


def _digest(name: str) -> str | None:
    try:
        return sha256(ROOT / name if name.startswith("stages/") else name)
    except OSError:
        return None


def _in_use(folder: Path) -> bool:
    try:
        handle = os.open(folder / "lock", os.O_RDWR)
    except OSError:
        return False
    try:
        return not lock(handle)
    finally:
        os.close(handle)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.runtime.resume", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true", help="show run, step, age, size, and whether code or inputs have changed")
    what.add_argument("--clear", nargs="*", metavar="RUN", help="remove the states of these runs (or folders), or all of them")
    arguments = parser.parse_args()
    if arguments.list:
        _list(kept())
    else:
        _clear(kept(), arguments.clear)


def _list(states: list[Kept]) -> None:
    for one in states:
        age = f"{(time.time() - one.saved) / 3600:.1f} h ago"
        print(f"{one.folder}  step {one.step}  {age}  {one.size / 1e6:.1f} MB  {one.note}")
    if not states:
        print(f"{_root()} holds no saved states")


def _clear(states: list[Kept], wanted: list[str]) -> None:
    unknown = set(wanted) - {name for one in states for name in (one.run, one.folder.name, str(one.folder))}
    if unknown:
        sys.exit(f"error: {_root()} holds no state of {', '.join(sorted(unknown))}: --list shows what there is")
    for one in states:
        if wanted and not {one.run, one.folder.name, str(one.folder)} & set(wanted):
            continue
        try:
            # Removed under its lock, lest a training begin in between.
            handle = _locked(one.folder / "lock")
            if handle is None:
                say(f"{one.folder} stays: it is in use by process {_owner(one.folder / 'lock')}")
                continue
            shutil.rmtree(one.folder)
            os.close(handle)
        except OSError as error:
            sys.exit(f"error: {one.folder} can't be removed: {reason(error)}")
        print(f"{one.folder} is removed")


if __name__ == "__main__":
    main()
