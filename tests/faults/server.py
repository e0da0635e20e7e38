"""Runs stages in children forked from one process that has everything imported: half a second each instead of four.

`python -m tests.faults.server` reads one job a line, as JSON, and answers with two lines: the child's process id as soon as it
has begun, then its exit status (negative: the signal that killed it) and what it said.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# Imported by some function only when it is called; children would each do it again.
# Seconds after which a stage is taken to hang, and killed.
LONGEST = 300.0
LATE = ("sklearn.manifold", "pandas", "matplotlib.pyplot", "efficientnet_lite_pytorch", "scipy.linalg", "torch._dynamo")


@dataclass
class Ended:
    """How a stage ended: its exit status (-9: killed), its output, and what was counted."""

    status: int
    output: str
    counts: dict[str, int] = field(default_factory=dict)


class Server:
    """The process that forks; all stages of the tree it was started in. Close it at the end."""

    def __init__(self, root: Path = ROOT) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
        environment.pop("DVC_STAGE", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.server"],
            cwd=root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, folder: Path, words: list[str], plan: dict[str, Any] | None = None, *, kill_after: float | None = None
    ) -> Ended:
        """Run `python -m WORDS` in `folder` under a plan; `kill_after` so many seconds it is killed from outside."""
        self.process.stdin.write(json.dumps({"folder": str(folder), "words": words, "plan": plan or {}}) + "\n")
        self.process.stdin.flush()
        pid = json.loads(self.process.stdout.readline())
        timer = threading.Timer(LONGEST if kill_after is None else kill_after, _kill, [pid])
        timer.start()
        ended = Ended(**json.loads(self.process.stdout.readline()))
        timer.cancel()
        return ended

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(60)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def serve() -> None:
    """Answer jobs until there are no more."""
    for path in sorted((ROOT / "stages").rglob("*.py")):
        importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    for name in LATE:
        importlib.import_module(name)
    gc.freeze()
    for line in sys.stdin:
        job = json.loads(line)
        out_read, out_write = os.pipe()
        count_read, count_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(out_read)
            os.close(count_read)
            _child(job, out_write, count_write)
        os.close(out_write)
        os.close(count_write)
        print(pid, flush=True)
        with os.fdopen(out_read, errors="replace") as said, os.fdopen(count_read) as counted:
            output, counts = said.read(), counted.read()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"status": status, "output": output, "counts": json.loads(counts or "{}")}), flush=True)


def _child(job: dict[str, Any], out: int, count: int) -> None:
    from tests.faults import plan

    status = 1
    try:
        os.setpgrp()
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
        os.chdir(job["folder"])
        sys.argv = job["words"]
        plan.install(job["plan"])
        runpy.run_module(job["words"][0], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:  # the child must never come back to the loop of its parent
        traceback.print_exc()
    finally:
        sys.setprofile(None)
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(count, json.dumps(plan.COUNTS).encode())
        os._exit(status)


if __name__ == "__main__":
    serve()
