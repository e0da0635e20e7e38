"""Experiments side by side: out of git or the workspace, with the params that differ, figures and pictures."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from stages.report import compare, style
from stages.runtime.errors import UserError
from tests.report.test_page import Reader

IDENTITY = ["-c", "user.name=test", "-c", "user.email=test@example.org"]


def git(*words: str) -> str:
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout.strip()


def set_steps(steps: int) -> None:
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["adaptation"]["dann"]["steps"] = steps
    Path("params.yaml").write_text(yaml.safe_dump(content))


def set_accuracy(value: float) -> None:
    summary = json.loads(Path("metrics/summary.json").read_text())
    summary["acgan"]["judge_accuracy"]["mean"] = value
    Path("metrics/summary.json").write_text(json.dumps(summary))


@pytest.fixture
def experiments(study):
    """A branch `start`, an experiment `longer` as DVC keeps it, and a workspace that differs from both."""
    git("init", "-q", "-b", "start")
    for steps, accuracy in ((1500, 0.5), (3000, 0.75)):
        set_steps(steps)
        set_accuracy(accuracy)
        style.save(style.canvas(width=steps / 1000)[0], "plots/digits.png")
        git("add", "params.yaml", "metrics", "plots")
        git(*IDENTITY, "commit", "-qm", "state")
    commit = git("rev-parse", "HEAD")
    git("update-ref", "refs/exps/ab/cdef/longer", commit)
    git("reset", "-q", "--hard", "HEAD~1")
    set_steps(10)
    return study


def compared(monkeypatch, names: str) -> str:
    monkeypatch.setenv("EXPS", names)
    compare.main()
    return " ".join(Reader(Path("report/compare.html").read_text(encoding="utf-8")).text.split())


def test_params_that_differ_and_all_figures_stand_side_by_side(experiments, monkeypatch):
    text = compared(monkeypatch, "start longer workspace")
    assert "param start longer workspace adaptation.dann.steps 1500 3000 10" in text
    assert "adaptation.dsn.steps" not in text
    differ, same = text.split("figures are the same in all")
    assert "acgan.judge_accuracy 0.5 ± 0.014 (n = 2) 0.75 ± 0.014 (n = 2) ▲ +0.25 better 0.5 ± 0.014 (n = 2)" in differ
    assert "judge.test_accuracy 0.97 (n = 1) 0.97 (n = 1) 0.97 (n = 1)" in same and "judge.test_accuracy" not in differ


@pytest.mark.parametrize(
    "name, difference, said",
    [
        ("adaptation.syn-mnistm.dann.accuracy", 0.01, "better"),
        ("stylegan2.clean.efficientnet_lite0.fd", 3.0, "worse"),
        ("stylegan2.clean.efficientnet_lite0.kid", -0.1, "better"),
        ("stylegan2.clean.efficientnet_lite0.fd_floor", -3.0, ""),
        ("acgan.judge_accuracy", 0.0, ""),
    ],
)
def test_a_difference_is_better_or_worse_as_the_figure_counts(name, difference, said):
    assert compare.verdict(name, difference) == said


def test_pictures_that_differ_stand_side_by_side_and_the_others_are_named(experiments, monkeypatch):
    text = compared(monkeypatch, "start longer")
    html = Path("report/compare.html").read_text()
    assert html.count("data:image/png;base64,") == 2
    differ, same = text.split("The same in all:")
    assert "digits start longer" in differ and "faces" in same and "digits start" not in same


def test_a_picture_that_one_result_lacks_is_said_to_be_missing(experiments, monkeypatch):
    Path("plots/faces.png").unlink()
    assert compared(monkeypatch, "start workspace").count("No such picture.") == 1


@pytest.mark.parametrize("name", ["unknown", "--all", "-x", "a;b", "$(x)", "longer:params.yaml", "<b>"])
def test_a_name_that_names_nothing_is_refused(experiments, monkeypatch, name):
    monkeypatch.setenv("EXPS", f"start {name}")
    with pytest.raises(UserError, match="is no experiment, branch or commit"):
        compare.main()


def test_a_name_of_two_experiments_is_refused(experiments, monkeypatch):
    git("update-ref", "refs/exps/00/1111/longer", git("rev-parse", "start"))
    monkeypatch.setenv("EXPS", "start longer")
    with pytest.raises(UserError, match="names 2 experiments"):
        compare.main()


@pytest.mark.parametrize("names", ["", "one", "one one"])
def test_fewer_than_two_can_t_be_compared(study, monkeypatch, names):
    monkeypatch.setenv("EXPS", names)
    with pytest.raises(UserError, match="make compare EXPS="):
        compare.main()


def test_a_commit_without_figures_is_named(experiments, monkeypatch):
    git("rm", "-q", "--cached", "-r", "metrics")
    git(*IDENTITY, "commit", "-qm", "no figures")
    monkeypatch.setenv("EXPS", "workspace start")
    with pytest.raises(UserError, match="has no metrics/summary.json"):
        compare.main()


def test_hostile_words_in_params_stay_words(experiments, monkeypatch):
    hostile = "</td><script>alert(1)</script>{{ 7 * 7 }}"
    content = yaml.safe_load(Path("params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump({**content, hostile: hostile}))
    monkeypatch.setenv("EXPS", "start workspace")
    compare.main()
    reader = Reader(Path("report/compare.html").read_text(encoding="utf-8"))
    assert "script" not in reader.tags and reader.text.count(hostile) == 2
