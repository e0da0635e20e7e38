"""Trainings under a real `dvc repro`, killed one by one, with their process group, or left alone by a killed dvc."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.faults.house import House

pytestmark = pytest.mark.slow
INJECT = Path(__file__).parent / "inject"
STAGE = "train_judge"


@pytest.fixture
def dvc(house):
    """A function that starts dvc in the house, in a process group of its own; what is still alive at the end is killed."""
    started = []
    # What an earlier test has recorded would be checked out instead of trained anew.
    (house.folder / "dvc.lock").unlink(missing_ok=True)

    def start(*words, plan=None, **variables):
        log = house.folder / ".timings/log"
        log.parent.mkdir(exist_ok=True)
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(INJECT),
            "OMP_NUM_THREADS": "1",
            "SHELL": "/bin/sh",
            "FAULT": json.dumps(plan or {}),
            **variables,
        }
        with log.open("w") as file:
            command = [sys.executable, "-m", "dvc", *words]
            process = subprocess.Popen(
                command,
                cwd=house.folder,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=heed,
            )
        process.log = log
        started.append(process)
        return process

    yield start
    for process in started:
        for one in psutil.process_iter():
            try:
                if os.getpgid(one.pid) == process.pid:
                    one.kill()
            except (psutil.Error, ProcessLookupError):
                continue
        process.wait(60)


def heed() -> None:
    """Let the hang-up count, which tests that run in the background may be ignoring."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def training(process: subprocess.Popen) -> psutil.Process | None:
    """The Python process of the stage that dvc runs, once there is one."""
    try:
        for child in psutil.Process(process.pid).children(recursive=True):
            if "stages." in " ".join(child.cmdline()) and "-c" not in child.cmdline():
                return child
    except psutil.Error:
        pass
    return None


def until(condition, process, seconds=90):
    """What `condition()` returns as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, process.log.read_text()
        time.sleep(0.02)
    return value


def saved(house: House) -> bool:
    return any((folder / "previous.pt").exists() for folder in house.states())


def assert_dvc_ends_it_soundly(house, dvc):
    process = dvc("repro", "--no-run-cache", "-s", STAGE)
    assert process.wait(120) == 0, process.log.read_text()
    said = process.log.read_text()
    files = house.files()
    changed = sorted(name for name in files.keys() | house.sound.keys() if files.get(name) != house.sound.get(name))
    assert not changed, changed
    assert not house.states()
    return said


@pytest.mark.parametrize(
    "plan", [{"torn": 4}, {"torn": 9}, {"saves": 6}, {"torn": 13}], ids=lambda plan: "-".join(map(str, *plan.items()))
)
def test_a_killed_training_goes_on(house, dvc, plan):
    process = dvc("repro", "-f", "-s", STAGE, plan=plan)
    assert process.wait(120) != 0
    assert saved(house), process.log.read_text()
    assert "goes on from step" in assert_dvc_ends_it_soundly(house, dvc)


@pytest.mark.parametrize("wait", [0.0, 0.1, 0.2])
def test_a_training_killed_with_its_whole_group_goes_on(house, dvc, wait):
    process = dvc("repro", "-f", "-s", STAGE, plan={"pace": 0.5})
    until(lambda: saved(house), process)
    time.sleep(wait)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    assert "goes on from step" in assert_dvc_ends_it_soundly(house, dvc)


STAYING_SHELL = '#!/bin/sh\n/bin/sh "$@"\nexit $?\n'


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash", "staying"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_where_dvc_alone_is_killed_its_training_saves_and_ends(house, dvc, tmp_path, shell, number):
    if shell == "staying":
        shell = tmp_path / "shell"
        shell.write_text(STAYING_SHELL)
        shell.chmod(0o755)
    elif not Path(shell).exists():
        pytest.skip(f"there is no {shell} here")
    process = dvc("repro", "-f", "-s", STAGE, plan={"pace": 1.0, "save": False}, SHELL=str(shell))
    stage = until(lambda: training(process), process)
    until(lambda: any(folder.joinpath("lock").exists() for folder in house.states()), process)
    time.sleep(0.5)
    process.send_signal(number)
    process.wait(10)
    stage.wait(10)
    said = process.log.read_text()
    assert "the dvc that started this is gone: stopping" in said
    assert "judge: stopped at step" in said and "Traceback" not in said
    assert "goes on from step" in assert_dvc_ends_it_soundly(house, dvc)


def test_a_hang_up_of_the_terminal_saves_and_ends(house, dvc):
    process = dvc("repro", "-f", "-s", STAGE, plan={"pace": 1.0, "save": False})
    stage = until(lambda: training(process), process)
    until(lambda: any(folder.joinpath("lock").exists() for folder in house.states()), process)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGHUP)
    process.wait(10)
    stage.wait(10)
    assert "Traceback" not in process.log.read_text().partition("judge: stopped")[2]
    assert "goes on from step" in assert_dvc_ends_it_soundly(house, dvc)


def test_two_runs_of_the_same_training_are_one_too_many(house, dvc):
    process = dvc("repro", "-f", "-s", STAGE, plan={"stop": 5})
    stage = until(lambda: training(process), process)
    until(lambda: stage.status() == psutil.STATUS_STOPPED, process)
    second = subprocess.run(
        [sys.executable, "-m", "stages.evaluation.train_judge"], cwd=house.folder, capture_output=True, text=True, timeout=60
    )
    assert second.returncode == 1
    assert second.stderr == (
        f"error: judge is being trained by process {stage.pid} with the same params: wait for it or stop it\n"
    )
    stage.resume()
    assert process.wait(60) == 0, process.log.read_text()
    assert house.files() == house.sound
    assert not house.states()


def test_an_interrupted_experiment_in_a_temporary_folder_goes_on_from_resume_dir(house, dvc, tmp_path):
    assert dvc("commit", "-f", "import@mydigits", STAGE).wait(60) == 0
    house.clone.commit()
    command = ["exp", "run", "--temp", "-s", STAGE, "-S", "judge.lr=0.002"]
    process = dvc(*command, plan={"saves": 7}, RESUME_DIR=str(tmp_path))
    assert process.wait(120) != 0
    assert list(tmp_path.glob("judge-*/state.pt")), process.log.read_text()
    process = dvc(*command, RESUME_DIR=str(tmp_path))
    assert process.wait(120) == 0, process.log.read_text()
    assert "goes on from step 7" in process.log.read_text()
    assert not list(tmp_path.iterdir())
    assert house.files() == house.sound
