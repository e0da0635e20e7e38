"""What the page draws and says by itself, without a study: axes, digits, durations and the parts of its times."""

import pandas as pd
import pytest

from stages.report import charts, render
from stages.report.names import AUGMENTED, REGULARISERS
from stages.report.timings import part_of


def test_a_loss_starts_on_the_page_where_no_step_before_its_start_counts():
    table = pd.DataFrame({"step": [1, 2, 3, 4], "similarity_loss": [0.0, 0.4, 0.7, 0.6], "lambda": [0.0, 0.1, 0.5, 1.0]})
    grey, drawn = charts.losses(table)["layer"]
    rows = charts.losses(table)["datasets"]
    assert [row["step"] for row in rows[drawn["data"]["name"]]] == [3, 4]
    assert [row["value"] for row in rows[grey["data"]["name"]]] == [0.0, 0.1, 0.5, 1.0]


def test_the_chance_of_augmentation_has_an_axis_of_its_own():
    table = pd.DataFrame({"step": [1, 2], "penalty": [60.0, 5.0], "ada_p": [0.0, 0.15]})
    drawn = charts.lines(table, REGULARISERS, "regulariser", right=AUGMENTED)
    titles = [layer["encoding"]["y"]["title"] for layer in drawn["layer"]]
    assert titles == ["chance of augmentation (grey)", "regulariser"]
    assert "domain" not in drawn["layer"][0]["encoding"]["y"]["scale"], "it may be small"
    assert "layer" not in charts.lines(table.drop(columns="ada_p"), REGULARISERS, "regulariser", right=AUGMENTED)


@pytest.mark.parametrize(
    "value, shown",
    [
        (1188.23, "1188.2"),
        (67.2, "67.20"),
        (0.0031, "0.0031"),
        (9.94e-06, "0.0000"),
        (-0.000526, "-0.0005"),
        (0.0, "0"),
        (-0.25, "-0.25"),
        ({"mean": 2.5, "std": 0.125, "n": 3}, "2.50 ± 0.12"),
        ({"mean": 1.9583, "std": 0.0031, "n": 3}, "1.96 ± 0.00"),
        ({"mean": 262.41, "std": 3.126, "n": 3}, "262.4 ± 3.1"),
    ],
)
def test_figures_have_sensible_digits(value, shown):
    assert render.figure(value) == shown


@pytest.mark.parametrize(
    "seconds, shown", [(0.4, "0 s"), (59, "59 s"), (90, "2 min"), (3600, "1 h 00 min"), (3541, "59 min"), (3599, "1 h 00 min")]
)
def test_durations_are_said_as_people_say_them(seconds, shown):
    assert render.duration(seconds) == shown


@pytest.mark.parametrize(
    "stage, part",
    [
        ("evaluation.evaluate_stylegan2-0-inception", "StyleGAN2"),
        ("evaluation.statistics-inception", "StyleGAN2"),
        ("data.import_folder-mydigits", "data"),
        ("generation.sample_acgan-0", "ACGAN"),
        ("evaluation.train_judge", "judge"),
        ("adaptation.train-a-b-dann-0", "adaptation"),
        ("data.fetch-efficientnet_lite0", "data"),
        ("report.summarize", "report"),
    ],
)
def test_stages_belong_to_the_part_they_serve(stage, part):
    assert part_of(stage) == part
