"""The benchmark of the Fréchet distance refuses values that disagree, and says how far they are apart."""

import pytest

from benchmarks import frechet
from stages.evaluation.frechet import distance


@pytest.fixture(autouse=True)
def few_dimensions(monkeypatch):
    monkeypatch.setattr(frechet, "DIMENSIONS", 32)


def compared(real, fake):
    frechet.compare("few", frechet.features(real, 0), frechet.features(fake, 1))


@pytest.mark.parametrize(("fake", "asked"), [(400, "at most 1e-06 is asked"), (20, "no more is asked of a singular covariance")])
def test_how_far_both_values_are_apart_is_printed(fake, asked, capsys):
    compared(500, fake)
    [line] = [line for line in capsys.readouterr().out.splitlines() if "the two are" in line]
    assert float(line.split()[3]) < 1e-4 and line.endswith(asked)


@pytest.mark.parametrize("off", [1e-5, 1e-8])
def test_a_distance_that_is_off_is_refused(off, monkeypatch):
    monkeypatch.setattr(frechet, "distance", lambda *moments: distance(*moments) * (1 + off))
    with pytest.raises(AssertionError, match="not exact"):
        compared(500, 400)


def test_forms_that_disagree_are_refused_where_both_covariances_are_positive_definite(monkeypatch):
    from pytorch_fid import fid_score

    theirs = fid_score.calculate_frechet_distance
    monkeypatch.setattr(fid_score, "calculate_frechet_distance", lambda *moments: theirs(*moments) * (1 + 1e-5))
    compared(500, 20)
    with pytest.raises(AssertionError, match="disagree"):
        compared(500, 400)
