"""The Fréchet distance between two sets of features, each taken for a Gaussian (Heusel et al. 2017, equation 6)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


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
    count, mean, scatter = 0, np.zeros(0), np.zeros((0, 0))
    for batch in batches:
        batch = np.asarray(batch, dtype=np.float64)
        batch_mean = batch.mean(axis=0)
        centred = batch - batch_mean
        if count == 0:
            count, mean, scatter = len(batch), batch_mean, centred.T @ centred
            continue
        total, shift = count + len(batch), batch_mean - mean
        scatter += centred.T @ centred + np.outer(shift, shift) * (count * len(batch) / total)
        mean = mean + shift * (len(batch) / total)
        count = total
    if count < 2:
        raise ValueError(f"a covariance needs at least two feature vectors, not {count}")
    return Moments(mean, scatter / (count - 1), count)


def moments_of(features: np.ndarray, batch_size: int = 1024) -> Moments:
    """Mean and covariance of features (n, d) held in memory, without a float64 copy of them all."""
    return moments(features[start : start + batch_size] for start in range(0, len(features), batch_size))


def distance(first: Moments, second: Moments) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), never negative; covariances may have any rank.

    S1 S2 has the eigenvalues of the symmetric R S2 R with R = S1^(1/2), so that tr (S1 S2)^(1/2) is the sum of their
    square roots: all real, no matrix square root of an unsymmetric product. The root is taken of the side with fewer
    images: where they are fewer than features, only as many of its columns are not zero.
    """
    if second.count < first.count:
        first, second = second, first
    shift = first.mean - second.mean
    trace = np.trace(first.covariance) + np.trace(second.covariance)
    return max(0.0, float(shift @ shift + trace - 2 * _trace_of_root(first.covariance, second.covariance)))


def _trace_of_root(first: np.ndarray, second: np.ndarray) -> float:
    values, vectors = np.linalg.eigh(first)
    positive = values > values[-1] * len(values) * np.finfo(np.float64).eps
    if not positive.any():
        return 0.0
    root = vectors[:, positive] * np.sqrt(values[positive])
    product = np.linalg.eigvalsh(root.T @ second @ root)
    return float(np.sqrt(np.clip(product, 0, None)).sum())
