"""Adaptive discriminator augmentation: images are changed as often as keeps the discriminator from knowing them by heart.

Karras et al., "Training Generative Adversarial Networks with Limited Data" (2020), with the three groups of transforms that it
recommends (appendix B): pixel blitting, general geometry, colour. What moves an image is one affine map, sampled once with
bilinear weights where the paper filters; what colours it is one matrix. Images are (n, 3, size, size) in [0, 1], and values may
leave it. All random numbers come from torch's global generator, for all processes.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.runtime import parallel

# p is adapted once in so many steps, by the scores of all of them.
INTERVAL = 4


class AdaptiveAugmentation(nn.Module):
    """Applies each transform to each image with chance `p`, which rises while the discriminator is too sure of real images.

    `target` is the mean sign of their scores that is wanted, and `images` how many real images it takes p to go from 0 to 1. p
    and the sum of the `signs` since its last change are buffers, so that a resumed training has them.
    """

    def __init__(self, target: float, images: int, batch_size: int) -> None:
        super().__init__()
        self.target, self.pace = target, INTERVAL * batch_size / images
        self.register_buffer("p", torch.zeros(()))
        self.register_buffer("signs", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        """Images in their shape, every one changed in its own way; differentiable once."""
        return transformed(images, self.p)

    @torch.no_grad()
    def adapt(self, step: int, sign: Tensor) -> Tensor:
        """The p that follows from this step's mean `sign` of real images' scores, where 1 is seen as real."""
        # Of all processes in every step: the first one's saved state holds for all.
        self.signs += parallel.mean(sign)
        if step % INTERVAL == 0:
            excess = self.signs / INTERVAL - self.target
            self.p.add_(self.pace * excess.sign()).clamp_(0, 1)
            self.signs.zero_()
        return self.p.clone()


def transformed(images: Tensor, p: Tensor) -> Tensor:
    """Images moved, then coloured, by each transform with chance p, a scalar tensor."""
    n, _, size, _ = images.shape
    with torch.autocast(images.device.type, enabled=False):
        places = F.affine_grid(geometry(n, size, p), list(images.shape), align_corners=False)
        images = sampled(images, places)
        matrix, shift = colours(n, p)
        return torch.baddbmm(shift, matrix, images.flatten(2)).view_as(images)


def sampled(images: Tensor, places: Tensor) -> Tensor:
    """Images (n, channels, size, size) at `places` (n, size, size, 2) from -1 to 1, bilinearly, mirrored beyond their borders.

    PyTorch's own kernel, on a GPU, adds gradients in whatever order they come; where the same bits are asked for every time,
    it is taken apart into indexing, as `F.interpolate` then does with itself. That gathers every image four times.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return F.grid_sample(images, places, padding_mode="reflection", align_corners=False)
    # It takes a second to import.
    from torch._decomp.decompositions import grid_sampler_2d

    return grid_sampler_2d(images, places, interpolation_mode=0, padding_mode=2, align_corners=False)


def geometry(n: int, size: int, p: Tensor) -> Tensor:
    """Affine maps (n, 2, 3) from places in the new image to places in the old one, both from -1 to 1.

    An image is mirrored, turned by quarters, shifted by whole pixels, scaled, turned, stretched, turned again, and moved. Its map
    undoes this, the last first; since undoing each is as likely as doing it, their numbers are taken as drawn.
    """
    place = p.device
    # Of two turns by any angle, one or both happen with chance p.
    turning = 1 - (1 - p).sqrt()
    mirror = _maybe(_sign(n, place), 1.0, p)
    quarters = _maybe(parallel.randint(4, n, device=place) * (math.pi / 2), 0.0, p)
    shift = _maybe(((2 * parallel.rand(n, 2, device=place) - 1) * (size / 8)).round() * (2 / size), 0.0, p)
    scale = _maybe(_factor(n, 0.2, place), 1.0, p)
    turn = _maybe(_angle(n, place), 0.0, turning)
    stretch = _maybe(_factor(n, 0.2, place), 1.0, p)
    turn_again = _maybe(_angle(n, place), 0.0, turning)
    move = _maybe(parallel.randn(n, 2, device=place) * (2 * 0.125), 0.0, p)

    whole = _diagonal(mirror, torch.ones_like(mirror)) @ _rotation(quarters)
    linear = whole @ _rotation(turn) @ _diagonal(scale * stretch, scale / stretch) @ _rotation(turn_again)
    return torch.cat([linear, whole @ shift[..., None] + linear @ move[..., None]], dim=2)


def colours(n: int, p: Tensor) -> tuple[Tensor, Tensor]:
    """Matrices (n, 3, 3) and what to add (n, 3, 1) for an image's channels.

    Its values taken from -1 to 1, an image is brightened, its contrast scaled, its luma mirrored; then its hues turn around the
    axis of greys, and their distance to it is scaled. All this keeps the axis, so that the whole is one factor along it, one
    beside it, and one across both (Rodrigues' formula).
    """
    place = p.device
    brightness = _maybe(parallel.randn(n, device=place) * 0.2, 0.0, p)
    contrast = _maybe(_factor(n, 0.5, place), 1.0, p)
    luma = contrast * _maybe(_sign(n, place), 1.0, p)
    hue = _maybe(_angle(n, place), 0.0, p)
    saturation = contrast * _maybe(_factor(n, 1.0, place), 1.0, p)

    identity, grey = torch.eye(3, device=place), torch.full((3, 3), 1 / 3, device=place)
    across = (identity.roll(1, 0) - identity.roll(1, 1)) / math.sqrt(3)
    luma, beside, turned = (share[:, None, None] for share in (luma, saturation * hue.cos(), saturation * hue.sin()))
    matrix = luma * grey + beside * (identity - grey) + turned * across
    # For values x from 0 to 1: (matrix (2 x - 1) + luma brightness + 1) / 2, where the matrix takes white to luma times white.
    return matrix, ((1 + luma * (brightness[:, None, None] - 1)) / 2).expand(-1, 3, -1)


def _maybe(values: Tensor, neutral: float, p: Tensor) -> Tensor:
    """The values (n, ...) of an image with chance p, else the neutral one."""
    happens = parallel.rand(len(values), *[1] * (values.dim() - 1), device=p.device) < p
    return torch.where(happens, values, neutral)


def _angle(n: int, place: torch.device) -> Tensor:
    """Angles (n,) of U[-pi, pi)."""
    return math.pi * (2 * parallel.rand(n, device=place) - 1)


def _sign(n: int, place: torch.device) -> Tensor:
    """-1.0 or 1.0 (n,), each half of the time."""
    return 2.0 * parallel.randint(2, n, device=place) - 1


def _factor(n: int, spread: float, place: torch.device) -> Tensor:
    """Log-normal numbers (n,), whose logarithm to the base of 2 has the standard deviation `spread`."""
    return torch.exp2(parallel.randn(n, device=place) * spread)


def _rotation(angle: Tensor) -> Tensor:
    """Rotations (n, 2, 2) by angles (n,)."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)


def _diagonal(first: Tensor, second: Tensor) -> Tensor:
    """Diagonal matrices (n, 2, 2)."""
    return torch.diag_embed(torch.stack([first, second], dim=1))
