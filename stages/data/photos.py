"""Photographs as backgrounds: training and test patches come from different parts of each picture."""

from pathlib import Path

import numpy as np

from stages.data.formats import read_photo
from stages.runtime.stage import UserError

# Training patches lie left of this share of a photograph's width, test patches right of it.
BORDER = 0.75


def load_photos(folder: Path, split: str) -> list[np.ndarray]:
    """The part that belongs to `split` (`train` or `test`) of every photograph in `folder`: uint8 (height, width, 3), by name."""
    paths = sorted(folder.glob("*.*"))
    if not paths:
        raise UserError(f"{folder} holds no photographs: run `dvc repro`, which fetches them")
    return [part(read_photo(path), split) for path in paths]


def part(photo: np.ndarray, split: str) -> np.ndarray:
    """The columns of a photograph (height, width, 3) that belong to `split`."""
    border = round(photo.shape[1] * BORDER)
    return photo[:, :border] if split == "train" else photo[:, border:]
