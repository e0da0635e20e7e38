"""Experiments of the ablation: which are run, in what state they are, and the table of what they gave."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from stages.report import ablation, experiments, verdicts
from stages.report.ablation import Experiment, Queue
from stages.report.claims import Claim, Setting
from stages.runtime import repro
from stages.runtime.errors import UserError
from tests.report import conftest

FIGURE = "acgan.judge_accuracy"
OVERRIDES = {"without": "acgan.train.lr_decay=0", "with": "acgan.train.lr_decay=1"}
SETTINGS = tuple(Setting("decay", name, (override,), FIGURE) for name, override in OVERRIDES.items())
CLAIM = Claim("decay", "Decay helps", "higher", SETTINGS)
PLAN = {setting: Experiment(f"old-{setting.name}-0000000{n}", setting.overrides) for n, setting in enumerate(SETTINGS)}
FIRST, SECOND = PLAN.values()


def git(*words: str) -> str:
    command = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(study):
    """The study and its code under git, with one commit."""
    shutil.copy(conftest.ROOT / "dvc.yaml", ".")
    shutil.copytree(conftest.ROOT / "stages", "stages", ignore=shutil.ignore_patterns("__pycache__"))
    git("init", "-q")
    git("add", "dvc.yaml", "params.yaml", "stages", "metrics/summary.json")
    git("commit", "-qm", "base")
    return study


def finish(experiment: Experiment, mean: float) -> None:
    """Keep an experiment's figures as DVC does: a commit on the present one."""
    summary = json.loads(Path("metrics/summary.json").read_text())
    summary["acgan"]["judge_accuracy"] = {"mean": mean, "std": 0.01, "n": 2}
    Path("metrics/summary.json").write_text(json.dumps(summary))
    git("commit", "-qam", "experiment")
    git("update-ref", f"refs/exps/ab/cdef/{experiment.name}", git("rev-parse", "HEAD"))
    git("reset", "-q", "--hard", "HEAD~1")


def test_the_table_has_a_line_for_every_reading_with_commit_and_experiment(repository):
    finish(FIRST, 0.5)
    finish(SECOND, 0.75)
    without, with_ = ablation.table([CLAIM], PLAN, [])
    assert (without.setting, without.mean, without.std, without.n) == ("without", 0.5, 0.01, 2)
    assert (with_.setting, with_.mean, with_.overrides) == ("with", 0.75, "acgan.train.lr_decay=1")
    for reading, experiment in ((without, FIRST), (with_, SECOND)):
        assert (reading.claim, reading.verdict, reading.figure) == ("Decay helps", "confirmed", FIGURE)
        assert reading.experiment == experiment.name
        assert git("rev-parse", "HEAD").startswith(reading.commit) and len(reading.commit) == 7


def test_an_experiment_is_known_by_its_key_alone(repository):
    finish(Experiment(f"another-name-{FIRST.key}", ()), 0.5)
    [reading] = ablation.table([CLAIM], PLAN, [])
    assert (reading.setting, reading.experiment) == ("without", f"another-name-{FIRST.key}")


def test_a_claim_with_a_missing_experiment_is_unfinished(repository):
    finish(SECOND, 0.75)
    [reading] = ablation.table([CLAIM], PLAN, [])
    assert (reading.setting, reading.verdict) == ("with", "unfinished")
    assert verdicts.finished([reading]) == []


def lines(claim: Claim, means: tuple[float, ...] = (0.5, 0.75)) -> list[verdicts.Reading]:
    """What a table has of the claim."""
    names = (f"past-{setting.name}-01234567" for setting in claim.settings)
    read = zip(claim.settings, means, names, strict=True)
    found = (
        verdicts.Reading(claim.name, claim.words, *ablation.identity(one), "higher", mean, 0.01, 2, "", "abc1234", name)
        for one, mean, name in read
    )
    return ablation.judged(claim, list(found))


