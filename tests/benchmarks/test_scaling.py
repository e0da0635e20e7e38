"""What the table of exponents says, on made-up seconds; and that every part of it runs."""

import pytest

from benchmarks import scaling

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


@pytest.mark.parametrize("number", range(11))
def test_every_part_runs_at_a_small_size(number):
    one = list(scaling.rows())[number]
    small = {"images": 40, "images there are": 40, "classes": 2, "steps": 1, "pairs x seeds": 1, "points": 40}
    one.at({"KID, 20 subsets of 200": 200}.get(one.name) or small[one.of])()


def test_dvc_is_asked_about_more_stages_with_more_seeds():
    assert list(scaling.rows())[-1].of == "seeds"
    done = scaling.status(2)()
    assert done.returncode == 1 and not done.stderr
