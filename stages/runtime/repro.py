"""`dvc repro` with independent stages side by side, each on a GPU of its own where there are GPUs.

DVC itself builds every stage, so dvc.lock, cache and results are those of `dvc repro` with as many threads (OMP_NUM_THREADS);
this only decides when each starts. What a stage says goes to .timings/logs/STAGE.log; how far it is, to the terminal as well.

    python -m stages.runtime.repro --jobs 4
"""

import argparse
import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from stages.runtime import interruption
from stages.runtime.errors import UserError
from stages.runtime.files import reason

if TYPE_CHECKING:
    import psutil

# Without the flag, a dvc that finds another one at work on dvc.lock gives up after three seconds.
DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")
SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_BETWEEN_REPORTS = 30
# Without a GPU: small trainings make little of several cores, but each takes up to 1.3 GB.
MOST_JOBS = 4
LOG_END = 65536
# What each stage needs to be done before it.
Graph = dict[str, set[str]]


class Running(Protocol):
    """A stage that has been started."""

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""

    def stop(self, number: int) -> None:
        """Ask it to end by a signal; may be called again and again."""


@dataclass
class Outcome:
    """What has become of the stages; `skipped` are those that need a failed one."""

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stages.runtime.repro", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--jobs",
        type=int,
        help=f"stages at a time; by default as many as there are GPUs, without any as many as cores, at most {MOST_JOBS}",
    )
    arguments = parser.parse_args()
    if arguments.jobs is not None and arguments.jobs < 1:
        parser.error("--jobs must be at least 1")
    try:
        interruption.raise_interrupted()
        outcome = repro(arguments.jobs)
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or 'a stage'}: {reason(error)}")
    except KeyboardInterrupt as error:
        interruption.say("stopped: the same command goes on from here")
        sys.exit(128 + getattr(error, "number", signal.SIGINT))
    if outcome.failed:
        skipped = f"; left out since they need one of these: {', '.join(outcome.skipped)}" if outcome.skipped else ""
        sys.exit(f"error: failed: {', '.join(outcome.failed)}{skipped}")
    print(f"all {len(outcome.done)} stages are up to date")


def one_device_each() -> None:
    """UserError where every training is to have several devices, which those side by side have not."""
    if "DEVICES" in os.environ:
        raise UserError(
            "DEVICES is set, which gives every stage several GPUs; side by side each has one: unset it (`dvc repro` heeds it)"
        )


def repro(jobs: int | None) -> Outcome:
    """Bring all stages up to date, `jobs` at a time (None: as many as GPUs, without any as many as cores, at most MOST_JOBS)."""
    one_device_each()
    gpus = visible_gpus()
    jobs = jobs or len(gpus) or min(cores(), MOST_JOBS)
    graph = read_graph()
    settled = unchanged(graph, outdated())
    interruption.say(
        f"{len(graph)} stages, {len(settled)} of them unchanged; {jobs} at a time on {len(gpus) or 'no'} GPUs, "
        f"with {environment(0, jobs, gpus)['OMP_NUM_THREADS']} threads each; what each says goes to {logs()}"
    )

    number = itertools.count(len(settled) + 1)

    def start(name: str, slot: int) -> Running:
        return Dvc(name, environment(slot, jobs, gpus), f"{next(number)} of {len(graph)}")

    return schedule(graph, jobs, start, settled)


def schedule(graph: Graph, jobs: int, start: Callable[[str, int], Running], settled: Collection[str] = ()) -> Outcome:
    """Start each stage once all that it needs are done, at most `jobs` at a time, in slots 0 to jobs - 1.

    Stages in `settled` count as done. Of those that can start, the one with the longest chain behind it comes first. Where
    one fails the others go on. A KeyboardInterrupt, or any error, stops all that run before it leaves.
    """
    outcome = Outcome(done=list(settled))
    running: dict[int, tuple[str, Running]] = {}
    order = by_chain(graph)
    waiting = [name for name in order if name not in settled]
    try:
        while True:
            for name in [name for name in waiting if graph[name] <= set(outcome.done)]:
                free = sorted(set(range(jobs)) - set(running))
                if free:
                    # A signal in between would leave a stage behind that nobody knows of.
                    with interruption.Deferred() as deferred:
                        running[free[0]] = (name, start(name, free[0]))
                    waiting.remove(name)
                    if deferred.asked:
                        raise interruption.Interrupted(deferred.asked)
            if not running:
                outcome.skipped = waiting
                return outcome
            for slot, (name, stage) in list(running.items()):
                if (code := stage.poll()) is not None:
                    del running[slot]
                    (outcome.failed if code else outcome.done).append(name)
            time.sleep(SECONDS_BETWEEN_LOOKS)
    except BaseException as error:
        end([stage for _, stage in running.values()], getattr(error, "number", signal.SIGINT))
        raise


def end(stages: list[Running], number: int) -> None:
    """Interrupt the stages by the signal that came here, and wait until they have saved and ended; a second one kills them.

    Another signal might be one that they ignore, as what a script starts in the background ignores SIGINT.
    """
    while True:
        try:
            if all([stage.poll() is not None for stage in stages]):
                return
            for stage in stages:
                stage.stop(number)
            time.sleep(SECONDS_BETWEEN_LOOKS)
        except KeyboardInterrupt:
            number = signal.SIGKILL


def by_chain(graph: Graph) -> list[str]:
    """The stages, those with the longest chain of stages that wait for them first, so that no long chain is left to the end."""
    length: dict[str, int] = dict.fromkeys(graph, 0)
    followers = {name: [other for other, needed in graph.items() if name in needed] for name in graph}
    for _ in graph:
        for name in graph:
            length[name] = max([1 + length[other] for other in followers[name]], default=0)
    return sorted(graph, key=lambda name: -length[name])


