"""`make ablation`'s program for real: DVC's own queue, on the smoke preset, in a clone of its own."""

import csv
import signal
import time
from pathlib import Path

import pytest

from stages.report import verdicts
from tests.pipeline.clone import Clone

pytestmark = pytest.mark.slow

CLAIMS = """\
acgan:
  overrides: acgan.seeds=[0,1]
  figure: acgan.judge_accuracy
  better: higher
  claims:
    decay:
      claim: Decay helps
      settings:
        without: acgan.train.lr_decay=0.0
        with: acgan.train.lr_decay=0.5
    broken:
      claim: A validation set of nothing helps
      settings:
        nothing: adaptation.images.validation=0.0001
        something: ""
adaptation:
  overrides: ""
  figure: adaptation.mnistm-mfeat.SETTING.accuracy
  better: higher
  claims:
    methods:
      claim: DSN is better than DANN
      settings: {dann: "", dsn: ""}
"""
PROGRAM = ("python", "-m", "stages.report.ablation")


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Clone:
    """A clone whose pipeline has run, with three claims and no figure read yet, all in a commit."""
    clone = Clone(tmp_path_factory.mktemp("clone"))
    verdicts.write([], clone.folder / verdicts.PATH)
    clone.repro()
    (clone.folder / "ablation.yaml").write_text(CLAIMS)
    clone.commit()
    return clone


def rows(clone: Clone) -> list[dict[str, str]]:
    with (clone.folder / "metrics/ablation.csv").open() as file:
        return list(csv.DictReader(file))


def in_queue(clone: Clone, *states: str) -> list[str]:
    lines = clone.run("dvc", "queue", "status").stdout.splitlines()
    return [line for line in lines if line.split() and line.split()[-1] in states]


def wait_for(sign, log: Path) -> None:
    deadline = time.monotonic() + 300
    while not sign():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def test_stopped_and_called_again_it_runs_each_setting_once_and_only_what_it_touches(clone, monkeypatch):
    monkeypatch.setenv("ONLY", "decay methods")
    log = clone.folder / ".timings/log"
    running = clone.start(log, *PROGRAM)
    wait_for(lambda: in_queue(clone, "Running") or running.poll() is not None, log)
    clone.run("python", "-c", "from stages.report.ablation import Queue; assert Queue().working()")
    running.send_signal(signal.SIGINT)
    assert running.wait(120) == 130 and "stopped: the same command goes on" in log.read_text()
    assert not in_queue(clone, "Queued", "Running")
    assert len(rows(clone)) < 4

    said = clone.run(*PROGRAM).stderr
    assert "3 experiments" in said and "3 of 3" in said
    found = {(row["name"], row["setting"]): row for row in rows(clone)}
    assert list(found) == [("decay", "without"), ("decay", "with"), ("methods", "dann"), ("methods", "dsn")]
    assert {row["n"] for row in rows(clone)[:2]} == {"2"} and float(found["decay", "with"]["std"]) >= 0
    summary = clone.summary()["adaptation"]["mnistm-mfeat"]
    for method in ("dann", "dsn"):
        row = found["methods", method]
        assert float(row["mean"]) == summary[method]["accuracy"]["mean"]
        assert (row["n"], row["verdict"], row["overrides"]) == ("1", "open", "")
    head = clone.run("git", "rev-parse", "HEAD").stdout
    assert all(head.startswith(row["commit"]) for row in rows(clone))

    output = clone.run("dvc", "queue", "logs", found["decay", "without"]["experiment"]).stdout
    ran = {line.split("'")[1].split("@")[0] for line in output.splitlines() if line.startswith("Running stage")}
    assert ran == {"train_acgan", "sample_acgan", "evaluate_acgan", "summarize"}
    assert "0 of them there" not in clone.run(*PROGRAM).stderr and not in_queue(clone, "Queued", "Running")


def test_one_that_fails_is_named_and_the_others_are_kept(clone, monkeypatch):
    before = rows(clone)
    monkeypatch.setenv("ONLY", "broken")
    done = clone.run(*PROGRAM, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: failed: broken-nothing-") and "adaptation.images.validation 0.0001 holds out 0" in last
    assert [row for row in rows(clone) if row["name"] != "broken"] == before
    assert [(row["setting"], row["verdict"]) for row in rows(clone) if row["name"] == "broken"] == [("something", "unfinished")]


def test_the_verdicts_are_in_the_summary_and_on_the_page_after_the_next_repro(clone):
    assert clone.repro() == {"summarize", "page"}
    for file in ("plots/summary.md", "report/index.html"):
        text = (clone.folder / file).read_text()
        assert "Decay helps" in text and "DSN is better than DANN" in text


def test_experiments_stand_on_a_commit_and_find_the_pipeline_done(clone):
    clone.change("  batch_norm: eval\n", "  batch_norm: batch\n")
    refused = clone.run(*PROGRAM, check=False)
    assert refused.returncode == 1 and "params.yaml differs from the last commit" in refused.stderr
    clone.commit()
    refused = clone.run(*PROGRAM, check=False)
    assert refused.returncode == 1 and "sample_acgan@0 is not up to date" in refused.stderr
