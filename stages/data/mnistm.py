"""MNIST-M, by the recipe of Ganin et al., "Domain-adversarial training of neural networks", JMLR 2016, section 5.2.4:
every digit is blended with a random patch of a photograph as their absolute difference, channel by channel."""

from collections.abc import Iterator

import numpy as np

from stages.runtime.images import in_blocks


def blend(digits: np.ndarray, photos: list[np.ndarray], generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Digits uint8 (n, side, side) over random patches of the photographs, each (height, width, 3).

    Gives uint8 (m, side, side, 3), a block of digits at a time. Each digit's photograph is drawn uniformly, then the patch's
    place in it.
    """
    chosen = generator.integers(len(photos), size=len(digits))
    place = generator.random((len(digits), 2))
    for part in in_blocks(len(digits), (*digits.shape[1:], 3)):
        yield _blended(digits[part], photos, chosen[part], place[part])


def _blended(digits: np.ndarray, photos: list[np.ndarray], chosen: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Each digit over the patch at `place` (n, 2), as shares of where it may lie, in the photograph number `chosen` (n,)."""
    side = digits.shape[1]
    blended = np.empty((*digits.shape, 3), np.uint8)
    for number in np.unique(chosen):
        index = np.flatnonzero(chosen == number)
        patches = np.lib.stride_tricks.sliding_window_view(photos[number], (side, side), axis=(0, 1))
        rows, columns = (place[index] * patches.shape[:2]).astype(int).T
        backgrounds = patches[rows, columns].transpose(0, 2, 3, 1)
        blended[index] = np.maximum(backgrounds, digits[index, ..., None]) - np.minimum(backgrounds, digits[index, ..., None])
    return blended
