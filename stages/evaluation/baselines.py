"""The simplest generator of all, for comparison: a Gaussian over the principal components of the training images."""

import numpy as np

from stages.runtime.images import in_blocks


def pca_gaussian(
    images: np.ndarray, out: np.ndarray, *, generator: np.random.Generator, components: int = 100, fitted: int = 4000
) -> None:
    """Fill uint8 `out` (n, height, width, channels) with draws from a Gaussian that has the leading `components` of `images`.

    The Gaussian is fitted to at most `fitted` images, drawn at random, to bound the time. Pixels are rounded and clamped.
    """
    chosen = images[np.sort(generator.choice(len(images), min(fitted, len(images)), replace=False))]
    pixels = chosen.reshape(len(chosen), -1).astype(np.float32)
    mean = pixels.mean(axis=0)
    _, values, directions = np.linalg.svd(pixels - mean, full_matrices=False)
    deviations = values[:components] / np.sqrt(max(1, len(chosen) - 1))
    for part in in_blocks(len(out), out.shape[1:]):
        weights = generator.standard_normal((part.stop - part.start, len(deviations)), dtype=np.float32) * deviations
        drawn = mean + weights @ directions[:components]
        out[part] = drawn.round().clip(0, 255).astype(np.uint8).reshape(-1, *out.shape[1:])
