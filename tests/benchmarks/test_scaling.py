"""What the table of exponents says, on made-up seconds; and that every part of it runs."""

import pytest

from benchmarks import scaling
from stages.evaluation.train_judge import JudgeTraining

SIZES = (10, 20, 40, 80)


def row(why=""):
    return scaling.Row("part", SIZES, "images", lambda size: lambda: None, why)


@pytest.mark.parametrize(("power", "verdict"), [(1, "linear"), (2, "NOT LINEAR"), (0.5, "at most linear, over fixed costs")])
def test_a_power_law_gives_its_exponent_and_what_it_means(power, verdict):
    seconds = [0.001 * size**power for size in SIZES]
    assert scaling.exponent(SIZES, seconds) == pytest.approx(power)
    assert scaling.line(row(), [[one] for one in seconds]).endswith(f"| {power:.2f} | {verdict} |")


def test_a_part_that_is_known_not_to_be_linear_says_why():
    assert scaling.line(row("compares all with all"), [[0.1], [0.4], [1.6], [6.4]]).endswith("| 2.00 | compares all with all |")


def test_least_and_most_stand_beside_the_median():
    assert "| 2.0 ms (1.0 ms–4.0 ms), 12.0 s (11.0 s–13.0 s), " in scaling.line(
        row(), [[0.001, 0.004, 0.002], [11, 13, 12], [1], [1]]
    )


def test_sizes_double():
    assert scaling.doubled(5) == (5, 10, 20, 40)


def test_a_row_is_of_one_call_however_often_a_round_makes_it(monkeypatch):
    called = []
    monkeypatch.setattr(scaling, "interleaved", lambda forms, rounds, repeats: called.append(repeats) or {"10": [0.1]})
    assert scaling.measure(scaling.Row("part", (10,), "images", lambda size: lambda: None, repeats=7)) == [[0.1]]
    assert called == [7]


def test_a_step_of_the_judge_is_one_and_then_the_next(monkeypatch):
    taken = []
    monkeypatch.setattr(JudgeTraining, "update", lambda model, step: taken.append(step))
    step = scaling.step_among(40)
    step()
    step()
    assert taken == [1, 2]


@pytest.mark.parametrize(("count", "runs"), [(1, [(0, 0)]), (2, [(0, 0), (1, 0)]), (4, [(0, 0), (0, 1), (1, 0), (1, 1)])])
def test_each_pair_is_trained_with_each_seed(count, runs, monkeypatch):
    trained = []
    monkeypatch.setattr(scaling.train, "main", lambda *run: trained.append(run))
    scaling.of_each_pair(count)()
    assert trained == [(scaling.PAIRS[pair], "dann", seed) for pair, seed in runs]


def test_one_after_the_other_they_leave_their_weights(monkeypatch):
    made = []
    monkeypatch.setattr(scaling.train, "save_weights", lambda path, weights: made.append(str(path)))
    scaling.of_each_pair(2)()
    assert [path for path in made if "snapshots" not in path] == [
        f"models/{pair}-dann-0/weights.safetensors" for pair in scaling.PAIRS
    ]


def test_every_training_and_each_part_of_the_evaluation_has_a_row():
    trainings = {"train StyleGAN2", "train ACGAN", "a step of the judge", "train DANN", "train DSN", "train self-ensembling"}
    parts = {"diversity of digits", "soft neighbourhood density", "proxy A-distance", "nearest training faces"}
    assert trainings | parts <= {one.name for one in scaling.rows()}


@pytest.mark.parametrize("one", [one for one in scaling.rows() if one.of != "seeds"], ids=lambda one: one.name)
def test_every_part_runs_at_a_small_size(one, monkeypatch):
    steps = []
    monkeypatch.setattr(scaling, "seed_step", lambda *of: steps.append(of))
    small = {"classes": 2, "steps": 1, "pairs x seeds": 1}
    done = one.at({"KID, 20 subsets of 200": 200}.get(one.name) or small.get(one.of, 40))()
    assert len(steps) == (one.of == "steps")
    assert (done is None) == (one.of in ("steps", "images there are", "pairs x seeds"))


def test_dvc_is_asked_about_more_stages_with_more_seeds():
    assert list(scaling.rows())[-1].of == "seeds"
    done = scaling.status(2)()
    assert done.returncode == 1 and not done.stderr
