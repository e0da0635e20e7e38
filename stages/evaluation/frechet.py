"""The Fréchet distance between two sets of features, each taken for a Gaussian (Heusel et al. 2017, equation 6)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.linalg.blas import dsyrk
from scipy.linalg.lapack import dpstrf


@dataclass(frozen=True)
class Moments:
    """Mean (d,) and covariance (d, d; divisor n - 1) of n feature vectors, float64."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int


def moments(batches: Iterable[np.ndarray]) -> Moments:
    """Mean and covariance of feature vectors that come in batches (m, d), seen once and not kept.

    Batches are merged as means and centred second moments (Chan, Golub and LeVeque 1979), which stays exact where the sum
    of squares minus the square of sums would cancel. ValueError for fewer than two vectors.
    """
    count, mean, scatter = 0, np.zeros(0), np.zeros((0, 0), order="F")
    for batch in batches:
        batch = np.asarray(batch, dtype=np.float64)
        if count == 0:
            mean, scatter = np.zeros(batch.shape[1]), np.zeros((batch.shape[1],) * 2, order="F")
        total, batch_mean = count + len(batch), batch.mean(axis=0)
        shift = batch_mean - mean
        # What the means are apart counts as one vector more, so that one product in place does all.
        rows = np.vstack([batch - batch_mean, shift * np.sqrt(count * len(batch) / total)])
        scatter = dsyrk(1.0, rows.T, beta=1.0, c=scatter, overwrite_c=1, lower=1)
        mean = mean + shift * (len(batch) / total)
        count = total
    if count < 2:
        raise ValueError(f"a covariance needs at least two feature vectors, not {count}")
    lower = np.tril(scatter, -1)
    covariance = np.ascontiguousarray(lower + lower.T + np.diag(np.diag(scatter)))
    return Moments(mean, covariance / (count - 1), count)


def moments_of(features: np.ndarray) -> Moments:
    """Mean and covariance of features (n, d) held in memory, without a float64 copy of them all."""
    return moments(features[start : start + 1024] for start in range(0, len(features), 1024))


def distance(first: Moments, second: Moments) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), never negative; covariances may have any rank.

    S1 S2 has the eigenvalues of the symmetric L^T S2 L with S1 = L L^T, so that tr (S1 S2)^(1/2) is the sum of their square
    roots: all real, no square root of an unsymmetric product. S1 is the side with fewer images: where they are fewer than
    features, L has only as many columns as its rank.
    """
    if second.count < first.count:
        first, second = second, first
    shift = first.mean - second.mean
    trace = np.trace(first.covariance) + np.trace(second.covariance)
    return max(0.0, float(shift @ shift + trace - 2 * _trace_of_root(first.covariance, second.covariance)))


def _trace_of_root(first: np.ndarray, second: np.ndarray) -> float:
    root = _factor(first)
    values = np.linalg.eigvalsh(root.T @ second @ root)
    return float(np.sqrt(np.clip(values, 0, None)).sum())


def _factor(covariance: np.ndarray) -> np.ndarray:
    """L (d, rank) with covariance = L L^T by Cholesky's method with pivots (Hammarling, Higham and Lucas 2007).

    It ends by itself where what is left of the diagonal is rounding: d times the float's precision of its largest entry.
    """
    lower, pivots, rank, _ = dpstrf(covariance, lower=1)
    root = np.empty((len(covariance), rank))
    root[pivots - 1] = np.tril(lower)[:, :rank]
    return root
