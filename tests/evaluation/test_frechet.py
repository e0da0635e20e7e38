"""The Fréchet distance against closed forms, scipy's matrix square root and pytorch-fid."""

import numpy as np
import pytest
import scipy.linalg
from pytorch_fid.fid_score import calculate_frechet_distance

from stages.evaluation.frechet import Moments, distance, moments, moments_of


def gaussian(mean, covariance) -> Moments:
    return Moments(np.asarray(mean, dtype=float), np.asarray(covariance, dtype=float), 10)


def random_moments(seed: int, dimension: int = 12, count: int = 200) -> Moments:
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(dimension, dimension))
    return moments_of(generator.normal(size=(count, dimension)) @ mixing + generator.normal(size=dimension))


def by_matrix_root(first: Moments, second: Moments) -> float:
    root = scipy.linalg.sqrtm(first.covariance @ second.covariance).real
    shift = first.mean - second.mean
    return float(shift @ shift + np.trace(first.covariance + second.covariance - 2 * root))


def test_gaussians_of_diagonal_covariance_are_apart_by_the_difference_of_deviations():
    first, second = gaussian([0, 1, 2], np.diag([1, 4, 9])), gaussian([1, 1, 0], np.diag([4, 4, 1]))
    assert distance(first, second) == pytest.approx((1 + 0 + 4) + (1 + 0 + 4))


def test_equal_covariances_leave_the_squared_distance_of_means():
    covariance = random_moments(0).covariance
    assert distance(gaussian(np.zeros(12), covariance), gaussian(np.full(12, 0.5), covariance)) == pytest.approx(3, rel=1e-9)


def test_one_dimension_is_the_textbook_form():
    assert distance(gaussian([3], [[4]]), gaussian([1], [[25]])) == pytest.approx(2**2 + (2 - 5) ** 2)


def test_a_set_is_at_distance_zero_from_itself_and_the_distance_is_symmetric():
    first, second = random_moments(1), random_moments(2)
    assert distance(first, first) == pytest.approx(0, abs=1e-9 * np.trace(first.covariance))
    assert distance(first, second) == pytest.approx(distance(second, first), rel=1e-9)


@pytest.mark.parametrize("seed", [1, 3, 5])
def test_the_distance_is_that_of_the_matrix_square_root(seed):
    first, second = random_moments(seed), random_moments(seed + 1)
    assert distance(first, second) == pytest.approx(by_matrix_root(first, second), rel=1e-6)


@pytest.mark.filterwarnings("ignore:The `disp` argument")
def test_the_distance_is_pytorch_fids():
    first, second = random_moments(1, 64), random_moments(2, 64)
    theirs = calculate_frechet_distance(first.mean, first.covariance, second.mean, second.covariance)
    assert distance(first, second) == pytest.approx(theirs, rel=1e-6)


def test_covariances_of_low_rank_give_the_distance_in_the_space_that_they_span():
    few, many = random_moments(4, 6, 100), random_moments(5, 6, 100)
    isometry = np.linalg.qr(np.random.default_rng(0).normal(size=(40, 6)))[0]
    lifted = [gaussian(isometry @ m.mean, isometry @ m.covariance @ isometry.T) for m in (few, many)]
    assert distance(*lifted) == pytest.approx(distance(few, many), rel=1e-6)


def test_fewer_images_than_features_give_a_finite_distance():
    generator = np.random.default_rng(0)
    first, second = (moments_of(generator.normal(size=(10, 50))) for _ in range(2))
    assert 0 < distance(first, second) < np.trace(first.covariance) + np.trace(second.covariance) + 50


@pytest.mark.parametrize("counts", [(30, 20), (20, 90), (61, 90), (90, 61)])
def test_the_distance_of_any_ranks_is_the_one_that_the_features_themselves_give(counts):
    """tr (S1 S2)^(1/2) is the sum of the singular values of X1 X2^T, X the centred features over sqrt(n - 1)."""
    generator = np.random.default_rng(0)
    spread = generator.normal(size=(60, 60)) * np.arange(1, 61) ** -1.5
    sides = [generator.normal(size=(count, 60)) @ spread.T for count in counts]
    centred = [(side - side.mean(axis=0)) / np.sqrt(len(side) - 1) for side in sides]
    shift = sides[0].mean(axis=0) - sides[1].mean(axis=0)
    root = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    expected = shift @ shift + sum((side**2).sum() for side in centred) - 2 * root
    assert distance(*map(moments_of, sides)) == pytest.approx(expected, rel=1e-9)


def test_a_feature_that_never_changes_adds_nothing_but_its_difference():
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(50, 8)), generator.normal(size=(40, 8))
    with_constant = [np.insert(side, 3, value, axis=1) for side, value in ((first, 5), (second, 7))]
    expected = distance(moments_of(first), moments_of(second)) + 4
    assert distance(*map(moments_of, with_constant)) == pytest.approx(expected, rel=1e-9)


def test_a_distribution_without_spread_is_a_point():
    assert distance(gaussian([0, 0], np.zeros((2, 2))), gaussian([3, 4], np.diag([1, 2]))) == pytest.approx(25 + 3)


@pytest.mark.parametrize("sizes", [[300], [1, 299], [7, 100, 93, 100]])
def test_streamed_moments_are_those_of_the_whole(sizes):
    features = np.random.default_rng(0).normal(loc=1e4, size=(300, 8)).astype(np.float32)
    streamed = moments(np.split(features, np.cumsum(sizes)[:-1]))
    np.testing.assert_allclose(streamed.mean, features.astype(float).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(streamed.covariance, np.cov(features.astype(float), rowvar=False), rtol=1e-9, atol=1e-12)
    assert streamed.count == 300 and streamed.covariance.dtype == np.float64


def test_one_image_has_no_covariance():
    with pytest.raises(ValueError, match="at least two"):
        moments([np.zeros((1, 3))])
