"""How often a classifier is right: overall, by class, and what it takes for what."""

from typing import Any

import numpy as np


def classification_report(labels: np.ndarray, predictions: np.ndarray, classes: int = 10) -> dict[str, Any]:
    """Compare `predictions` with `labels`, two integer arrays (n,) of values 0..classes-1 with n > 0.

    Returns what goes to JSON as it is: `accuracy`, a fraction in [0, 1]; `per_class`, the same for each true class (None where
    a class has no images); `confusion`, counts [true][predicted]; and `n`. Raises ValueError where the arrays don't fit.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape or labels.ndim != 1 or labels.size == 0:
        raise ValueError(f"labels {labels.shape} and predictions {predictions.shape} must be equally many, at least one")
    for name, values in (("labels", labels), ("predictions", predictions)):
        if values.dtype.kind not in "iu" or values.min() < 0 or values.max() >= classes:
            raise ValueError(f"{name} must be integers from 0 to {classes - 1}")
    cells = labels.astype(np.int64) * classes + predictions.astype(np.int64)
    confusion = np.bincount(cells, minlength=classes * classes).reshape(classes, classes)
    right, total = confusion.diagonal(), confusion.sum(axis=1)
    return {
        "accuracy": float(right.sum() / labels.size),
        "per_class": [float(r / t) if t else None for r, t in zip(right, total, strict=True)],
        "confusion": confusion.tolist(),
        "n": int(labels.size),
    }