def standing(claims: list[Claim], plan: dict, before: list[verdicts.Reading]) -> list[verdicts.Reading]:
    """The table but for what no claim rests on."""
    return [line for lines in verdicts.by_claim(ablation.table(claims, plan, before)) for line in lines]


def test_a_claim_keeps_its_lines_until_all_its_settings_have_been_run_anew(repository):
    before = lines(CLAIM)
    finish(FIRST, 0.25)
    assert standing([CLAIM], PLAN, before) == before
    finish(SECOND, 0.75)
    assert [reading.experiment for reading in standing([CLAIM], PLAN, before)] == [FIRST.name, SECOND.name]
    third = replace(before[-1], setting="more", mean=0.9)
    assert [reading.experiment for reading in standing([CLAIM], PLAN, [*before, third])] == [FIRST.name, SECOND.name]


def test_lines_of_claims_that_were_not_asked_for_stay_while_the_file_has_them(repository):
    finish(FIRST, 0.5)
    other, gone = (replace(CLAIM, name=name) for name in ("other", "gone"))
    found = ablation.table([other, CLAIM], PLAN, [*lines(other), *lines(gone)])
    assert found[:2] == lines(other)
    assert [reading.experiment for reading in found[2:]] == [FIRST.name]


def test_a_claim_s_words_and_verdict_are_those_of_today_and_changed_settings_leave_it(repository):
    before = lines(CLAIM)
    said = standing([replace(CLAIM, words="Decay harms", better="lower")], {}, before)
    assert {(line.claim, line.better, line.verdict) for line in said} == {("Decay harms", "lower", "refuted")}
    turned = standing([replace(CLAIM, settings=SETTINGS[::-1])], {}, before)
    assert [(line.setting, line.verdict) for line in turned] == [("with", "refuted"), ("without", "refuted")]
    other = replace(SETTINGS[1], overrides=("acgan.train.lr_decay=0.9",))
    [line] = standing([replace(CLAIM, settings=(SETTINGS[0], other))], {}, before)
    assert (line.setting, line.verdict) == ("without", "unfinished")


def test_what_no_claim_rests_on_any_more_stays_on_record(repository):
    before, other = lines(CLAIM), replace(SETTINGS[1], overrides=("acgan.train.lr_decay=0.9",))
    gone = ablation.table([], {}, before)
    assert gone == [replace(line, verdict="superseded") for line in before]
    assert verdicts.by_claim(gone) == verdicts.finished(gone) == []
    assert ablation.table([CLAIM], {}, gone) == before
    changed = ablation.table([replace(CLAIM, settings=(SETTINGS[0], other))], {}, before)
    assert [(line.mean, line.verdict) for line in changed] == [(0.5, "unfinished"), (0.75, "superseded")]
    # The same figure of an experiment that other claims read as well is on record there.
    assert ablation.table([replace(CLAIM, name="another")], {}, [*before, *lines(replace(CLAIM, name="another"))]) == lines(
        replace(CLAIM, name="another")
    )


def test_figures_that_were_read_anew_are_those_the_claim_rests_on(repository):
    before = lines(CLAIM)
    finish(FIRST, 0.25)
    half = ablation.table([CLAIM], PLAN, before)
    assert [(line.mean, line.verdict) for line in half] == [(0.5, "confirmed"), (0.75, "confirmed"), (0.25, "superseded")]
    finish(SECOND, 0.75)
    whole = ablation.table([CLAIM], PLAN, half)
    assert [(line.mean, line.verdict) for line in whole] == [(0.25, "confirmed"), (0.75, "confirmed"), (0.5, "superseded")]
    assert ablation.table([CLAIM], {}, whole) == ablation.table([CLAIM], PLAN, whole) == whole


def queued(*states: tuple[Experiment, str]) -> list[dict]:
    return [{"name": experiment.name, "status": state} for experiment, state in states]


