"""The order in which stages are started side by side, with stages that only pretend."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.runtime import repro

ROOT = Path(__file__).resolve().parents[2]
DIAMOND = {"first": set(), "left": {"first"}, "right": {"first"}, "last": {"left", "right"}, "alone": set()}


class Pretended:
    """Stages that end after some looks, and what was seen of them."""

    def __init__(self, looks=None, codes=None):
        self.looks, self.codes = looks or {}, codes or {}
        self.started, self.ended, self.now, self.most, self.signals = [], [], {}, 0, []

    def start(self, name, slot):
        assert slot not in self.now.values(), "two stages in one slot"
        assert DIAMOND[name] <= set(self.ended), f"{name} starts before what it needs has ended"
        self.started.append(name)
        self.now[name] = slot
        self.most = max(self.most, len(self.now))
        return Stage(self, name)


class Stage:
    def __init__(self, all_, name):
        self.all, self.name, self.left = all_, name, all_.looks.get(name, 1)

    def poll(self):
        self.left -= 1
        if self.left > 0:
            return None
        if self.name in self.all.now:
            del self.all.now[self.name]
            self.all.ended.append(self.name)
        return self.all.codes.get(self.name, 0)

    def stop(self, number):
        self.all.signals.append((self.name, number))
        self.left = 0


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(repro, "SECONDS_BETWEEN_LOOKS", 0)


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_a_stage_starts_after_all_that_it_needs(jobs):
    pretended = Pretended(looks={"first": 2, "left": 4, "right": 1, "alone": 6})
    outcome = repro.schedule(DIAMOND, jobs, pretended.start)
    assert sorted(outcome.done) == sorted(DIAMOND) and not outcome.failed and not outcome.skipped
    assert pretended.most == min(jobs, 3)


def test_the_longest_chain_starts_first():
    graph = {"short": set(), "a": set(), "b": {"a"}, "c": {"b"}}
    assert repro.by_chain(graph) == ["a", "b", "short", "c"]


def test_after_a_failure_the_others_finish_and_what_needs_it_is_left_out():
    pretended = Pretended(looks={"alone": 5}, codes={"left": 1})
    outcome = repro.schedule(DIAMOND, 2, pretended.start)
    assert outcome.failed == ["left"] and outcome.skipped == ["last"]
    assert sorted(outcome.done) == ["alone", "first", "right"]


def test_settled_stages_are_not_started():
    pretended = Pretended()
    pretended.ended += ["first", "left"]
    outcome = repro.schedule(DIAMOND, 2, pretended.start, settled=["first", "left"])
    assert sorted(pretended.started) == ["alone", "last", "right"] and sorted(outcome.done) == sorted(DIAMOND)


def test_only_what_is_downstream_of_a_change_is_open():
    assert sorted(repro.unchanged(DIAMOND, {"left"})) == ["alone", "first", "right"]
    assert repro.unchanged(DIAMOND, {"first"}) == ["alone"]


def test_an_interruption_stops_what_runs_and_starts_nothing_more(monkeypatch):
    pretended = Pretended(looks={"first": 99, "alone": 99})

    def interrupt(seconds):
        monkeypatch.setattr(repro.time, "sleep", lambda seconds: None)
        raise KeyboardInterrupt

    monkeypatch.setattr(repro.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        repro.schedule(DIAMOND, 2, pretended.start)
    assert sorted(pretended.signals) == [("alone", signal.SIGINT), ("first", signal.SIGINT)]
    assert sorted(pretended.started) == ["alone", "first"]


def test_every_stage_has_its_part_of_the_cores_and_one_gpu(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(repro, "cores", lambda: 8)
    assert [repro.environment(slot, 3, ["4", "6"])["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["4", "6", "4"]
    assert {repro.environment(0, 3, gpus)["OMP_NUM_THREADS"] for gpus in ([], ["4", "6"])} == {"2"}
    assert repro.environment(0, 9, [])["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert repro.environment(0, 3, [])["OMP_NUM_THREADS"] == "5"


@pytest.mark.parametrize(("affinity", "quota", "expected"), [({3, 5}, 64, 2), (None, 64, 64), (None, 1.5, 2), ({3, 5}, 0.5, 1)])
def test_only_cores_that_may_be_used_are_shared(monkeypatch, affinity, quota, expected):
    monkeypatch.setattr(repro.os, "cpu_count", lambda: 64)
    monkeypatch.setattr(repro, "quota", lambda: quota)
    if affinity:
        monkeypatch.setattr(repro.os, "sched_getaffinity", lambda process: affinity, raising=False)
    else:
        monkeypatch.delattr(repro.os, "sched_getaffinity", raising=False)
    assert repro.cores() == expected


@pytest.mark.parametrize(("said", "expected"), [("150000 100000\n", 1.5), ("max 100000\n", 64), ("", 64), (None, 64)])
def test_the_quota_of_a_container_is_read(monkeypatch, tmp_path, said, expected):
    monkeypatch.setattr(repro.os, "cpu_count", lambda: 64)
    if said is not None:
        (tmp_path / "cpu.max").write_text(said)
    assert repro.quota(tmp_path / "cpu.max") == expected


@pytest.mark.parametrize(("gpus", "cores", "jobs"), [(["0"], 64, 1), (["0", "3"], 8, 2), ([], 1, 1), ([], 2, 2), ([], 64, 4)])
def test_as_many_stages_run_at_a_time_as_there_are_gpus_or_else_cores_up_to_four(monkeypatch, capsys, gpus, cores, jobs):
    monkeypatch.delenv("DEVICES", raising=False)
    pretended = Pretended(looks={"alone": 9})
    for name, answer in {"visible_gpus": gpus, "cores": cores, "read_graph": DIAMOND, "outdated": set(DIAMOND)}.items():
        monkeypatch.setattr(repro, name, lambda answer=answer: answer)
    places = []

    def start(name, variables, place):
        places.append(place)
        return pretended.start(name, len(places))

    monkeypatch.setattr(repro, "Dvc", start)
    assert sorted(repro.repro(None).done) == sorted(DIAMOND)
    assert pretended.most == min(jobs, 3) and f"; {jobs} at a time on {len(gpus) or 'no'} GPUs" in capsys.readouterr().err
    assert places == [f"{number} of 5" for number in range(1, 6)]


def test_stages_that_are_settled_count_as_done_where_others_are_numbered(monkeypatch):
    monkeypatch.delenv("DEVICES", raising=False)
    pretended = Pretended()
    pretended.ended += ["first", "alone"]
    for name, answer in {"visible_gpus": [], "read_graph": DIAMOND, "outdated": {"left", "right"}}.items():
        monkeypatch.setattr(repro, name, lambda answer=answer: answer)
    places = []
    monkeypatch.setattr(repro, "Dvc", lambda name, variables, place: places.append(place) or pretended.start(name, len(places)))
    assert sorted(repro.repro(2).done) == sorted(DIAMOND)
    assert places == ["3 of 5", "4 of 5", "5 of 5"]


def test_an_error_stops_what_runs():
    pretended = Pretended(looks={"first": 99})

    def start(name, slot):
        if name == "alone":
            raise OSError("no space")
        return pretended.start(name, slot)

    with pytest.raises(OSError, match="no space"):
        repro.schedule(DIAMOND, 2, start)
    assert pretended.signals == [("first", signal.SIGINT)]


def test_a_signal_while_a_stage_starts_stops_that_one_too():
    pretended = Pretended(looks={"first": 99})

    def start(name, slot):
        os.kill(os.getpid(), signal.SIGINT)
        return pretended.start(name, slot)

    # What a script starts in the background ignores it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            repro.schedule(DIAMOND, 2, start)
    finally:
        signal.signal(signal.SIGINT, before)
    assert pretended.started == ["first"] and pretended.signals == [("first", signal.SIGINT)]


def test_a_second_interruption_at_any_moment_kills():
    pretended = Pretended()
    pretended.now = {"first": 0}

    class Stubborn(Stage):
        def poll(self):
            if not self.all.signals:
                return None
            if len(self.all.signals) == 1:
                self.all.signals.append("interrupted again")
                raise KeyboardInterrupt
            return 0 if self.all.signals[-1] == ("first", signal.SIGKILL) else None

    repro.end([Stubborn(pretended, "first")], signal.SIGTERM)
    assert pretended.signals == [("first", signal.SIGTERM), "interrupted again", ("first", signal.SIGKILL)]


def test_how_far_a_stage_is_comes_to_the_terminal_once(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("TIMINGS_DIR", str(tmp_path))
    monkeypatch.setattr(repro, "SECONDS_BETWEEN_REPORTS", 0)
    end = tmp_path / "end"
    says = "print('faces: step 1/2 7 images/s, 00:09 left', flush=True)"
    waits = f"while not os.path.exists({str(end)!r}): time.sleep(0.01)"
    monkeypatch.setattr(repro, "DVC", (sys.executable, "-c", f"import os, time\n{says}\n{waits}"))
    stage = repro.Dvc("train@0", {}, "1 of 1")
    until = time.monotonic() + 60
    while not stage.progress and time.monotonic() < until:
        assert stage.poll() is None
    for _ in range(3):
        assert stage.poll() is None
    stage.log.unlink()
    assert stage.poll() is None
    end.touch()
    stage.process.wait()
    assert stage.poll() == 0
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == ["train@0: starts, 1 of 1", "train@0: faces: step 1/2 7 images/s, 00:09 left"]
    assert said[2].startswith("train@0: done in ") and len(said) == 3


def test_a_stage_that_was_stopped_has_not_failed(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("TIMINGS_DIR", str(tmp_path))
    runs = "import subprocess, sys; sys.exit(subprocess.run(['sleep', '60']).returncode != 0)"
    monkeypatch.setattr(repro, "DVC", (sys.executable, "-c", runs))
    stage = repro.Dvc("train@0", {}, "1 of 1")
    until = time.monotonic() + 30
    while not repro.children(stage.process.pid) and time.monotonic() < until:
        time.sleep(0.01)
    repro.end([stage], signal.SIGTERM)
    assert stage.code == 1 and capsys.readouterr().err.splitlines()[1].startswith("train@0: stopped after ")


def test_how_far_is_the_last_line_with_a_time_left():
    assert repro.how_far("> python\nfaces: 1/9, 00:08 left\nfaces: 2/9, 00:07 left\nDone\n") == "faces: 2/9, 00:07 left"
    assert repro.how_far("> python\nnothing is left\n") == ""


def test_progress_is_told_every_half_minute(monkeypatch, tmp_path):
    monkeypatch.setenv("TIMINGS_DIR", str(tmp_path))
    monkeypatch.setattr(repro, "DVC", (sys.executable, "-c", "import time; time.sleep(60)"))
    stage, told = repro.Dvc("train@0", {}, "1 of 1"), []
    monkeypatch.setattr(stage, "said", lambda: told.append(now[0]) or "")
    now = [stage.reported]
    monkeypatch.setattr(repro.time, "monotonic", lambda: now[0])
    for _ in range(100):
        now[0] += 1
        assert stage.poll() is None
    stage.process.kill()
    stage.process.wait()
    assert [moment - stage.began for moment in told] == [31, 62, 93]


def test_of_a_long_log_the_end_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("TIMINGS_DIR", str(tmp_path))
    monkeypatch.setattr(repro, "DVC", (sys.executable, "-c", f"print('x' * {repro.LOG_END}); print('last')"))
    stage = repro.Dvc("train@0", {}, "1 of 1")
    assert stage.process.wait() == 0
    assert len(stage.said()) == repro.LOG_END and stage.said().endswith("x\nlast\n")


@pytest.mark.parametrize(("given", "words"), [([], ""), (["JOBS=3"], ' --jobs "$JOBS"')])
def test_make_repro_runs_stages_side_by_side(given, words):
    shown = subprocess.run(["make", "-n", "repro", *given], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    [line] = [line for line in shown.splitlines() if "stages.runtime.repro" in line]
    assert line.rstrip().endswith(f"python -m stages.runtime.repro{words}")


@pytest.mark.parametrize("jobs", ["0", "-1", "many"])
def test_a_number_of_jobs_that_is_none_is_refused(jobs, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["repro", "--jobs", jobs])
    with pytest.raises(SystemExit) as ended:
        repro.main()
    assert ended.value.code == 2 and "--jobs" in capsys.readouterr().err


def test_several_gpus_a_stage_are_refused(monkeypatch):
    monkeypatch.setenv("DEVICES", "2")
    with pytest.raises(repro.UserError, match="unset it"):
        repro.repro(2)


def test_a_failure_is_told_by_the_stage_s_own_line():
    output = "a\nerror: judge.lr is wrong\nERROR: failed to reproduce 'train_judge'\n"
    assert repro.told(output) == "error: judge.lr is wrong"
    assert repro.told("Traceback\nValueError: x\nERROR: failed to run\n") == "ERROR: failed to run"
    assert repro.told("") == "it said nothing"
