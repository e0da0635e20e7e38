"""Whether a claim holds, and the table of the figures that tell."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.report import comparison, verdicts
from stages.report.experiments import flat, git
from stages.runtime.errors import UserError
from tests.report.conftest import ablation

ROOT = Path(__file__).resolve().parents[2]


def over_seeds(mean: float, std: float | None = 0.03, n: int | None = 3) -> dict:
    return {"mean": mean, "std": std, "n": n}


# sqrt(2 * 0.03^2 / 3) is 0.02449, and Student's t at 4 degrees of freedom 2.776: settings must differ by 0.0680.
@pytest.mark.parametrize(
    ("means", "better", "said"),
    [
        ((0.5, 0.5685), "higher", "confirmed"),
        ((0.5, 0.5675), "higher", "open"),
        ((0.5, 0.4315), "higher", "refuted"),
        ((0.5, 0.4325), "higher", "open"),
        ((0.5, 0.4315), "lower", "confirmed"),
        ((0.5, 0.5685), "lower", "refuted"),
        ((0.5, 0.57, 0.64), "higher", "confirmed"),
        ((0.5, 0.57, 0.63), "higher", "open"),
        ((0.5, 0.57, 0.5), "higher", "refuted"),
        ((0.5, 0.52, 0.9, 0.4), "higher", "refuted"),
    ],
)
def test_a_difference_counts_from_student_s_t_on(means, better, said):
    assert verdicts.verdict([over_seeds(mean) for mean in means], better) == said


def test_each_setting_counts_with_its_own_spread_and_seeds():
    # As scipy.stats.ttest_ind_from_stats(..., equal_var=False) has it: p is 0.0503 and 0.0498 here.
    before, after = over_seeds(0.5, 0.04, 4), over_seeds(0.5, 0.09, 9)
    assert verdicts.verdict([before, after | {"mean": 0.5793}], "higher") == "open"
    assert verdicts.verdict([before, after | {"mean": 0.5795}], "higher") == "confirmed"
    # One setting whose seeds do what they like leaves two degrees of freedom: t is 4.3.
    assert verdicts.verdict([over_seeds(64.6, 5.5), over_seeds(133.2, 55.3)], "lower") == "open"


def test_seeds_that_do_not_differ_say_nothing_of_chance():
    """As where a recall of 80 images sticks at 0 and at 1 of them."""
    assert verdicts.verdict([over_seeds(0.5, 0.0), over_seeds(0.51, 0.0)], "higher") == "open"
    assert verdicts.verdict([over_seeds(0.5, 0.0), over_seeds(0.51, 0.001)], "higher") == "confirmed"


@pytest.mark.parametrize("unknown", [None, over_seeds(0.9, None, 1), over_seeds(0.9, None, None)])
def test_without_two_seeds_a_claim_is_open(unknown):
    assert verdicts.verdict([over_seeds(0.5), unknown], "higher") == "open"
    assert verdicts.verdict([over_seeds(0.5), unknown, over_seeds(0.9)], "higher") == "open"


def test_the_table_is_read_as_it_was_written(tmp_path):
    hostile = replace(ablation()[0], claim='=1+1, "quoted"\n| <b>', std=None, n=None)
    readings = [*ablation(), hostile, *ablation(name="other", mean=1 / 3)]
    verdicts.write(readings, tmp_path / "ablation.csv")
    assert verdicts.read(tmp_path / "ablation.csv") == readings
    assert [len(group) for group in verdicts.by_claim(readings)] == [3, 2]


def test_without_a_table_or_lines_there_are_no_readings(tmp_path):
    assert verdicts.read(tmp_path / "ablation.csv") == []
    verdicts.write([], tmp_path / "ablation.csv")
    assert verdicts.read(tmp_path / "ablation.csv") == []
    assert comparison.ablation([]) == ""


@pytest.mark.parametrize(
    "change",
    [("mean", "average"), ("81.25", "much"), (",3,", ",three,"), ("confirmed,", ""), ("confirmed", "likely"), ("", "")],
)
def test_another_table_is_refused_in_one_line(tmp_path, change):
    path = tmp_path / "ablation.csv"
    verdicts.write(ablation(), path)
    path.write_text(path.read_text().replace(*change) if change[0] else "")
    with pytest.raises(UserError, match="is not what `make ablation` writes") as raised:
        verdicts.read(path)
    assert str(raised.value).isprintable()


def test_a_value_has_its_spread_and_accuracies_are_percent():
    faces, _ = ablation()
    assert faces.value == "93.50 ± 1.50 (n = 3)"
    digits = replace(faces, figure="acgan.judge_accuracy", mean=0.925, std=0.0125)
    assert digits.value == "92.50 ± 1.25 % (n = 3)"
    assert all(replace(digits, figure=f"acgan.diversity.{name}").value == digits.value for name in ("recall", "precision"))
    assert replace(digits, figure="acgan.diversity.recall_ceiling_std").value == "0.93 ± 0.01 (n = 3)"
    assert replace(faces, std=None, n=None).value == "93.50"


def test_a_gain_is_what_the_verdict_rests_on_in_the_direction_that_is_better():
    before, after = ablation()
    # sqrt(2 * 1.5^2 / 3) times Student's t at 4 degrees of freedom, 2.77645.
    [(step, value, margin)] = verdicts.gains([before, after])
    assert (step, value) == ("without → with", 12.25) and margin == pytest.approx(3.40044, rel=1e-5)
    shares = [replace(one, figure="acgan.judge_accuracy", better="higher", std=one.std / 100) for one in (before, after)]
    [(_, value, margin)] = verdicts.gains(shares)
    assert value == -1225 and margin == pytest.approx(3.40044, rel=1e-5)
    assert [step for step, *_ in verdicts.gains([before, after, replace(before, setting="as_it_is")])] == [
        step,
        "with → as it is",
    ]


@pytest.mark.parametrize("seeds", [{"std": None, "n": 1}, {"std": None, "n": None}])
def test_a_figure_without_two_seeds_has_no_gain(seeds):
    before, after = ablation()
    assert verdicts.gains([replace(before, **seeds), after]) == []


def test_a_claim_is_finished_with_all_its_figures():
    found = verdicts.finished([*ablation(), *ablation(name="other", verdict="unfinished")])
    assert [claim[0].name for claim in found] == ["mixing"]


def test_markdown_has_a_line_for_each_claim():
    said = comparison.ablation([ablation(), ablation(name="other", claim="a_b")])
    lines = [line for line in said.splitlines() if line.startswith("|")]
    assert lines[2] == "| mixing | Mixing styles helps | confirmed | fd: without 93.50 ± 1.50, with 81.25 ± 1.50 (n = 3) |"
    assert lines[3].startswith(r"| other | a\_b |") and len(lines) == 4


def test_the_committed_table_is_as_it_would_be_written(tmp_path):
    committed = ROOT / verdicts.PATH
    verdicts.write(verdicts.read(committed), tmp_path / "ablation.csv")
    assert (tmp_path / "ablation.csv").read_bytes() == committed.read_bytes()


def test_the_settings_that_the_committed_verdicts_are_of_are_today_s(monkeypatch):
    """Params beside those that a setting changes may have changed since it was read."""
    monkeypatch.chdir(ROOT)
    lines = [line for line in verdicts.read(ROOT / verdicts.PATH) if line.verdict != verdicts.SUPERSEDED]
    commits = {line.commit for line in lines}
    if not Path(".git").exists() or not any(git("cat-file", "-t", commit, perhaps=True) for commit in commits):
        pytest.skip("an archive, which has no history")
    if git("rev-parse", "--is-shallow-repository") == b"true\n":
        pytest.skip("a clone without its history")
    params = {commit: git("show", f"{commit}:params.yaml").decode() for commit in commits}
    params["now"] = (ROOT / "presets/laptop.yaml").read_text()
    params = {commit: yaml.safe_load(content) for commit, content in params.items()}
    for line in {(line.commit, line.overrides, line.figure): line for line in lines}.values():
        then, now = (behind(line, params[commit]) for commit in (line.commit, "now"))
        assert {key: value for key, value in then.items() if key not in GONE} == now, line


# Params that there were, and whose value then is what is always done now.
GONE = {"training.resident_gb", "adaptation.images.size"}


def behind(line: verdicts.Reading, content: dict[str, Any]) -> dict[str, Any]:
    """The params that the line's figure comes from, by dotted name, with its overrides."""
    found = flat(content)
    for key, value in (override.split("=", 1) for override in line.overrides.split() if "=" in override):
        found[key] = yaml.safe_load(value)
    part, *names = line.figure.split(".")
    parts = {f"{part}.", "training.", "evaluation."} | ({"judge."} if part == "acgan" else set())
    if part == "adaptation":
        pair, method = names[:2]
        parts = parts - {f"{part}."} | {f"{part}.{name}." for name in ("common", "images", f"pairs.{pair}", method)}
    sets = names[0].split("-") if part == "adaptation" else [found[f"{part}.dataset"]]
    parts |= {f"data.datasets.{name}." for name in sets}
    return {key: value for key, value in found.items() if key.startswith(tuple(parts))}
