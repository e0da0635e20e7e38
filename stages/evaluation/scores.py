"""Scores of generated images from their features and class scores: KID, precision and recall, classifier score.

Features and logits may lie on disk: no more than a block of them is ever in memory.
"""

from collections.abc import Iterator

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


def precision_recall(real: np.ndarray, fake: np.ndarray, neighbours: int, block: int = 2000) -> tuple[float, float]:
    """Improved precision and recall of features (n, d), (m, d) (Kynkäänniemi et al. 2019, equations 1 and 2), in [0, 1].

    A set's manifold is the union of balls around its points that reach to their `neighbours`-th nearest neighbour.
    Precision is the share of fakes on the manifold of the reals, recall the share of reals on that of the fakes.
    Distances are taken between `block` points of either side at a time, whatever the sides hold, and between the sides once.
    ValueError where a set has no more points than `neighbours`.
    """
    for side in (real, fake):
        if len(side) <= neighbours:
            raise ValueError(f"{len(side)} images have no {neighbours}-th nearest neighbour among themselves")
    real_radii, fake_radii = (_radii(side, neighbours, block) for side in (real, fake))
    on_real, on_fake = np.zeros(len(fake), bool), np.zeros(len(real), bool)
    for rows in _parts(len(real), block):
        for columns in _parts(len(fake), block):
            squared = squared_distances(real[rows], fake[columns])
            on_real[columns] |= (squared <= real_radii[rows, None]).any(axis=0)
            on_fake[rows] |= (squared <= fake_radii[columns]).any(axis=1)
            # Before the next is made: the two would need twice the memory.
            del squared
    return float(on_real.mean()), float(on_fake.mean())


def _radii(points: np.ndarray, neighbours: int, block: int) -> np.ndarray:
    """Squared distance (n,) of each of the points (n, d) to its k-th nearest neighbour other than itself."""
    radii = np.empty(len(points))
    for rows in _parts(len(points), block):
        nearest = [_nearest(points, rows, columns, neighbours) for columns in _parts(len(points), block)]
        radii[rows] = np.partition(np.hstack(nearest), neighbours - 1)[:, neighbours - 1]
    return radii


def _nearest(points: np.ndarray, rows: slice, columns: slice, count: int) -> np.ndarray:
    """Squared distances (rows, `count`) of points to their nearest ones in `columns` but themselves, all if there are fewer."""
    squared = squared_distances(points[rows], points[columns])
    if rows == columns:
        np.fill_diagonal(squared, np.inf)
    squared.partition(min(count, squared.shape[1]) - 1)
    # A view would keep all of them.
    return squared[:, :count].copy()


def _parts(count: int, block: int) -> Iterator[slice]:
    return (slice(start, min(start + block, count)) for start in range(0, count, block))


def squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances (n, m) of features (n, d) and (m, d), to the last digits of their own squares."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    squared = first @ second.T
    squared *= -2
    squared += (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)
    return squared.clip(min=0, out=squared)


def classifier_score(logits: np.ndarray, *, splits: int, generator: np.random.Generator) -> tuple[float, float]:
    """exp(mean KL(p(y|x) || p(y))) of logits (n, classes): mean and standard deviation over `splits` shuffled parts.

    The Inception Score (Salimans et al. 2016) where the logits are Inception's. It lies between 1 and the number of
    classes, and no part of k images can score above k. ValueError for fewer images than parts.
    """
    if len(logits) < splits:
        raise ValueError(f"{len(logits)} images can't be split into {splits} parts")
    order = generator.permutation(len(logits))
    scores = [_score_of(logits, part) for part in np.array_split(order, splits)]
    return float(np.mean(scores)), float(np.std(scores))


def _score_of(logits: np.ndarray, rows: np.ndarray, block: int = 1000) -> float:
    """The score of the numbered rows, of which no more than `block` are looked at together."""
    total, negative_entropies = np.zeros(logits.shape[1]), np.empty(len(rows))
    for part in _parts(len(rows), block):
        logs = _log_softmax(logits[rows[part]].astype(np.float64))
        shares = np.exp(logs)
        # One after the other, as the sum over all would add them.
        total = np.vstack([total, shares]).sum(axis=0)
        negative_entropies[part] = (shares * logs).sum(axis=1)
    marginal = total / len(rows)
    entropy_of_marginal = -(marginal * np.log(np.where(marginal > 0, marginal, 1))).sum()
    return float(np.exp(entropy_of_marginal + negative_entropies.mean()))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
