"""Put the claims of ablation.yaml to the test: run their settings as DVC experiments, and write metrics/ablation.csv.

A setting is one experiment of `dvc exp run --queue`, however many claims share it, and is not run again while its params and
the code stay the same. DVC's cache serves whatever a setting does not change. The environment's ONLY names claims, with spaces
between (all, where it is empty), and JOBS how many experiments run at a time (1). `make ablation` does it.

    ONLY="NAME NAME" JOBS=2 python -m stages.report.ablation
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from stages.report import claims, experiments, verdicts
from stages.report.claims import Claim, Setting
from stages.report.verdicts import Reading
from stages.runtime import interruption, repro
from stages.runtime.errors import UserError
from stages.runtime.stage import run

FILE = "ablation.yaml"
# The stage that an experiment ends with: it writes the figures, and needs neither page nor cards.
TARGET = "summarize"
GRAPH = "dvc.yaml"
QUEUED, RUNNING, FAILED, SUCCESS = "Queued", "Running", "Failed", "Success"
SECONDS_BETWEEN_LOOKS, SECONDS_TO_ANSWER = 5, 60
MOST_STARTS = 10
# What a training says that another process has in hand.
BUSY = "is being trained by process"

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Experiment:
    """One run of the pipeline under DVC's name for it, which ends in `claims.identity`."""

    name: str
    overrides: tuple[str, ...]

    @property
    def key(self) -> str:
        return key_of(self.name)


def main() -> None:
    known = claims.read(FILE)
    asked = claims.chosen(known, os.environ.get("ONLY", ""))
    jobs = wanted_jobs()
    repro.one_device_each()
    check_workspace()
    plan = planned(asked)
    failed: dict[str, str] = {}
    try:
        failed = bring(list(dict.fromkeys(plan.values())), jobs)
    finally:
        verdicts.write(table(known, plan, verdicts.read()))
    if failed:
        told = "; ".join(f"{name} ({why})" for name, why in failed.items())
        raise UserError(f"failed: {told}. `dvc queue logs NAME` says more; all others are in {verdicts.PATH}")
    print(f"The verdicts are in {verdicts.PATH}; `dvc repro` puts them into plots/summary.md and on the page.")


def wanted_jobs() -> int:
    """The environment's JOBS, 1 where it has none; UserError for a bad one."""
    jobs = os.environ.get("JOBS") or "1"
    if not jobs.isascii() or not jobs.isdigit() or not 1 <= int(jobs) <= 1024:
        raise UserError(f"JOBS is {jobs[:60]!r}; must be a number of experiments to run at a time, from 1 on")
    return int(jobs)


def check_workspace() -> None:
    """UserError where the experiments would stand on something that no commit has, or find stages to run that aren't theirs."""
    try:
        experiments.git("rev-parse", "--verify", "HEAD")
    except UserError as error:
        advice = "experiments need a git repository with a commit: `git add -A && git commit` first"
        raise UserError(f"{advice} ({error})") from None
    changed = experiments.git("status", "--porcelain", "--", *code(), "params.yaml").decode().splitlines()
    if changed:
        raise UserError(f"{changed[0][3:]} differs from the last commit, on which the experiments stand: commit it first")
    outdated = [name for name in json.loads(repro.ask("status", "--json", "--with-deps", TARGET)) if name != TARGET]
    if outdated:
        raise UserError(f"{outdated[0]} is not up to date, and every experiment would run it anew: run `dvc repro` first")


def planned(asked: Iterable[Claim]) -> dict[Setting, Experiment]:
    """The experiment of each setting, the same for the same params; UserError names the setting whose override is wrong."""
    written = experiments.git("rev-parse", *(f"HEAD:{path}" for path in code())).decode()
    present = experiments.figures(None)
    found: dict[Setting, Experiment] = {}
    by_key: dict[str, Experiment] = {}
    for setting in (setting for claim in asked for setting in claim.settings):
        try:
            settings = claims.effective(setting.overrides)
            claims.check_figure(setting.figure, settings, present)
        except UserError as error:
            raise UserError(f"{FILE}: {setting.claim}, {setting.name}: {error}") from None
        key = claims.identity(settings, written)
        found[setting] = by_key.setdefault(key, Experiment(f"{setting.claim}-{setting.name}-{key}", setting.overrides))
    return found


