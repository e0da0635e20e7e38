"""Augmentation of source images, batched and on their device; random numbers come from torch's global generators, the same
for any number of processes, and so do the neighbours that `strong` puts beside a digit."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.runtime import parallel

GREY = (0.299, 0.587, 0.114)


def named(name: str) -> Callable[[Tensor], Tensor]:
    """The augmentation called `none`, `jitter` or `strong`: float images (n, 3, height, width) in [-1, 1] to the same."""
    return {"none": lambda images: images, "jitter": jitter, "strong": strong}[name]


def jitter(images: Tensor) -> Tensor:
    """Change brightness, contrast and saturation of each image in an order of its own, as torchvision's ColorJitter does.

    The study had it for USPS -> SVHN, in these ranges.
    """
    images = _to_unit(images)
    brightness, contrast, saturation = (_uniform(images, *ends) for ends in ((0.753, 1.247), (0.2, 1.8), (0.5, 1.5)))
    orders = parallel.rand(len(images), 3, device=images.device).argsort(dim=1).T
    for operation in orders.reshape(3, -1, 1, 1, 1):
        lighter = (images * brightness).clamp(0, 1)
        stronger = _blend(grey(images).mean(dim=(2, 3), keepdim=True), images, contrast)
        purer = _blend(grey(images), images, saturation)
        images = torch.where(operation == 0, lighter, torch.where(operation == 1, stronger, purer))
    return _from_unit(images)


def strong(images: Tensor) -> Tensor:
    """Paint the digits anew: random place, stroke, neighbours and colours before a random uneven background.

    Domain randomisation (Tobin et al. 2017): a classifier that has seen digits in all colours, and other digits cut off
    beside them, finds one more kind of picture familiar. Meant for grey sources and coloured targets. The pictures'
    brightness alone is used; whether strokes or ground are bright is random.
    """
    ink = _stretched(grey(_to_unit(images)))
    ink = warp(ink)
    ink = _restroke(ink)
    ink = _with_neighbours(ink)
    painted = _paint(ink)
    painted = _blend(F.avg_pool2d(painted, 3, 1, 1, count_include_pad=False), painted, _uniform(painted, 0, 1))
    return _from_unit((painted + parallel.randn(*painted.shape, device=painted.device) * _uniform(painted, 0, 0.08)).clamp(0, 1))


def grey(images: Tensor) -> Tensor:
    """Luminance (n, 1, height, width) of images (n, 3, height, width)."""
    red, green, blue = (channel * weight for channel, weight in zip(images.split(1, dim=1), GREY, strict=True))
    return red + green + blue


def warp(
    images: Tensor,
    turn: float = 15.0,
    zoom: tuple[float, float] = (0.7, 1.35),
    narrow: float = 1.4,
    shear: float = 0.25,
    shift: float = 0.12,
) -> Tensor:
    """Turn (degrees), resize, narrow by a factor up to `narrow`, shear and shift (share of half the width) each image at random.

    Zeros come in from outside.
    """
    n = len(images)
    angle = _uniform(images, -turn, turn).view(n) * math.pi / 180
    height = 1 / _uniform(images, *zoom).view(n)
    width = height * _uniform(images, 1.0, narrow).view(n)
    slant = _uniform(images, -shear, shear).view(n)
    cos, sin = angle.cos(), angle.sin()
    right, down = _uniform(images, -shift, shift).view(n), _uniform(images, -shift, shift).view(n)
    first = torch.stack([width * cos, width * (slant * cos - sin), right], dim=1)
    second = torch.stack([height * sin, height * (slant * sin + cos), down], dim=1)
    grid = F.affine_grid(torch.stack([first, second], dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def thickened(ink: Tensor) -> Tensor:
    """The largest value of each pixel's 3x3 square: max-pooling, which a CPU does ten times as slowly for a single channel."""
    ink = F.pad(ink, (1, 1, 1, 1), value=-math.inf)
    ink = torch.maximum(torch.maximum(ink[:, :, :-2], ink[:, :, 1:-1]), ink[:, :, 2:])
    return torch.maximum(torch.maximum(ink[..., :-2], ink[..., 1:-1]), ink[..., 2:])


def _stretched(ink: Tensor) -> Tensor:
    low, high = ink.amin(dim=(2, 3), keepdim=True), ink.amax(dim=(2, 3), keepdim=True)
    return (ink - low) / (high - low).clamp(min=1e-3)


def _restroke(ink: Tensor) -> Tensor:
    """Thicken half of the strokes and thin the others, each to a random degree."""
    thick = thickened(ink)
    thin = -thickened(-ink)
    change = _uniform(ink, -1, 1)
    return ink + change.clamp(min=0) * (thick - ink) + (-change * 0.6).clamp(min=0) * (thin - ink)


def _with_neighbours(ink: Tensor) -> Tensor:
    """Put the digits of two other images of the (global) batch beside each, mostly out of the picture; some stay alone."""
    width = ink.shape[-1]
    for side, other in ((1, parallel.rolled(ink, 1)), (-1, parallel.rolled(ink, 2))):
        away = side * int(torch.randint(int(0.45 * width), int(0.7 * width), ()))
        present = (_uniform(ink, 0, 1) < 0.5).float()
        ink = torch.maximum(ink, _moved(other, away) * present)
    return ink


def _moved(images: Tensor, columns: int) -> Tensor:
    return F.pad(images, (columns, -columns))


def _paint(ink: Tensor) -> Tensor:
    """Colour images (n, 3, height, width) in [0, 1]: strokes in one random colour, ground in another, both uneven.

    A quarter of the strokes get an outline in a third colour; colours are anything from grey to pure.
    """
    n, _, height, width = ink.shape
    ground, stroke, outline = parallel.rand(n, 3, 3, 1, 1, device=ink.device).unbind(1)
    contrast = grey(stroke - ground)
    wanted = _uniform(ink, 0.15, 0.8) * torch.where(contrast < 0, -1.0, 1.0)
    stroke = stroke + (wanted - contrast) * (contrast.abs() < wanted.abs())
    outline = torch.where(_uniform(ink, 0, 1) < 0.25, outline, ground)
    ground = ground + thickened(ink) * (outline - ground)
    uneven = parallel.randn(n, 3, 4, 4, device=ink.device) * _uniform(ink, 0, 0.15)
    uneven = F.interpolate(uneven, size=(height, width), mode="bilinear", align_corners=False)
    painted = (ground + ink * (stroke - ground) + uneven).clamp(0, 1)
    return _blend(grey(painted), painted, _uniform(ink, 0, 1))


def _to_unit(images: Tensor) -> Tensor:
    return (images + 1) / 2


def _from_unit(images: Tensor) -> Tensor:
    return images * 2 - 1


def _blend(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """first + weight * (second - first), within [0, 1]."""
    return (first + weight * (second - first)).clamp(0, 1)


def _uniform(like: Tensor, low: float, high: float) -> Tensor:
    """One random number for each image, shape (n, 1, 1, 1)."""
    return parallel.rand(len(like), 1, 1, 1, device=like.device) * (high - low) + low