@pytest.fixture
def queue(monkeypatch):
    """A queue in which DVC says the `looks` one after the other, the last one for ever; what it is asked to do is in `asked`."""
    queue = Queue.__new__(Queue)
    queue.looks, queue.asked, queue.working, queue.last = [[]], [], lambda: True, {}

    def look() -> list[dict]:
        return queue.looks.pop(0) if len(queue.looks) > 1 else queue.looks[0]

    queue.queue = SimpleNamespace(status=look)
    monkeypatch.setattr(repro, "ask", lambda *words: queue.asked.append(" ".join(words)) or "error: why")
    for name in ("SECONDS_BETWEEN_LOOKS", "SECONDS_TO_ANSWER"):
        monkeypatch.setattr(ablation, name, 0)
    return queue


def test_what_waits_or_runs_is_not_queued_again(queue):
    queue.looks = [queued((FIRST, "Queued"), (SECOND, "Running"))]
    queue.put([FIRST, SECOND])
    assert queue.asked == []


def test_what_has_failed_is_queued_anew_with_its_overrides(queue):
    queue.looks = [queued((FIRST, "Failed"))]
    queue.put([FIRST, SECOND])
    first, second = (
        f"exp run --queue --name {experiment.name} -S {experiment.overrides[0]} summarize" for experiment in (FIRST, SECOND)
    )
    assert queue.asked == [f"queue remove {FIRST.name}", first, second]


def test_what_has_lost_its_worker_is_queued_anew(queue, monkeypatch):
    """It is said to run for a while yet after it was killed."""
    monkeypatch.setattr(ablation, "SECONDS_TO_ANSWER", 60)
    queue.working = lambda: False
    queue.looks = [*[queued((FIRST, "Running"))] * 3, queued((FIRST, "Failed"))]
    queue.put([FIRST])
    assert queue.asked[:2] == [f"queue kill --force {FIRST.name}", f"queue remove {FIRST.name}"] and len(queue.asked) == 3


def test_each_end_is_said_once_until_none_waits_or_runs(queue):
    queue.looks = [
        queued((FIRST, "Running"), (SECOND, "Queued")),
        *[queued((FIRST, "Failed"), (SECOND, "Running"))] * 2,
        queued((FIRST, "Failed"), (SECOND, "Success")),
    ]
    said = list(queue.watch([FIRST, SECOND], 2))
    assert said == [f"1 of 2: {FIRST.name} failed", f"2 of 2: {SECOND.name} done; about 0 min left"]


def test_what_begins_to_run_between_two_looks_has_not_left_the_queue(queue):
    queue.looks = [queued((FIRST, "Queued")), [], queued((FIRST, "Running")), queued((FIRST, "Failed"))]
    assert list(queue.watch([FIRST], 1)) == [f"1 of 1: {FIRST.name} failed"]


def test_what_somebody_takes_out_of_the_queue_is_not_called_done(queue):
    queue.looks = [queued((FIRST, "Queued")), []]
    assert list(queue.watch([FIRST], 1)) == [f"1 of 1: {FIRST.name} taken out of the queue"]


def test_workers_that_end_before_their_work_are_followed_by_others(queue, capsys):
    starts = []

    def start(jobs: int) -> None:
        starts.append(jobs)
        queue.looks = [queued((FIRST, "Success"), (SECOND, "Queued" if len(starts) < 3 else "Success"))]

    queue.start, queue.working = start, lambda: False
    queue.looks = [queued((FIRST, "Queued"), (SECOND, "Queued"))]
    ablation.work_off(queue, [FIRST, SECOND], 2)
    said = capsys.readouterr().err
    assert starts == [2, 2, 2] and said.count("have ended before their work") == 2
    assert said.count(f"1 of 2: {FIRST.name} done") == 1 and said.count(f"2 of 2: {SECOND.name} done") == 1
    queue.start = starts.append
    queue.looks = [queued((FIRST, "Queued"))]
    with pytest.raises(UserError, match="workers of DVC's queue have ended 10 times before their work"):
        ablation.work_off(queue, [FIRST], 1)
    assert len(starts) == 13