def code() -> list[str]:
    """What an experiment's figures come from, besides its params: the graph, and what stages depend on that don't report.

    Where a stage's code has an item's name in it, that is the folder.
    """
    found = re.findall(r"^ *- (stages/(?!report/)[^\s$]+)", Path(GRAPH).read_text(encoding="utf-8"), re.MULTILINE)
    return [GRAPH, *sorted({path.rstrip("/") for path in found})]


def key_of(name: str) -> str:
    """The part of an experiment's name that tells params and code, which stays when a claim gets another name."""
    return name.rpartition("-")[2]


def finished() -> dict[str, tuple[str, str]]:
    """Name and commit of every experiment that has come to its end, by its key."""
    return {key_of(name): (name, commit) for name, commit in experiments.known()}


# ---- Running --------------------------------------------------------------------------------------------------------------


def bring(wanted: list[Experiment], jobs: int) -> dict[str, str]:
    """Run what is missing, `jobs` at a time; returns why each of those failed that did. Ctrl-C stops what runs."""
    done = finished()
    missing = [experiment for experiment in wanted if experiment.key not in done]
    interruption.say(f"{len(wanted)} experiments, {len(wanted) - len(missing)} of them there")
    if not missing:
        return {}
    queue = Queue()
    try:
        work_off(queue, missing, jobs)
        met = [one for one in missing if one.key not in finished() and BUSY in queue.why(one)]
        if met:
            interruption.say("once more what came to a training of another, which has ended now")
            work_off(queue, met, jobs)
    except KeyboardInterrupt as error:
        queue.withdraw(missing)
        error.args = ("stopped: the same command goes on from here",)
        raise
    done = finished()
    return {experiment.name: queue.why(experiment) for experiment in missing if experiment.key not in done}


def work_off(queue: "Queue", missing: list[Experiment], jobs: int) -> None:
    """Run the experiments; workers that end before their work are followed by others, UserError where those do no better."""
    total = len(missing)
    for _ in range(MOST_STARTS):
        queue.put(missing)
        queue.start(jobs)
        for state in queue.watch(missing, total):
            interruption.say(state)
        missing = going(missing, queue.states())
        if not missing:
            return
        interruption.say("the workers of DVC's queue have ended before their work")
    raise UserError(f"the workers of DVC's queue have ended {MOST_STARTS} times before their work: the same command starts more")