def unchanged(graph: Graph, changed: Collection[str]) -> list[str]:
    """Stages that neither have changed themselves nor, however far before them, need one that has."""
    found: list[str] = []
    for _ in graph:
        found = [name for name, needed in graph.items() if name not in changed and needed <= set(found)]
    return found


def read_graph() -> Graph:
    """Each stage of dvc.yaml with those whose outputs it needs, as `dvc dag` draws them."""
    drawing = ask("dag", "--mermaid")
    names = dict(re.findall(r'^\s*(node\d+)\["(.*)"\]$', drawing, re.MULTILINE))
    graph: Graph = {name: set() for name in names.values()}
    for needed, name in re.findall(r"^\s*(node\d+)-->(node\d+)$", drawing, re.MULTILINE):
        graph[names[name]].add(names[needed])
    return graph


def outdated() -> set[str]:
    """The stages that DVC finds changed as things stand now."""
    return set(json.loads(ask("status", "--json")))


def ask(*words: str) -> str:
    """What a dvc command prints; UserError with its last line where it fails."""
    answer = subprocess.run([*DVC, *words], capture_output=True, text=True)
    if answer.returncode:
        raise UserError(f"dvc {words[0]}: {told(answer.stderr)}")
    return answer.stdout


def visible_gpus() -> list[str]:
    """The names that CUDA_VISIBLE_DEVICES has for the GPUs that may be used."""
    # Alone here, since it takes a second.
    import torch

    count = torch.cuda.device_count()
    listed = [word.strip() for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.strip()]
    return listed[:count] or [str(number) for number in range(count)]


def environment(slot: int, jobs: int, gpus: Sequence[str]) -> dict[str, str]:
    """Variables for a stage: its part of the cores, and its own GPU where there are any."""
    variables = {"OMP_NUM_THREADS": str(max(1, cores() // jobs))} | os.environ
    return variables | {"CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)]} if gpus else variables


def cores() -> int:
    """How many this process may use: in a container perhaps two of 64."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(count, math.ceil(quota()))


def quota(path: str | Path = "/sys/fs/cgroup/cpu.max") -> float:
    """How many cores' time a container is granted (its share of a period, by cgroup v2); that of all where there is no limit."""
    try:
        most, period = Path(path).read_text().split()
        return int(most) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return os.cpu_count() or 1


def logs() -> Path:
    return Path(os.environ.get("TIMINGS_DIR", ".timings")) / "logs"


class Dvc:
    """One stage built by `dvc repro` in a process group of its own, so that signals reach it only from here."""

    def __init__(self, name: str, variables: dict[str, str], place: str) -> None:
        self.name, self.log, self.began = name, logs() / f"{name}.log", time.monotonic()
        self.reported, self.progress = self.began, ""
        self.code: int | None = None
        self.stopped: set[int] = set()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        gpu = f" on GPU {variables['CUDA_VISIBLE_DEVICES']}" if variables.get("CUDA_VISIBLE_DEVICES") else ""
        interruption.say(f"{name}: starts{gpu}, {place}")
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                [*DVC, "repro", "--single-item", name],
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def poll(self) -> int | None:
        """Its exit code; None while it runs. The end is said once, with the time and why it failed."""
        if self.code is None and (code := self.process.poll()) is not None:
            self.code = code
            seconds = round(time.monotonic() - self.began)
            if code and self.stopped:
                what = f"stopped after {seconds} s"
            else:
                what = f"FAILED after {seconds} s: {told(self.said())}" if code else f"done in {seconds} s"
            interruption.say(f"{self.name}: {what}")
        elif self.code is None and time.monotonic() > self.reported + SECONDS_BETWEEN_REPORTS:
            self.report()
        return self.code

    def report(self) -> None:
        """Say how far the stage is, where that is new."""
        self.reported, before = time.monotonic(), self.progress
        self.progress = how_far(self.said())
        if self.progress not in ("", before):
            interruption.say(f"{self.name}: {self.progress}")

    def said(self) -> str:
        """The end of its log; "" where somebody has taken that away."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - LOG_END))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def stop(self, number: int) -> None:
        """Send the signal to what dvc has started, to each process once; dvc itself ends when that has ended.

        Interrupted in the wrong moment, dvc leaves half a file of locks behind, which no later dvc can read.
        """
        if self.process.poll() is not None:
            return
        if number == signal.SIGKILL:
            os.killpg(self.process.pid, number)
        for child in children(self.process.pid):
            if child.pid not in self.stopped:
                self.stopped.add(child.pid)
                with suppress(ProcessLookupError):
                    os.kill(child.pid, number)


def children(number: int) -> "list[psutil.Process]":
    """All that the process has started, directly or not."""
    # It comes with dvc, and takes its time.
    import psutil

    try:
        return psutil.Process(number).children(recursive=True)
    except psutil.Error:
        return []


def how_far(output: str) -> str:
    """The last line of an output that says how much time is left, "" if there is none."""
    return next((line for line in reversed(output.splitlines()) if re.search(r"\d:\d\d left$", line)), "")


def told(output: str) -> str:
    """The line of an output that says why it ended: the stage's own error if there is one, else the last one."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it said nothing"]
    own = [line for line in lines if line.startswith("error: ")]
    return (own or [line for line in lines if line.startswith("ERROR: ")] or lines)[-1]


if __name__ == "__main__":
    main()
