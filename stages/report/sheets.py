"""Sheets of images: faces beside real ones, faces and digits as training goes on, digits by class."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.report.style import canvas


def tile(images: np.ndarray, columns: int, gap: int = 2) -> np.ndarray:
    """One image of all images (n, height, width, channels) uint8, in rows of `columns`, white gaps of `gap` pixels between."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, dtype=np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return np.repeat(sheet, 3, axis=2) if channels == 1 else sheet


def faces(generated: np.ndarray, real: np.ndarray) -> Figure:
    """The first 32 generated images beside 32 real ones, which are spread over all of `real`."""
    figure, (left, right) = canvas(1, 2, width=5, height=2.8)
    chosen = np.linspace(0, len(real) - 1, min(32, len(real))).round().astype(int)
    _show(left, tile(generated[:32], 8), "generated (first 32)")
    _show(right, tile(real[chosen], 8), "real (test)")
    return figure


def progress(steps: np.ndarray, images: np.ndarray, shown: Sequence[int]) -> Figure:
    """Images `shown` of each snapshot (k, n, height, width, channels), a row a step; every column is one fixed latent."""
    side = images.shape[2]
    figure, (axis,) = canvas(1, 1, width=0.75 * len(shown) + 1, height=0.75 * len(steps) + 0.2)
    _show(axis, tile(np.concatenate([snapshot[list(shown)] for snapshot in images]), len(shown)))
    axis.set_yticks([row * (side + 2) + side / 2 for row in range(len(steps))], [f"step {step:,}" for step in steps])
    axis.tick_params(left=False, labelleft=True)
    return figure


def digits(images: np.ndarray, labels: np.ndarray) -> Figure:
    """Ten generated digits of every class (or what there is), a row a class, with the class asked for at the left."""
    side = images.shape[1]
    columns = min(10, *(int((labels == digit).sum()) for digit in range(10)))
    figure, (axis,) = canvas(1, 1, width=5.6, height=5.4)
    _show(axis, tile(np.concatenate([images[labels == digit][:columns] for digit in range(10)]), columns))
    axis.set_yticks([row * (side + 2) + side / 2 for row in range(10)], [str(digit) for digit in range(10)])
    axis.tick_params(left=False, labelleft=True, labelsize=13)
    axis.set_ylabel("class asked for")
    return figure


def _show(axis: Axes, image: np.ndarray, title: str = "") -> None:
    axis.imshow(image, interpolation="nearest")
    axis.set_title(title)
    axis.grid(False)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
