"""`make repro`'s command on a small graph of shell commands, with DVC itself."""

import errno
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.pipeline.clone import environment

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
# Each of the two parts waits for a sign of the other: one after the other, the first would fail.
GRAPH = {
    "stages": {
        "part": {
            "foreach": {"a": "b", "b": "a"},
            "do": {
                "cmd": "touch ${key}.met; for i in $(seq 300); do test -e ${item}.met && break; sleep 0.1; done; "
                "cat ${item}.met in > parts-${key}",
                "deps": ["in"],
                "outs": ["parts-${key}"],
            },
        },
        "weak": {"cmd": "test $(cat strength) = strong && cat strength > weak", "deps": ["strength"], "outs": ["weak"]},
        "after": {"cmd": "cat weak parts-a > after", "deps": ["weak", "parts-a"], "outs": ["after"]},
        "join": {"cmd": "cat parts-a parts-b > join", "deps": ["parts-a", "parts-b"], "outs": ["join"]},
    }
}


@pytest.fixture
def folder(tmp_path):
    """A git and DVC repository with the small graph, whose stage `weak` succeeds."""
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(GRAPH))
    (tmp_path / "in").write_text("in\n")
    (tmp_path / "strength").write_text("strong\n")
    for words in (["git", "init", "-q"], ["dvc", "init", "-q"], ["dvc", "config", "core.analytics", "false"]):
        assert run(tmp_path, *words).returncode == 0
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(words, cwd=folder, env=variables(), capture_output=True, text=True, timeout=120)


def variables() -> dict[str, str]:
    return environment() | {"PYTHONPATH": str(ROOT)}


def parallel(folder: Path) -> subprocess.CompletedProcess:
    return run(folder, sys.executable, "-m", "stages.runtime.repro", "--jobs", "3")


def locked(folder: Path) -> dict:
    return yaml.safe_load((folder / "dvc.lock").read_text())


def test_it_leaves_what_dvc_repro_leaves(folder):
    done = parallel(folder)
    assert done.returncode == 0, done.stderr
    assert "all 5 stages are up to date" in done.stdout
    beside = locked(folder)
    assert "Data and pipelines are up to date." in run(folder, "dvc", "repro").stdout
    assert (folder / "join").read_text() == "in\nin\n"
    (folder / "dvc.lock").unlink()
    assert run(folder, "dvc", "repro", "--force").returncode == 0
    assert locked(folder) == beside
    assert "5 of them unchanged" in parallel(folder).stderr


def test_a_failure_stops_only_what_needs_it_and_the_next_call_goes_on(folder):
    (folder / "strength").write_text("feeble\n")
    failed = parallel(folder)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1] == "error: failed: weak; left out since they need one of these: after"
    assert len([line for line in failed.stderr.splitlines() if line.startswith("weak: FAILED after ")]) == 1
    assert set(locked(folder)["stages"]) == {"part@a", "part@b", "join"}
    (folder / "strength").write_text("strong\n")
    again = parallel(folder)
    assert again.returncode == 0
    assert "3 of them unchanged" in again.stderr and "join: starts" not in again.stderr
    assert (folder / "after").read_text() == "strong\nin\n"


def opened_once_read(fifo: Path, running: subprocess.Popen, seconds: float = 60) -> int:
    """A descriptor to write to the pipe, as soon as a stage reads from it: a shell before it would let a signal pass."""
    end = time.monotonic() + seconds
    while True:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            assert running.poll() is None and time.monotonic() < end
            time.sleep(0.1)


def heeding(number: int) -> None:
    """Ignore SIGINT, as what a script starts in the background does, unless it is the signal that will come."""
    signal.signal(signal.SIGINT, signal.SIG_DFL if number == signal.SIGINT else signal.SIG_IGN)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_every_stage_and_the_next_call_goes_on(folder, number):
    (folder / "in").unlink()
    os.mkfifo(folder / "in.fifo")
    graph = yaml.safe_load((folder / "dvc.yaml").read_text())
    graph["stages"]["weak"] = {"cmd": "exec cat in.fifo > weak", "outs": ["weak"]}
    (folder / "in").write_text("in\n")
    (folder / "dvc.yaml").write_text(yaml.safe_dump(graph))
    running = subprocess.Popen(
        [sys.executable, "-m", "stages.runtime.repro", "--jobs", "3"],
        cwd=folder,
        env=variables(),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(heeding, number),
    )
    # While it is open here, the stage that reads it waits for more.
    pipe = opened_once_read(folder / "in.fifo", running)
    running.send_signal(number)
    said = running.communicate(timeout=60)[1]
    assert running.returncode == 128 + number and said.splitlines()[-1].startswith("stopped: ")
    # Nobody reads the pipe any more: opening it without waiting fails. (Once this end is closed, a reader would end by itself.)
    with pytest.raises(OSError) as refused:
        os.open(folder / "in.fifo", os.O_WRONLY | os.O_NONBLOCK)
    assert refused.value.errno == errno.ENXIO
    os.close(pipe)
    graph["stages"]["weak"]["cmd"] = "echo strong > weak"
    (folder / "dvc.yaml").write_text(yaml.safe_dump(graph))
    assert parallel(folder).returncode == 0
