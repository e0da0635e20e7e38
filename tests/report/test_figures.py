"""Pictures show what they are given, in the right place."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.path import Path

from stages.report import curves, figures, sheets, style
from stages.report.colours import BLUE, ORANGE
from stages.report.style import FAINT
from tests.report.conftest import ablation


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_a_sheet_has_its_images_in_reading_order_with_white_between():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 3, 4, 3), dtype=np.uint8)
    sheet = sheets.tile(images, columns=3, gap=1)
    assert sheet.shape == (7, 14, 3)
    assert [sheet[0, 0, 0], sheet[0, 5, 0], sheet[0, 10, 0], sheet[4, 0, 0], sheet[4, 5, 0]] == [0, 1, 2, 3, 4]
    assert (sheet[3] == 255).all() and (sheet[:, 4] == 255).all() and (sheet[4:, 10:] == 255).all()


def test_grey_images_become_sheets_of_three_channels():
    assert sheets.tile(np.zeros((2, 3, 3, 1), dtype=np.uint8), 2).shape == (3, 8, 3)


@pytest.mark.parametrize("per_class", [3, 12])
def test_a_row_of_digits_holds_the_class_that_labels_it(per_class):
    labels = np.repeat(np.arange(10), per_class)[::-1]
    images = (labels[:, None, None, None] * np.ones((1, 4, 4, 3))).astype(np.uint8)
    (axis,) = sheets.digits(images, labels).axes
    shown = axis.images[0].get_array()
    for row, (place, text) in enumerate(zip(axis.get_yticks(), axis.get_yticklabels(), strict=True)):
        assert text.get_text() == str(row)
        assert shown[int(place), 1, 0] == row


def test_snapshots_are_rows_in_order_of_steps_and_latents_columns():
    images = (np.arange(2)[:, None] * 100 + np.arange(6))[:, :, None, None, None] * np.ones((1, 1, 4, 4, 3))
    (axis,) = sheets.progress(np.array([10, 2000]), images.astype(np.uint8), [0, 5]).axes
    shown = axis.images[0].get_array()
    assert [text.get_text() for text in axis.get_yticklabels()] == ["step 10", "step 2,000"]
    assert [shown[0, 0, 0], shown[0, 7, 0], shown[7, 0, 0], shown[7, 7, 0]] == [0, 5, 100, 105]


def test_below_a_generated_face_are_the_training_faces_nearest_to_it_in_order():
    generated = (np.arange(6)[:, None, None, None] * np.ones((1, 4, 4, 1))).astype(np.uint8)
    nearest = (np.array([[10, 11, 12, 13], [20, 21, 22, 23]])[..., None, None, None] * np.ones((1, 1, 4, 4, 1))).astype(np.uint8)
    (axis,) = sheets.neighbours(generated, nearest, "clean").axes
    assert axis.images[0].get_array()[::6, ::6, 0].tolist() == [[0, 1], [10, 20], [11, 21], [12, 22], [13, 23]]
    names = ["generated", "nearest training face\n(or its mirror image)", "2nd nearest", "3rd nearest", "4th nearest"]
    assert [text.get_text() for text in axis.get_yticklabels()] == names


def test_bars_carry_their_values_and_a_spread_only_where_there_is_one():
    plain, spread = {"mean": 0.5, "std": None, "n": 1}, {"mean": 0.625, "std": 0.02, "n": 3}
    summary = {"a-b": {"source_only": {"accuracy": plain}, "dann": {"accuracy": spread}}}
    (axis,) = figures.accuracy_bars(summary).axes
    assert [bar.get_height() for bar in axis.patches] == [0.5, 0.625]
    assert {"50.0", "62.5"} <= {text.get_text() for text in axis.texts}
    assert sum("ErrorbarContainer" in type(container).__name__ for container in axis.containers) == 1
    assert axis.get_xticklabels()[0].get_text() == "a → b"
    assert axis.get_ylabel().endswith("\nmean ± deviation, 1 to 3 seeds")
    alone = {"a-b": {"dann": {"accuracy": plain}}}
    assert figures.seeds(alone) == "one seed" and figures.seeds({"a-b": {"dann": {"accuracy": spread}}}).endswith(", 3 seeds")


def test_a_gain_stands_at_its_value_between_its_margins():
    shares = ablation(name="steps", figure="adaptation.a-b.dann.accuracy", better="higher", std=0.015)
    alone = ablation(name="alone", std=None, n=1)
    faces, rest = figures.gains([ablation(), alone, shares, ablation(name="dev", figure="acgan.judge_accuracy")]).axes
    for axis, value in ((faces, 12.25), (rest, -1225)):
        point, _, [whiskers] = axis.containers[0].lines
        assert point.get_xydata().tolist() == [[value, 0]]
        assert whiskers.get_segments()[0][:, 0] == pytest.approx([value - 3.40044, value + 3.40044], rel=1e-5)
    assert [text.get_text() for text in faces.get_yticklabels()] == ["Mixing styles helps (fd, without → with)"]
    assert len(rest.get_yticklabels()) == 2 and rest.get_xlabel() == "better by (percentage points)"


def test_a_gain_has_the_colour_of_its_own_interval_whatever_the_claim_s_verdict():
    better, worse = ablation(verdict="refuted"), ablation(verdict="refuted", better="higher")
    figure = figures.gains([[*better, replace(better[1], setting="more", mean=80.0)], worse])
    [axis] = figure.axes
    assert [container.lines[0].get_color() for container in axis.containers] == [BLUE, FAINT, ORANGE]
    [legend] = figure.legends
    words = ["better beyond chance (95 %)", "worse beyond chance", "within chance"]
    assert [text.get_text() for text in legend.get_texts()] == words
    assert [line.get_color() for line in legend.get_lines()] == [BLUE, ORANGE, FAINT]


@pytest.mark.parametrize("length", [50, 85, 130])
def test_a_long_label_breaks_before_its_bracket(length):
    claim = ("words-and " * 20)[:length].strip()
    [axis] = figures.gains([ablation(claim=claim)]).axes
    *others, last = axis.get_yticklabels()[0].get_text().split("\n")
    assert "(" not in "".join(others) and last.endswith("(fd, without → with)") and max(map(len, (*others, last))) <= 96
    assert len(others) == (length > 50)


def test_each_measure_has_one_axis_wherever_its_claims_stand():
    other = ablation(name="other", figure="stylegan2.clean.efficientnet_lite0.fd_train")
    truncated = ablation(name="truncated", figure="stylegan2.report.efficientnet_lite0.fd")
    axes = figures.gains([ablation(), other, ablation(name="again"), truncated]).axes
    measures = ["fd", "fd train", "fd of the report protocol"]
    assert [axis.get_xlabel() for axis in axes] == [f"better by ({measure})" for measure in measures]
    assert [len(axis.get_yticklabels()) for axis in axes] == [2, 1, 1]


def test_a_claim_s_words_are_no_formulas(tmp_path):
    figure = figures.gains([ablation(claim=r"Better by $\wrong$")])
    style.save(figure, tmp_path / "gains.png")
    [label] = figure.axes[0].get_yticklabels()
    assert label.get_text() == r"Better by $\wrong$ (fd, without → with)" and (tmp_path / "gains.png").stat().st_size


def test_a_confusion_matrix_shows_shares_of_each_true_class():
    counts = np.diag([8] * 10)
    counts[3, 5] = 8
    (axis,) = figures.confusions({"x": counts}).axes
    shown = axis.images[0].get_array()
    assert shown[3, 5] == shown[3, 3] == 0.5 and shown[0, 0] == 1 and shown[5, 3] == 0


def test_generated_digits_have_no_true_class_but_the_one_asked_for():
    real, generated = figures.confusions({"real": np.eye(10), "made": np.eye(10)}, generated="made").axes
    assert real.get_ylabel() == "true class (each row: 100 %)"
    assert generated.get_ylabel() == "class asked for (each row: 100 %)"


def test_a_class_without_images_leaves_its_row_empty():
    (axis,) = figures.confusions({"x": np.zeros((10, 10), dtype=int)}).axes
    assert not axis.images[0].get_array().any() and not axis.texts


def test_values_that_some_steps_lack_are_joined_over_the_gap():
    table = pd.DataFrame({"step": [1, 2, 3], "loss_d": [1.0, 2.0, 3.0], "penalty": [0.5, np.nan, 0.7]})
    losses, _, rest = curves.stylegan2(table).axes
    assert list(losses.lines[0].get_ydata()) == [1, 2, 3] and len(losses.lines) == 1
    assert list(rest.lines[0].get_xdata()) == [1, 3]


def test_the_chance_of_augmentation_has_an_axis_of_its_own():
    table = pd.DataFrame({"step": [1, 2], "loss_d": [1.0, 2.0], "penalty": [60.0, 5.0], "ada_p": [0.0, 0.15]})
    *_, rest, right = curves.stylegan2(table).axes
    assert [list(line.get_ydata()) for line in rest.lines] == [[60, 5]]
    assert list(right.lines[0].get_ydata()) == [0, 0.15] and 0.15 <= right.get_ylim()[1] < 0.16
    assert tick_labels(right) == ["0%", "4%", "8%", "12%"]
    assert len(curves.stylegan2(table.drop(columns="ada_p")).axes) == 3
    assert curves.stylegan2(table.assign(ada_p=0.0)).axes[-1].get_ylim()[1] == pytest.approx(0.01, rel=0.1)


def tick_labels(axis) -> list[str]:
    """The words at the ticks that are in view of the y axis, once it is drawn."""
    axis.figure.canvas.draw()
    bottom, top = axis.get_ylim()
    ticks = [*zip(axis.get_yticks(), axis.get_yticklabels(), strict=True)]
    minor = zip(axis.get_yticks(minor=True), axis.get_yticklabels(minor=True), strict=True)
    return [label.get_text() for place, label in (*ticks, *minor) if bottom <= place <= top]


@pytest.mark.parametrize(
    ("losses", "labels"),
    [
        ([2.3, 0.15], ["0.2", "0.5", "1", "2"]),
        ([2.3, 0.0004], ["0.001", "0.01", "0.1", "1"]),
        ([1.45, 1.3], ["1.3", "1.32", "1.34", "1.36", "1.38", "1.4", "1.42", "1.44"]),
    ],
)
def test_ticks_of_a_logarithmic_scale_are_plain_numbers(losses, labels):
    table = pd.DataFrame({"step": [1, 2], "class_loss": losses})
    assert tick_labels(curves.adaptation({"dann": table}).axes[0]) == labels
    assert tick_labels(curves.judge(table.rename(columns={"class_loss": "loss"}).assign(accuracy=0.5)).axes[0]) == labels


def test_a_loss_is_drawn_from_the_first_record_that_has_no_step_before_its_start():
    table = pd.DataFrame({"step": [1, 2, 3, 4], "class_loss": [3.0, 2.0, 1.0, 0.5], "similarity_loss": [0.0, 0.4, 0.7, 0.6]})
    table["lambda"], table["domain_loss"] = [0, 0, 0.5, 1], [np.nan, 1.0, np.nan, 2.0]
    losses, _, right = curves.adaptation({"dsn": table}).axes
    assert [list(line.get_xdata()) for line in losses.lines] == [[1, 2, 3, 4], [3, 4], [2, 4]]
    assert list(right.lines[0].get_ydata()) == [0, 0, 0.5, 1]


def test_the_accuracy_curve_is_the_mean_over_seeds():
    points = [[{"step": 5, "accuracy": low}, {"step": 10, "accuracy": low + 0.2}] for low in (0.2, 0.4)]
    (axis,) = curves.accuracies({"a-b": {"dann": points}}).axes
    assert list(axis.lines[0].get_ydata()) == pytest.approx([0.3, 0.5])


def test_the_accuracy_of_guessing_is_a_line_with_a_name():
    found = {"accuracy": {"mean": 0.5, "std": None, "n": 1}}
    drawn = [
        curves.accuracies({"a-b": {"dann": [[{"step": 5, "accuracy": 0.2}]]}}),
        figures.accuracy_bars({"a-b": {"dann": found}}),
    ]
    for [axis] in (figure.axes for figure in drawn):
        assert list(axis.lines[-1].get_ydata()) == [0.1, 0.1]
        assert [text.get_position()[1] for text in axis.texts if text.get_text() == "chance"] == [0.1]


def test_every_point_of_an_embedding_is_shown_once_in_each_picture():
    points = pd.DataFrame({"label": [0, 1, 1, 0], "domain": ["source", "target"] * 2, "x": range(4), "y": range(4)})
    figure = figures.tsne(points, "a → b, DSN")
    by_class, by_domain = figure.axes
    assert figure.get_suptitle() == "a → b, DSN"
    for axis in (by_class, by_domain):
        assert sum(len(collection.get_offsets()) for collection in axis.collections) == 4
    assert [text.get_text() for text in by_domain.get_legend().get_texts()] == ["source", "target"]


def test_of_an_embedding_s_points_those_of_the_source_are_round_and_those_of_the_target_crosses():
    points = pd.DataFrame({"label": [0, 1, 0, 1], "domain": ["source"] * 2 + ["target"] * 2, "x": range(4), "y": range(4)})
    for axis in figures.tsne(points, "").axes:
        codes = {tuple(at): marks.get_paths()[0].codes for marks in axis.collections for at in marks.get_offsets().tolist()}
        assert [Path.CURVE4 in codes[(at, at)] for at in range(4)] == [True, True, False, False]
    [by_class, _] = figures.tsne(points, "").axes
    assert [text.get_text() for text in by_class.get_legend().get_texts()] == ["0", "1"]


def test_a_figure_drawn_twice_has_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        style.save(figures.judged([0.5] * 10, [None] * 10), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert not plt.get_fignums()