class Queue:
    """DVC's queue of experiments, in which those of others may stand as well."""

    def __init__(self) -> None:
        # Here, since it takes a second.
        from dvc.repo import Repo

        self.queue = Repo().experiments.celery_queue
        self.last: dict[str, tuple[str, str]] = {}

    def states(self) -> dict[str, tuple[str, str]]:
        """Name and state of all in the queue, by key.

        DVC looks first at what runs and then at what waits, and does not see what begins to run between: that is as it was last.
        """
        tasks = read_again(self.queue.status)
        before, self.last = self.last, {key_of(task["name"]): (task["name"], task["status"]) for task in tasks if task["name"]}
        return before | self.last

    def answering(self) -> int:
        """How many workers answer."""
        return len(read_again(self.queue.worker_status))

    def working(self) -> bool:
        """Whether a worker is there, even if it does not answer.

        One that has read a message half written neither answers nor takes another experiment, but ends the one that it has.
        """
        # It comes with dvc, which names a folder's workers so; its files of their numbers may have those of others.
        import psutil

        mark = f"dvc-exp-{sha256(self.queue.wdir.encode()).hexdigest()[:6]}-"
        commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
        return any("queue-worker" in words and any(word.startswith(mark) for word in words) for words in commands)

    def put(self, missing: Iterable[Experiment]) -> None:
        """Queue what neither waits nor runs; what has failed, or lost its worker, is queued anew."""
        states = self.states()
        if any(state == RUNNING for _, state in states.values()) and not self.working():
            lost = [name for name, state in states.values() if state == RUNNING]
            with suppress(UserError):
                repro.ask("queue", "kill", "--force", *lost)
            states = self.ended()
        for experiment in missing:
            name, state = states.get(experiment.key, (experiment.name, None))
            if state not in (QUEUED, RUNNING):
                if state:
                    repro.ask("queue", "remove", name)
                words = [word for override in experiment.overrides for word in ("-S", override)]
                repro.ask("exp", "run", "--queue", "--name", experiment.name, *words, TARGET)
                interruption.say(f"queued {experiment.name}")

    def ended(self) -> dict[str, tuple[str, str]]:
        """The states once nothing runs, or after a minute: what was killed is said to run for a while yet."""
        until, states = time.monotonic() + SECONDS_TO_ANSWER, self.states()
        while any(state == RUNNING for _, state in states.values()) and time.monotonic() < until:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            states = self.states()
        return states

    def start(self, jobs: int) -> None:
        """Start workers, each with its own GPU or part of the cores; they end by themselves once the queue is empty."""
        gpus = repro.visible_gpus()
        for slot in range(jobs):
            # Trainings that are stopped go on in the next experiment of the same, whose folder is another.
            variables = {"RESUME_DIR": str(Path(".resume").resolve())} | repro.environment(slot, jobs, gpus)
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
            command = [*repro.DVC, "queue", "start", "--jobs", str(slot + 1)]
            # No pipe for what it says: the worker would hold it open for as long as it lives.
            nowhere = subprocess.DEVNULL
            if subprocess.run(command, env=variables | {"PATH": path}, stdin=nowhere, stdout=nowhere, stderr=nowhere).returncode:
                raise UserError("`dvc queue start` fails: run it by hand to see why")
            # The next one that is started must not take this one for missing.
            until = time.monotonic() + SECONDS_TO_ANSWER
            while self.answering() <= slot and time.monotonic() < until:
                time.sleep(SECONDS_BETWEEN_LOOKS)

    def watch(self, missing: list[Experiment], total: int) -> Iterator[str]:
        """A line for every experiment that ends, until none of them waits or runs, or no worker is left.

        What is not missing of the `total` has ended before, and is counted.
        """
        began = time.monotonic()
        before = total - len(missing)
        ended: list[Experiment] = []
        while True:
            states = self.states()
            left = going(missing, states)
            for experiment in [one for one in missing if one not in left and one not in ended]:
                ended.append(experiment)
                seconds = (time.monotonic() - began) / len(ended) * (len(missing) - len(ended))
                state = states.get(experiment.key, ("", "taken out of the queue"))[1]
                how = {FAILED: "failed", SUCCESS: f"done; about {seconds / 60:.0f} min left"}.get(state, state)
                yield f"{before + len(ended)} of {total}: {experiment.name} {how}"
            if not left or not self.working():
                return
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def withdraw(self, missing: list[Experiment]) -> None:
        """Stop those that run, which save where they are, and take those that wait out of the queue."""
        for verb, of in ((("queue", "remove"), QUEUED), (("queue", "kill", "--force"), RUNNING)):
            # Looked at twice, since one may have begun to run; DVC refuses all names for one that has changed.
            states = self.states()
            names = [states[one.key][0] for one in missing if states.get(one.key, ("", ""))[1] == of]
            try:
                if names:
                    repro.ask(*verb, *names)
            except UserError:
                for name in names:
                    with suppress(UserError):
                        repro.ask(*verb, name)

    def why(self, experiment: Experiment) -> str:
        """The last that an experiment said which has no result."""
        try:
            return repro.told(repro.ask("queue", "logs", experiment.name))
        except UserError as error:
            return str(error)


