"""MNIST-M, by the recipe of Ganin et al., "Domain-adversarial training of neural networks", JMLR 2016, section 5.2.4:
every digit is blended with a random patch of a photograph as their absolute difference, channel by channel."""

import numpy as np


def blend(digits: np.ndarray, photos: list[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """Digits uint8 (n, side, side) over random patches of the photographs, each (height, width, 3): uint8 (n, side, side, 3).

    Each digit's photograph is drawn uniformly, then the patch's place in it.
    """
    side = digits.shape[1]
    chosen = generator.integers(len(photos), size=len(digits))
    place = generator.random((len(digits), 2))
    blended = np.empty((*digits.shape, 3), np.uint8)
    for number, photo in enumerate(photos):
        index = np.flatnonzero(chosen == number)
        patches = np.lib.stride_tricks.sliding_window_view(photo, (side, side), axis=(0, 1))
        rows, columns = (place[index] * patches.shape[:2]).astype(int).T
        backgrounds = patches[rows, columns].transpose(0, 2, 3, 1)
        blended[index] = np.maximum(backgrounds, digits[index, ..., None]) - np.minimum(backgrounds, digits[index, ..., None])
    return blended
