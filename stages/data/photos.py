"""Photographs as backgrounds: no part of one serves both training and test patches."""

from pathlib import Path

import numpy as np

from stages.data.formats import read_photo
from stages.runtime.errors import UserError

# Training patches lie left of this share of a photograph's width, test patches right of it.
BORDER = 0.75


def load_photos(folder: Path, split: str) -> list[np.ndarray]:
    """The part that belongs to `split` (`train` or `test`) of every photograph in `folder`: uint8 (height, width, 3), by name."""
    return [part(photo, split) for photo in read_photos(folder)]


def load_bsds500(folder: Path, split: str) -> list[np.ndarray]:
    """The pictures of BSDS500's own `split`, 200 in `train` as in `test`, whole: uint8 (height, width, 3), by name.

    MNIST-M's recipe takes the 200 training pictures for all digits. Here test digits lie over BSDS500's test pictures, so
    that no patch is shared; its validation pictures are unused.
    """
    return read_photos(folder / split)


def read_photos(folder: Path) -> list[np.ndarray]:
    """Every photograph in `folder`, by name: uint8 (height, width, 3)."""
    paths = sorted(folder.glob("*.*"))
    if not paths:
        raise UserError(f"{folder} holds no photographs: run `dvc repro`, which fetches them")
    return [read_photo(path) for path in paths]


def part(photo: np.ndarray, split: str) -> np.ndarray:
    """The columns of a photograph (height, width, 3) that belong to `split`."""
    border = round(photo.shape[1] * BORDER)
    return photo[:, :border] if split == "train" else photo[:, border:]