def going(experiments: Iterable[Experiment], states: dict[str, tuple[str, str]]) -> list[Experiment]:
    """Those that wait or run, or are still said to."""
    return [one for one in experiments if states.get(one.key, ("", ""))[1] in (QUEUED, RUNNING)]


def read_again(question: Callable[[], Answer]) -> Answer:
    """What DVC's queue answers, asked again for a minute where a file of it is just being written, and is no JSON yet."""
    until = time.monotonic() + SECONDS_TO_ANSWER
    while True:
        try:
            return question()
        except ValueError:
            if time.monotonic() > until:
                raise
            time.sleep(SECONDS_BETWEEN_LOOKS)


# ---- Gathering ------------------------------------------------------------------------------------------------------------


def table(known: list[Claim], plan: dict[Setting, Experiment], before: list[Reading]) -> list[Reading]:
    """The lines of all claims: of those in the plan what the experiments gave, of the others what the table had before.

    A claim whose settings have not all been run anew keeps what it had, if that is more. All else that was ever read comes last.
    """
    done = finished()
    rows: list[Reading] = []
    read = list(before)
    for claim in known:
        found = {setting: done[plan[setting].key] for setting in claim.settings if setting in plan and plan[setting].key in done}
        new, old = list(readings(claim, found)), still_true(claim, before)
        rows += judged(claim, new if len(found) == len(claim.settings) else max(new, old, key=len))
        read += new
    return rows + superseded(read, rows)


def readings(claim: Claim, found: dict[Setting, tuple[str, str]]) -> Iterator[Reading]:
    """A line, without a verdict, for each setting of the claim whose experiment, by name and commit, is there."""
    for setting, (name, commit) in found.items():
        figure = experiments.figures(commit).get(setting.figure)
        if figure:
            base = experiments.git("rev-parse", "--short=7", f"{commit}~1").decode().strip()
            of_setting = (claim.name, claim.words, *identity(setting), claim.better)
            yield Reading(*of_setting, figure["mean"], figure["std"], figure["n"], "", base, name)


def still_true(claim: Claim, before: list[Reading]) -> list[Reading]:
    """One line for each of the claim's present settings that the table had: the one that the claim rests on, if it has one."""
    last = sorted((line for line in before if line.name == claim.name), key=lambda line: line.verdict != verdicts.SUPERSEDED)
    found = {(line.setting, line.overrides, line.figure): line for line in last}
    return [found[identity(setting)] for setting in claim.settings if identity(setting) in found]


def superseded(read: list[Reading], rows: list[Reading]) -> list[Reading]:
    """What was read but is not in the rows, whatever claim it is of: each figure once."""
    figures = {(line.overrides, line.figure, line.mean, line.n): replace(line, verdict=verdicts.SUPERSEDED) for line in read}
    present = {(line.overrides, line.figure, line.mean, line.n) for line in rows}
    return [line for figure, line in figures.items() if figure not in present]


def identity(setting: Setting) -> tuple[str, str, str]:
    """What a setting is called, changes and is measured by, as the table has it."""
    return setting.name, " ".join(setting.overrides), setting.figure


def judged(claim: Claim, lines: list[Reading]) -> list[Reading]:
    """The lines in the claim's present words and order, with its verdict."""
    figures = {line.setting: {"mean": line.mean, "std": line.std, "n": line.n} for line in lines}
    whole = len(figures) == len(claim.settings)
    verdict = verdicts.verdict([figures[one.name] for one in claim.settings], claim.better) if whole else verdicts.UNFINISHED
    ordered = sorted(lines, key=lambda line: [one.name for one in claim.settings].index(line.setting))
    return [replace(line, claim=claim.words, better=claim.better, verdict=verdict) for line in ordered]


if __name__ == "__main__":
    run(main, timed=False)
