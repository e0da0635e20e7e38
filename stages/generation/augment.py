"""Differentiable augmentation, the same distribution for real and generated images.

Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training" (2020), for images (n, 3, height, width) in [0, 1],
with horizontal flips added. What comes in from outside or is cut out is GREY, the zero of the authors' images in [-1, 1]; their
order is brightness, saturation, contrast, translation, cutout. All random numbers come from torch's global generator, for all
processes.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.runtime import parallel

GREY = 0.5


def augment(images: Tensor, operations: Sequence[str]) -> Tensor:
    """Images after the named operations, in that order; every image is changed in its own way. Values may leave [0, 1]."""
    for name in operations:
        images = OPERATIONS[name](images)
    return images


def flip(images: Tensor) -> Tensor:
    """Every second image, on average, mirrored left to right."""
    mirrored = parallel.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(mirrored, images.flip(3), images)


def translation(images: Tensor) -> Tensor:
    """Shifted by up to an eighth of height and width, whole pixels, with grey coming in."""
    n, _, height, width = images.shape
    reach_y, reach_x = round(height / 8), round(width / 8)
    padded = F.pad(images, (reach_x, reach_x, reach_y, reach_y), value=GREY).permute(0, 2, 3, 1)
    rows = torch.arange(height, device=images.device) + parallel.randint(2 * reach_y + 1, n, 1, device=images.device)
    columns = torch.arange(width, device=images.device) + parallel.randint(2 * reach_x + 1, n, 1, device=images.device)
    image = torch.arange(n, device=images.device)[:, None, None]
    return padded[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def brightness(images: Tensor) -> Tensor:
    """Shifted in brightness by U[-0.25, 0.25)."""
    return images + (_uniform(images) - 0.5) / 2


def saturation(images: Tensor) -> Tensor:
    """Distances of the channels from their mean times U[0, 2)."""
    mean = images.mean(1, keepdim=True)
    return (images - mean) * (2 * _uniform(images)) + mean


def contrast(images: Tensor) -> Tensor:
    """Distances from the image's mean times U[0.5, 1.5)."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return (images - mean) * (0.5 + _uniform(images)) + mean


def cutout(images: Tensor) -> Tensor:
    """A rectangle of half the height and width made grey, centred anywhere (at the border a part of it is outside)."""
    n, _, height, width = images.shape
    rows = _covered(n, height, round(height / 2), images.device)
    columns = _covered(n, width, round(width / 2), images.device)
    hole = rows[:, :, None] & columns[:, None, :]
    return torch.where(hole[:, None], GREY, images)


OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "flip": flip,
    "translation": translation,
    "brightness": brightness,
    "saturation": saturation,
    "contrast": contrast,
    "cutout": cutout,
}


def _uniform(images: Tensor) -> Tensor:
    """One number of U[0, 1) an image, (n, 1, 1, 1)."""
    return parallel.rand(len(images), 1, 1, 1, device=images.device)


def _covered(n: int, length: int, extent: int, device: torch.device) -> Tensor:
    """Which of `length` positions lie in an interval of `extent`, centred at random; (n, length) bool."""
    start = parallel.randint(length + 1 - extent % 2, n, 1, device=device) - extent // 2
    position = torch.arange(length, device=device)
    return (position >= start) & (position < start + extent)
