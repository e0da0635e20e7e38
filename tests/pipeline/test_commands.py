"""What README tells people to type, beyond the two commands."""

import csv
import io
import os
import signal
import sys
import time

import psutil
import pytest
import yaml

from tests.pipeline.clone import Clone

pytestmark = pytest.mark.slow


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


def out_hashes(clone: Clone, stage: str) -> dict[str, str]:
    lock = yaml.safe_load((clone.folder / "dvc.lock").read_text())
    return {out["path"]: out["md5"] for out in lock["stages"][stage]["outs"]}


def wait_until_it_trains(clone: Clone, running, log) -> None:
    """Until the training has its state and has computed a while since: by its own clock, whatever else the machine does."""

    def wait_for(sign) -> None:
        deadline = time.monotonic() + 120
        while not sign():
            assert running.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)

    def owner() -> str:
        return "".join(path.read_text() for path in (clone.folder / ".resume").glob("acgan-0-*/lock"))

    wait_for(owner)
    trainer = psutil.Process(int(owner()))
    began = computed(trainer)
    wait_for(lambda: computed(trainer) > began + 0.3)


def computed(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def test_an_interrupted_training_goes_on_and_ends_the_same(clone):
    clone.repro("prepare@mnistm")
    params = yaml.safe_load((clone.folder / "params.yaml").read_text())
    params["acgan"]["train"]["steps"] = 1000
    (clone.folder / "params.yaml").write_text(yaml.safe_dump(params))
    log = clone.folder / ".timings/log"
    running = clone.start(log, "dvc", "repro", "train_acgan@0")
    wait_until_it_trains(clone, running, log)
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(60) != 0
    (state,) = (clone.folder / ".resume").glob("acgan-0-*/state.pt")
    assert not (clone.folder / "models/acgan-0/weights.safetensors").exists()

    clone.repro("train_acgan@0")
    interrupted = out_hashes(clone, "train_acgan@0")
    assert not state.parent.exists()
    clone.run("dvc", "repro", "-f", "-s", "train_acgan@0")
    assert out_hashes(clone, "train_acgan@0") == interrupted


def test_an_experiment_is_compared_with_the_committed_state(clone):
    clone.repro("evaluate_acgan@0")
    clone.commit()
    clone.run("dvc", "exp", "run", "-n", "batch-mode", "-S", "acgan.sample.batch_norm=batch", "evaluate_acgan@0")
    shown = list(csv.DictReader(io.StringIO(clone.run("dvc", "exp", "show", "--csv", "--only-changed").stdout)))
    assert {row["acgan.sample.batch_norm"] for row in shown} >= {"eval", "batch"}
    clone.run("git", "checkout", "-q", ".")
    clone.run("dvc", "checkout", check=False)  # names what has never been built here, and restores the rest
    assert clone.repro("evaluate_acgan@0") == set()


def test_what_several_processes_leave_is_dvc_s_own(clone):
    clone.repro("prepare@mnistm")
    clone.run("env", "DEVICES=2", "dvc", "repro", "-s", "train_judge")
    assert clone.repro("-s", "train_judge") == set()
    params = yaml.safe_load((clone.folder / "params.yaml").read_text())
    params["judge"]["seed"] = 1
    (clone.folder / "params.yaml").write_text(yaml.safe_dump(params))
    clone.run("torchrun", "--nproc-per-node", "2", "-m", "stages.evaluation.train_judge")
    clone.run("dvc", "commit", "-f", "train_judge")
    assert clone.repro("-s", "train_judge") == set()


def test_an_archive_without_git_says_what_is_done_about_it(tmp_path):
    clone = Clone(tmp_path, git=False)
    said = clone.run("make", "repository", f"VIRTUAL_ENV={sys.prefix}").stdout
    assert "No git repository here" in said
    assert (clone.folder / ".git").is_dir()
    assert "is valid" in clone.run("make", "check", f"VIRTUAL_ENV={sys.prefix}").stdout
    assert clone.repro("prepare@mfeat") == {"fetch@mfeat", "prepare@mfeat"}
