"""Whether a claim holds, and the table of the figures that tell."""

from dataclasses import replace
from pathlib import Path

import pytest

from stages.report import comparison, verdicts
from stages.runtime.errors import UserError
from tests.report.conftest import ablation


def over_seeds(mean: float, std: float | None = 0.03, n: int | None = 3) -> dict:
    return {"mean": mean, "std": std, "n": n}


# sqrt(2 * 0.03^2 / 3) is 0.0245: settings must differ by 0.0490.
@pytest.mark.parametrize(
    ("means", "better", "said"),
    [
        ((0.5, 0.5495), "higher", "confirmed"),
        ((0.5, 0.5485), "higher", "open"),
        ((0.5, 0.4505), "higher", "refuted"),
        ((0.5, 0.4515), "higher", "open"),
        ((0.5, 0.4505), "lower", "confirmed"),
        ((0.5, 0.5495), "lower", "refuted"),
        ((0.5, 0.56, 0.62), "higher", "confirmed"),
        ((0.5, 0.56, 0.58), "higher", "open"),
        ((0.5, 0.56, 0.5), "higher", "refuted"),
        ((0.5, 0.52, 0.9, 0.4), "higher", "refuted"),
    ],
)
def test_a_difference_counts_from_two_standard_errors_on(means, better, said):
    assert verdicts.verdict([over_seeds(mean) for mean in means], better) == said


def test_each_setting_counts_with_its_own_spread_and_seeds():
    # sqrt(0.04^2 / 4 + 0.09^2 / 9) is 0.0361.
    before, after = over_seeds(0.5, 0.04, 4), over_seeds(0.5, 0.09, 9)
    assert verdicts.verdict([before, after | {"mean": 0.573}], "higher") == "confirmed"
    assert verdicts.verdict([before, after | {"mean": 0.572}], "higher") == "open"


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


@pytest.mark.parametrize("change", [("mean", "average"), ("81.25", "much"), (",3,", ",three,"), ("confirmed,", ""), ("", "")])
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
    assert replace(faces, std=None, n=None).value == "93.50"


def test_markdown_has_a_line_for_each_claim():
    said = comparison.ablation([*ablation(), *ablation(name="other", claim="a_b")])
    lines = [line for line in said.splitlines() if line.startswith("|")]
    assert lines[2] == "| Mixing styles helps | confirmed | fd: without 93.50 ± 1.50 (n = 3), with 81.25 ± 1.50 (n = 3) |"
    assert lines[3].startswith(r"| a\_b |") and len(lines) == 4


def test_the_committed_table_is_as_it_would_be_written(tmp_path):
    committed = Path(__file__).resolve().parents[2] / verdicts.PATH
    verdicts.write(verdicts.read(committed), tmp_path / "ablation.csv")
    assert (tmp_path / "ablation.csv").read_bytes() == committed.read_bytes()
