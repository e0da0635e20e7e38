"""Processes of one training, started for real: by DEVICES or torchrun, ended by signals, by each other, by dvc's end."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
STAGE = ["-m", "tests.parallel.stages.train_toy", "0"]
SECONDS = 60


@pytest.fixture
def start(tmp_path):
    """Start the toy stage in a process group of its own; whatever is left of it in the end is killed."""
    started = []

    def begin(*command, **environment):
        kept = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "DEVICES")}
        process = subprocess.Popen(
            [sys.executable, *(command or STAGE)],
            cwd=tmp_path,
            env=kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # What a shell starts in its background ignores Ctrl-C, and so would all that is started from here.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def ended(process) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err


def pids(folder, count=2) -> list[int]:
    """The ids of all processes, once all have come to step 25."""
    files = [folder / f"at25-{rank}" for rank in range(count)]
    until = time.monotonic() + SECONDS
    while not all(file.exists() and file.read_text() for file in files):
        assert time.monotonic() < until
        time.sleep(0.05)
    return [int(file.read_text()) for file in files]


def gone(pid: int) -> bool:
    until = time.monotonic() + SECONDS / 4
    while time.monotonic() < until:
        try:
            if "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]:
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


def test_devices_starts_that_many_which_speak_and_write_as_one(start, tmp_path):
    code, out, err = ended(start(DEVICES="2"))
    assert (code, out.count("\n"), [line.partition(":")[0] for line in err.splitlines()]) == (0, 1, ["toy-0"])
    assert [path.name for path in (tmp_path / ".timings").iterdir()] == ["train_toy-0.json"]
    assert not list((tmp_path / ".resume").iterdir())


def test_torchrun_starts_the_same_stage(start):
    code, out, err = ended(start("-m", "torch.distributed.run", "--nproc-per-node", "2", *STAGE))
    assert (code, out.count("\n")) == (0, 1), err


def test_torchrun_on_two_nodes_trains_as_two_processes_on_one(start, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = ["--nnodes", "2", "--master-addr", "127.0.0.1", "--master-port", str(free.getsockname()[1])]
    first, second = (start("-m", "torch.distributed.run", *meeting, "--node-rank", rank, *STAGE) for rank in "01")
    code, out, err = ended(first)
    assert (code, out.count("\n")) == (0, 1), err
    code, silence, err = ended(second)
    assert (code, silence) == (0, ""), err
    assert {path.name for path in tmp_path.glob("at25-*")} == {"at25-0", "at25-1"}
    assert [path.name for path in (tmp_path / ".timings").iterdir()] == ["train_toy-0.json"]
    assert not list((tmp_path / ".resume").iterdir())
    assert ended(start(DEVICES="2"))[:2] == (0, out)


def test_ctrl_c_is_one_line_and_the_same_command_goes_on_exactly(start, tmp_path):
    _, undisturbed, _ = ended(start(DEVICES="2"))
    for file in tmp_path.glob("at25-*"):
        file.unlink()
    process = start(DEVICES="2", WAIT="told")
    pids(tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    (tmp_path / "go").touch()
    code, out, err = ended(process)
    assert (code, out, err) == (130, "", "toy-0: stopped at step 40; the same command goes on from step 40\n")
    code, out, err = ended(start(DEVICES="2"))
    assert code == 0 and out == undisturbed and err.startswith("toy-0: goes on from step 40\n")


@pytest.mark.parametrize("rank", [0, 1])
def test_sigterm_to_one_process_ends_all(start, tmp_path, rank):
    process = start(DEVICES="2", WAIT="told")
    both = pids(tmp_path)
    os.kill(both[rank], signal.SIGTERM)
    (tmp_path / "go").touch()
    assert ended(process) == (143, "", "toy-0: stopped at step 40; the same command goes on from step 40\n")
    assert all(gone(pid) for pid in both)


@pytest.mark.parametrize("waiting", ["for each other", "for something else"])
def test_a_killed_process_ends_the_others_in_one_line(start, tmp_path, waiting):
    process = start(DEVICES="2", WAIT="0.05" if waiting == "for each other" else "1000")
    both = pids(tmp_path)
    os.kill(both[1], signal.SIGKILL)
    code, out, err = ended(process)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(
        "error: another process of this" if waiting == "for each other" else "error: process 1 of this training"
    )


@pytest.mark.parametrize("waiting", ["0.05", "1000"])
def test_no_process_outlives_the_first(start, tmp_path, waiting):
    process = start(DEVICES="2", WAIT=waiting)
    both = pids(tmp_path)
    os.kill(both[0], signal.SIGKILL)
    assert gone(both[1])
    assert ended(process)[2].count("\n") <= 1


def test_no_process_outlives_the_dvc_that_started_it(start, tmp_path):
    dvc = tmp_path / "dvc"
    dvc.write_text(f"import subprocess, sys; subprocess.run([sys.executable, *{STAGE!r}])")
    process = start(str(dvc), DEVICES="2", WAIT="0.05", DVC_STAGE="toy")
    both = pids(tmp_path)
    process.kill()
    assert all(gone(pid) for pid in both)
