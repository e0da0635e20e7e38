"""Whether generated digits of a class differ as real ones do. No accuracy tells: one good image a class would get it all.

Improved precision and recall and the Fréchet distance, class by class, in the features of a classifier of digits. What real
training digits get in the generated ones' place stands beside each figure as its ceiling or floor.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from stages.evaluation.frechet import distance, moments_of
from stages.evaluation.scores import precision_recall
from stages.runtime.errors import UserError
from stages.runtime.seeding import numpy_generator

# Generated images of a class that are compared, as many as the study made: every figure here depends on this number.
COMPARED = 100
CLASSES = 10
# Real images that are looked at together.
BLOCK = 1000
Digits = tuple[np.ndarray, np.ndarray]
Features = Callable[[np.ndarray], np.ndarray]


def diversity(
    generated: Digits, train: Digits, test: Digits, features: Features, *, neighbours: int, seed: int
) -> dict[str, Any]:
    """Figures of images (n, height, width, channels) and labels (n,), means over the classes; `per_class` holds each class's.

    `recall` is the share of the test images of a class among its first COMPARED generated ones, `precision` the share of
    these among the test images, `fd` the distance between both; `recall_ceiling`, `precision_ceiling` and `fd_floor` are those
    of as many training images of the class, drawn by `seed`. `recall_train`, by which settings may be chosen, is the share of
    training images, as many as there are of the test, among the generated ones. A class in which a side has no more than
    `neighbours` images is None; UserError where no class has more.
    """
    drawn = numpy_generator(seed, "diversity").permutation(len(train[1]))
    found: list[dict[str, float] | None] = []
    for digit in range(CLASSES):
        real = np.flatnonzero(test[1] == digit)
        fake = generated[0][np.flatnonzero(generated[1] == digit)[:COMPARED]]
        known = drawn[train[1][drawn] == digit][: max(len(real), len(fake))]
        enough = min(len(real), len(fake), len(known)) > neighbours
        if not enough:
            found.append(None)
            continue
        seen = (_seen(split[0], rows, features) for split, rows in ((test, real), (train, known)))
        found.append(_compared(*seen, features(fake), neighbours))
    names = next((figures for figures in found if figures), None)
    if names is None:
        raise UserError(
            f"evaluation.metrics.neighbours is {neighbours}, and no digit has more generated, training and test images: "
            "lower it, or bring more images of a digit"
        )
    by_class = {name: [figures and figures[name] for figures in found] for name in names}
    means = {name: float(np.mean([value for value in values if value is not None])) for name, values in by_class.items()}
    return {**means, "per_class": by_class}


def _seen(images: np.ndarray, rows: np.ndarray, features: Features) -> np.ndarray:
    """Features (n, d) of the images at these `rows` (n,), of which a block at a time is in memory."""
    found: np.ndarray | None = None
    for first in range(0, len(rows), BLOCK):
        part = features(images[rows[first : first + BLOCK]])
        if found is None:
            found = np.empty((len(rows), part.shape[1]), part.dtype)
        found[first : first + len(part)] = part
    return found


def _compared(test: np.ndarray, train: np.ndarray, fake: np.ndarray, neighbours: int) -> dict[str, float]:
    """The figures of one class, of features (n, d) of its test, training and generated images."""
    known, moments = train[: len(fake)], moments_of(test)
    precision, recall = precision_recall(test, fake, neighbours)
    precision_ceiling, recall_ceiling = precision_recall(test, known, neighbours)
    return {
        **{"recall": recall, "recall_ceiling": recall_ceiling, "recall_train": precision_recall(train, fake, neighbours)[1]},
        **{"precision": precision, "precision_ceiling": precision_ceiling},
        **{"fd": distance(moments_of(fake), moments), "fd_floor": distance(moments_of(known), moments)},
    }