def test_what_came_to_a_training_of_another_runs_once_more_and_what_failed_otherwise_does_not(queue, monkeypatch):
    third, worked, told = Experiment("third-c", ()), [], {FIRST: f"error: dsn-0 {ablation.BUSY} 7", SECOND: "error: disk"}
    results = [[third], [third, FIRST]]
    monkeypatch.setattr(ablation, "Queue", lambda: queue)
    monkeypatch.setattr(ablation, "finished", lambda: {one.key: (one.name, "") for one in results[0]} if worked else {})
    monkeypatch.setattr(
        ablation, "work_off", lambda queue, missing, jobs: worked.append(missing) or worked[1:] and results.pop(0)
    )
    queue.why = told.get
    assert ablation.bring([FIRST, SECOND, third], 2) == {SECOND.name: "error: disk"}
    assert worked == [[FIRST, SECOND, third], [FIRST]]


def test_a_worker_counts_while_its_process_is_there_whether_it_answers_or_not(queue, tmp_path):
    del queue.working
    queue.queue.wdir = str(tmp_path)
    assert not queue.working()
    for folder, counts in ((f"{tmp_path}-another", False), (str(tmp_path), True)):
        name = f"dvc-exp-{hashlib.sha256(folder.encode()).hexdigest()[:6]}-2@localhost"
        worker = subprocess.Popen([sys.executable, "-c", "input()", "queue-worker", name], stdin=subprocess.PIPE)
        assert queue.working() == counts
        worker.communicate()
        assert not queue.working()


def test_a_file_of_the_queue_that_is_just_being_written_is_read_again(queue, monkeypatch):
    monkeypatch.setattr(ablation, "SECONDS_TO_ANSWER", 60)
    contents = ["", '{"worker": []}']
    queue.queue.worker_status = lambda: json.loads(contents.pop(0))
    assert queue.answering() == 1
    monkeypatch.setattr(ablation, "SECONDS_TO_ANSWER", 0)
    queue.queue.worker_status = lambda: json.loads("")
    with pytest.raises(ValueError):
        queue.answering()


def test_what_is_withdrawn_neither_waits_nor_runs(queue):
    queue.looks = [queued((FIRST, "Running"), (SECOND, "Queued"), (Experiment("mine-00000009", ()), "Queued"))]
    queue.withdraw([FIRST, SECOND])
    assert queue.asked == [f"queue remove {SECOND.name}", f"queue kill --force {FIRST.name}"]


def test_what_dvc_refuses_together_is_withdrawn_one_by_one(queue, monkeypatch):
    """One has begun to run since DVC was asked what waits."""

    def ask(*words: str) -> None:
        queue.asked.append(" ".join(words))
        if "remove" in words and FIRST.name in words:
            raise UserError("not queued")

    monkeypatch.setattr(repro, "ask", ask)
    queue.looks = [queued((FIRST, "Queued"), (SECOND, "Queued")), queued((FIRST, "Running"))]
    queue.withdraw([FIRST, SECOND])
    assert queue.asked[2:] == [f"queue remove {SECOND.name}", f"queue kill --force {FIRST.name}"]


@pytest.mark.parametrize("jobs", ["0", "-1", "two", "1.5", "٣", "9999"])
def test_a_wrong_number_of_jobs_is_refused(monkeypatch, jobs):
    monkeypatch.setenv("JOBS", jobs)
    with pytest.raises(UserError, match="JOBS is"):
        ablation.wanted_jobs()


def test_several_devices_for_each_training_are_refused_at_once(repository, monkeypatch):
    monkeypatch.setenv("DEVICES", "2")
    Path("ablation.yaml").write_text((conftest.ROOT / "ablation.yaml").read_text())
    with pytest.raises(UserError, match="DEVICES is set"):
        ablation.main()


