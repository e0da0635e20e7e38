"""How a stage is stopped from outside: by a signal, or because the dvc that started it is gone."""

import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """The signal `number` has come; the message, if there is one, says what has become of the work."""

    def __init__(self, number: int, message: str = "interrupted") -> None:
        super().__init__(message)
        self.number = number


def raise_interrupted() -> None:
    """From now on every signal that asks for an end raises `Interrupted`, so that temporary files are cleared up.

    A signal that is ignored stays so: `nohup` is respected.
    """
    for number in _heeded():
        signal.signal(number, _raise)


def heed_no_more() -> None:
    """The end has begun: another signal would only tear it."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class Deferred:
    """While entered, these signals only leave their number in `asked`, so that no step is torn in two."""

    def __enter__(self) -> "Deferred":
        self.asked = 0
        self.previous = {number: signal.signal(number, self._ask) for number in _heeded()}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _: object) -> None:
        self.asked = number


def end_with_dvc(seconds_between_looks: float = 1.0) -> None:
    """Where dvc has started this process, send it SIGTERM once that dvc is gone, lest it go on unseen beside the next one.

    A process that was started by hand is never stopped like that, whatever becomes of its parents.
    """
    if "DVC_STAGE" in os.environ:
        links = _links_to_dvc()
        if not links:
            os.kill(os.getpid(), signal.SIGTERM)
        threading.Thread(target=_watch, args=(links, seconds_between_looks), daemon=True).start()


def speaks() -> bool:
    """Whether this process speaks for its training: one that trains alone does, and the first of several (RANK 0)."""
    return os.environ.get("RANK", "0") == "0" or os.environ.get("WORLD_SIZE", "1") == "1"


def say(line: str) -> None:
    """Print a line to stderr, once for all processes of a training; where nobody reads it any more, work goes on."""
    try:
        if speaks():
            print(line, file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def _heeded() -> list[int]:
    return [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]


def _raise(number: int, _: object) -> None:
    raise Interrupted(number)


def _links_to_dvc() -> list[tuple["psutil.Process", int]]:
    """Each process from this one up to the child of dvc, with its parent's id; none where dvc has gone already.

    Usually this is the only one; some shells stay in between (`sh -c "python -m stages..."`).
    """
    # It comes with dvc, and only dvc makes it needed.
    import psutil

    process, links = psutil.Process(), []
    while True:
        try:
            parent = process.parent()
            links.append((process, process.ppid()))
            command = parent.cmdline() if parent else []
        except psutil.Error:
            return links
        if "-c" not in command or "stages." not in command[-1]:
            return [] if _adopted(parent, command) else links
        process = parent


def _adopted(parent: "psutil.Process | None", command: list[str]) -> bool:
    """Whether the parent is one that takes in orphans: the first process (in a container of any session) or one of another
    session, and no dvc.
    """
    if parent is None or any(os.path.basename(word) == "dvc" for word in command):
        return parent is None
    try:
        return parent.pid == 1 or os.getsid(parent.pid) != os.getsid(0)
    except OSError:
        return False


def _watch(links: list[tuple["psutil.Process", int]], seconds_between_looks: float) -> None:
    while not any(_left(process, parent) for process, parent in links):
        time.sleep(seconds_between_looks)
    say("the dvc that started this is gone: stopping")
    os.kill(os.getpid(), signal.SIGTERM)


def _left(process: "psutil.Process", parent: int) -> bool:
    """Whether the process has lost its parent, or has itself gone."""
    import psutil

    try:
        return process.ppid() != parent
    except psutil.Error:
        return True
