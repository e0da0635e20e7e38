"""Losses and regularisers of StyleGAN2, each in the report's form and in the usual one."""

import torch
import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(form: str, real: Tensor, fake: Tensor) -> Tensor:
    """Mean loss of the discriminator's scores (n,) of real and of generated images.

    `hinge_inverted`: the report's hinge loss, in which real images get the low scores. `non_saturating`: the logistic loss of
    Goodfellow et al. (2014), in which they get the high ones.
    """
    if form == "hinge_inverted":
        return F.relu(1 + real).mean() + F.relu(1 - fake).mean()
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(form: str, fake: Tensor) -> Tensor:
    """Mean loss of the generator, of scores (n,) of its images, with the same forms."""
    return fake.mean() if form == "hinge_inverted" else F.softplus(-fake).mean()


def seen_as_real(form: str, scores: Tensor) -> Tensor:
    """Scores whose sign is positive where the discriminator sees the image as real, with the same forms."""
    return -scores if form == "hinge_inverted" else scores


def gradient_penalty(form: str, scores: Tensor, images: Tensor) -> Tensor:
    """Penalty on the gradient of `scores` (n,) by the real `images` they come from; differentiable once more.

    `one_centred`: mean of (norm - 1)^2 (Gulrajani et al. 2017, on real images only). `r1`: half the mean of norm^2
    (Mescheder et al. 2018, equation 9). The training gives images as they are augmented, ADA's publication those before that.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    gradient = gradient.flatten(1)
    if form == "one_centred":
        return (gradient.norm(dim=1) - 1).square().mean()
    return gradient.square().sum(1).mean() / 2


def path_lengths(images: Tensor, styles: Tensor, direction: Tensor) -> Tensor:
    """How far a random change of the images moves with the styles (n, slots, latent_dim), one length (n,) an image.

    `direction` holds normal numbers in the images' shape. The norm in equation 4 of the StyleGAN2 paper, with the squares
    averaged over the slots; differentiable once more.
    """
    change = direction / (images.shape[2] * images.shape[3]) ** 0.5
    (gradient,) = torch.autograd.grad((images * change).sum(), styles, create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt()