def test_a_wrong_setting_is_named_before_anything_runs(repository, monkeypatch):
    monkeypatch.setattr(experiments, "git", lambda *words: b"")
    wrong = Setting("decay", "with", ("acgan.train.lr_decay=2.0",), FIGURE)
    with pytest.raises(UserError, match=r"ablation.yaml: decay, with: acgan.train.lr_decay: is 2.0; must be at most 1"):
        ablation.planned([Claim("decay", "Decay helps", "higher", (SETTINGS[0], wrong))])


def test_code_that_no_figure_comes_from_makes_no_new_experiment(monkeypatch):
    monkeypatch.chdir(conftest.ROOT)
    found = ablation.code()
    assert {"dvc.yaml", "stages/adaptation/methods", "stages/runtime/training.py"} < set(found)
    assert not {"stages/runtime/repro.py", "stages/runtime/schema.py"} & set(found)
    assert not [path for path in found if "report" in path] and all(Path(path).exists() for path in found)


def test_settings_of_the_same_params_are_one_experiment(repository):
    seeds = "acgan.seeds=[0,1]"
    given = {"acgan.train.lr_decay": yaml.safe_load(Path("params.yaml").read_text())["acgan"]["train"]["lr_decay"]}
    same = Setting("a", "x", (seeds, f"acgan.train.lr_decay={given['acgan.train.lr_decay']}"), FIGURE)
    again, other = Setting("b", "y", (seeds,), FIGURE), Setting("b", "z", (), "acgan.judge_accuracy")
    [changed] = [Setting("b", "w", ("acgan.train.ema_decay=0.5",), FIGURE)]
    plan = ablation.planned([Claim("a", "", "higher", (same, again)), Claim("b", "", "higher", (other, changed))])
    assert plan[same] == plan[again] and plan[same].name.startswith("a-x-")
    assert plan[other] != plan[changed] != plan[same]


def test_settings_of_other_code_are_other_experiments(repository):
    setting = Setting("a", "x", ("acgan.seeds=[0,1]",), FIGURE)
    before = ablation.planned([Claim("a", "", "higher", (setting,))])
    with Path("stages/generation/acgan.py").open("a") as code:
        code.write("# changed\n")
    git("commit", "-qam", "other code")
    assert ablation.planned([Claim("a", "", "higher", (setting,))])[setting].key != before[setting].key


def test_code_that_no_commit_has_is_refused_in_gits_words(repository):
    git("rm", "-qr", "--cached", "stages/runtime")
    git("commit", "-qm", "without some code")
    with pytest.raises(UserError, match="git rev-parse: fatal: path 'stages/runtime.*"):
        ablation.planned([CLAIM])


@pytest.mark.parametrize("state", ["no repository", "no commit", "changed params"])
def test_a_workspace_that_no_commit_has_is_refused(study, monkeypatch, state):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(study.parent))
    shutil.copy(conftest.ROOT / "dvc.yaml", ".")
    if state != "no repository":
        git("init", "-q")
        git("add", "dvc.yaml", "params.yaml")
    if state == "changed params":
        git("commit", "-qm", "base")
        Path("params.yaml").write_text(Path("params.yaml").read_text() + "# changed\n")
    with pytest.raises(UserError, match="params.yaml differs" if state == "changed params" else "need a git repository"):
        ablation.check_workspace()


def test_the_pipeline_must_be_up_to_date(repository, monkeypatch):
    monkeypatch.setattr(repro, "ask", lambda *words: json.dumps({"summarize": [], "train_judge": []}))
    with pytest.raises(UserError, match="train_judge is not up to date, .* run `dvc repro` first"):
        ablation.check_workspace()
    monkeypatch.setattr(repro, "ask", lambda *words: json.dumps({"summarize": []}))
    ablation.check_workspace()


def test_the_columns_are_those_of_the_committed_table():
    committed = (conftest.ROOT / verdicts.PATH).read_text().splitlines()[0]
    assert committed.split(",") == verdicts.COLUMNS
