"""The order in which stages are started side by side, with stages that only pretend."""

import signal
import sys
import time

import pytest

from stages.runtime import repro

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


@pytest.mark.parametrize(("affinity", "expected"), [({3, 5}, 2), (None, 64)])
def test_only_cores_that_may_be_used_are_shared(monkeypatch, affinity, expected):
    monkeypatch.setattr(repro.os, "cpu_count", lambda: 64)
    if affinity:
        monkeypatch.setattr(repro.os, "sched_getaffinity", lambda process: affinity, raising=False)
    else:
        monkeypatch.delattr(repro.os, "sched_getaffinity", raising=False)
    assert repro.cores() == expected


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
    assert sorted(repro.repro(0).done) == sorted(DIAMOND)
    assert pretended.most == min(jobs, 3) and f"; {jobs} at a time on {len(gpus) or 'no'} GPUs" in capsys.readouterr().err
    assert places == [f"{number} of 5" for number in range(1, 6)]


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
    end.touch()
    stage.process.wait()
    assert stage.poll() == 0
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == ["train@0: starts, 1 of 1", "faces: step 1/2 7 images/s, 00:09 left"]
    assert said[2].startswith("train@0: done in ") and len(said) == 3


def test_how_far_is_the_last_line_with_a_time_left():
    assert repro.how_far("> python\nfaces: 1/9, 00:08 left\nfaces: 2/9, 00:07 left\nDone\n") == "faces: 2/9, 00:07 left"
    assert repro.how_far("> python\n") == ""


def test_several_gpus_a_stage_are_refused(monkeypatch):
    monkeypatch.setenv("DEVICES", "2")
    with pytest.raises(repro.UserError, match="unset it"):
        repro.repro(2)


def test_a_failure_is_told_by_the_stage_s_own_line():
    output = "a\nerror: judge.lr is wrong\nERROR: failed to reproduce 'train_judge'\n"
    assert repro.told(output) == "error: judge.lr is wrong"
    assert repro.told("Traceback\nValueError: x\nERROR: failed to run\n") == "ERROR: failed to run"
    assert repro.told("") == "it said nothing"
