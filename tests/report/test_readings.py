"""The table of test figures that were read beside the claims'."""

import re
from pathlib import Path

import pytest

from stages.report import readings
from stages.runtime.errors import UserError

HEAD = "preset,commit,run,step,figure,value,changes\n"
LINES = """\
best,abc1234,a-b-dann-0,100,accuracy,0.5,
best,abc1234,a-b-dann-0,200,accuracy,0.75,
best,abc1234,a-b-dann-0,200,regret.last,0.125,
best,abc1234,stylegan2-0,300,clean.kid,0.0123,
laptop,,acgan-0,400,judge_accuracy,0.9,acgan.train.steps=400 acgan.train.augment=[]
"""


def test_figures_stand_by_what_was_tried_run_and_step_shares_in_percent(tmp_path):
    path = tmp_path / "readings.csv"
    path.write_text(HEAD + LINES)
    best, laptop = readings.read(path)
    assert (best.preset, best.commit, best.changes) == ("best", "abc1234", "")
    assert best.figures == ["accuracy", "regret.last", "clean.kid"]
    assert best.rows == [
        ("a-b-dann-0", "100", {"accuracy": "50.00"}),
        ("a-b-dann-0", "200", {"accuracy": "75.00", "regret.last": "12.50"}),
        ("stylegan2-0", "300", {"clean.kid": "0.0123"}),
    ]
    assert (laptop.commit, laptop.changes) == ("", "acgan.train.steps=400 acgan.train.augment=[]")
    assert readings.read(tmp_path / "none.csv") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not enough values"),
        (HEAD.replace("run", "runs"), "columns preset, commit, runs"),
        (HEAD + LINES.replace("0.75", "much"), "'much'"),
        (HEAD + "best,abc1234,a-b-dann-0\n", "zip"),
    ],
)
def test_another_table_is_refused_in_one_line(tmp_path, text, said):
    path = tmp_path / "readings.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(said)) as raised:
        readings.read(path)
    assert "is no table of readings" in str(raised.value) and "\n" not in str(raised.value)


def test_the_project_s_own_table_can_be_read():
    tried = readings.read(Path(__file__).resolve().parents[2] / readings.PATH)
    assert {one.preset for one in tried} >= {"laptop", "best_packaged"}
    assert all(values for one in tried for *_, values in one.rows)
