"""Scores of generated images from their features and class scores: KID, precision and recall, classifier score."""

import numpy as np


def kid(real: np.ndarray, fake: np.ndarray, *, subsets: int, size: int, generator: np.random.Generator) -> tuple[float, float]:
    """Kernel distance of features (n, d) and (m, d): mean and standard deviation over random subsets (Binkowski et al. 2018).

    Each subset draws `size` images without replacement from either side (all of a side that has fewer). Unbiased: its
    expectation is 0 for two samples of one distribution, so small negative values are to be expected.
    """
    values = [
        squared_mmd(*(side[generator.choice(len(side), min(size, len(side)), replace=False)] for side in (real, fake)))
        for _ in range(subsets)
    ]
    return float(np.mean(values)), float(np.std(values))


def squared_mmd(first: np.ndarray, second: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy under the kernel (x.y / d + 1)^3 (Gretton et al. 2012, equation 3)."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    within = _mean_off_diagonal(_cubic(first, first)) + _mean_off_diagonal(_cubic(second, second))
    return float(within - 2 * _cubic(first, second).mean())


def _cubic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first @ second.T / first.shape[1] + 1) ** 3


def _mean_off_diagonal(kernel: np.ndarray) -> float:
    count = len(kernel)
    return (kernel.sum() - np.trace(kernel)) / (count * (count - 1))


def precision_recall(real: np.ndarray, fake: np.ndarray, neighbours: int) -> tuple[float, float]:
    """Improved precision and recall of features (n, d), (m, d) (Kynkäänniemi et al. 2019, equations 1 and 2), in [0, 1].

    A set's manifold is the union of balls around its points that reach to their `neighbours`-th nearest neighbour.
    Precision is the share of fakes on the manifold of the reals, recall the share of reals on that of the fakes.
    ValueError where a set has no more points than `neighbours`.
    """
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    return _share_on_manifold(fake, real, neighbours), _share_on_manifold(real, fake, neighbours)


def _share_on_manifold(points: np.ndarray, reference: np.ndarray, neighbours: int, chunk: int = 2000) -> float:
    if len(reference) <= neighbours:
        raise ValueError(f"{len(reference)} images have no {neighbours}-th nearest neighbour among themselves")
    radii = np.concatenate([_radii(reference, start, chunk, neighbours) for start in range(0, len(reference), chunk)])
    parts = (points[start : start + chunk] for start in range(0, len(points), chunk))
    inside = [(_squared_distances(part, reference) <= radii).any(axis=1) for part in parts]
    return float(np.concatenate(inside).mean())


def _radii(points: np.ndarray, start: int, chunk: int, neighbours: int) -> np.ndarray:
    """Squared distances of points[start : start + chunk] to their k-th nearest neighbour other than themselves."""
    squared = _squared_distances(points[start : start + chunk], points)
    rows = np.arange(len(squared))
    squared[rows, start + rows] = np.inf
    return np.partition(squared, neighbours - 1, axis=1)[:, neighbours - 1]


def _squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    squared = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
    return squared.clip(min=0)


def classifier_score(logits: np.ndarray, *, splits: int, generator: np.random.Generator) -> tuple[float, float]:
    """exp(mean KL(p(y|x) || p(y))) of logits (n, classes): mean and standard deviation over `splits` shuffled parts.

    The Inception Score (Salimans et al. 2016) where the logits are Inception's. It lies between 1 and the number of
    classes, and no part of k images can score above k. ValueError for fewer images than parts.
    """
    if len(logits) < splits:
        raise ValueError(f"{len(logits)} images can't be split into {splits} parts")
    logs = _log_softmax(logits.astype(np.float64))[generator.permutation(len(logits))]
    scores = [_score_of(part) for part in np.array_split(logs, splits)]
    return float(np.mean(scores)), float(np.std(scores))


def _score_of(logs: np.ndarray) -> float:
    shares = np.exp(logs)
    marginal = shares.mean(axis=0)
    entropy_of_marginal = -(marginal * np.log(np.where(marginal > 0, marginal, 1))).sum()
    mean_negative_entropy = (shares * logs).sum(axis=1).mean()
    return float(np.exp(entropy_of_marginal + mean_negative_entropy))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
