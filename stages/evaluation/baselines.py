"""The simplest generator of all, for comparison: a Gaussian over the principal components of the training images."""

import numpy as np


def pca_gaussian(
    images: np.ndarray, count: int, *, generator: np.random.Generator, components: int = 100, fitted: int = 4000
) -> np.ndarray:
    """`count` uint8 images (n, height, width, channels) drawn from a Gaussian with the leading `components` of `images`.

    The Gaussian is fitted to at most `fitted` images, drawn at random, to bound the time. Pixels are rounded and clamped.
    """
    chosen = images[np.sort(generator.choice(len(images), min(fitted, len(images)), replace=False))]
    pixels = chosen.reshape(len(chosen), -1).astype(np.float32)
    mean = pixels.mean(axis=0)
    _, values, directions = np.linalg.svd(pixels - mean, full_matrices=False)
    deviations = values[:components] / np.sqrt(max(1, len(chosen) - 1))
    weights = generator.standard_normal((count, len(deviations)), dtype=np.float32) * deviations
    drawn = mean + weights @ directions[:components]
    return drawn.round().clip(0, 255).astype(np.uint8).reshape(count, *images.shape[1:])
