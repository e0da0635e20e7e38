"""Losses of DANN (Ganin et al. 2016) and DSN (Bousmalis et al. 2016)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.runtime import parallel


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, codes: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return codes.view_as(codes)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None


def reverse_gradient(codes: Tensor, strength: float) -> Tensor:
    """The codes themselves, whose gradient arrives multiplied by -strength (DANN, section 4.2)."""
    return _Reversal.apply(codes, strength)


def reversal_strength(progress: float) -> float:
    """DANN's lambda for a share `progress` in [0, 1] of the training: 2 / (1 + exp(-10 progress)) - 1, from 0 towards 1."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


def domain_loss(domain_logits: Tensor, domain: int) -> Tensor:
    """Cross-entropy of domain logits (n, 2) where every image comes from `domain`: 0 is the source, 1 the target."""
    labels = torch.full((len(domain_logits),), domain, device=domain_logits.device)
    return F.cross_entropy(domain_logits, labels)


def scale_invariant_mse(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Mean squared difference minus the squared mean difference (DSN, equation 5): an equal offset everywhere costs nothing.

    Both means go over the whole batch (of all processes), as in the implementation that the study names; the paper's goes over
    each image.
    """
    difference = images - reconstructions
    return difference.square().mean() - (parallel.total(difference.mean()) / parallel.world()).square()


def difference_loss(private: Tensor, shared: Tensor) -> Tensor:
    """Mean square of the (512, 512) products of private and shared codes (n, 512): 0 where they are orthogonal (DSN, equation 6).

    Every code is first divided by its own norm, through which no gradient flows. The paper's authors centre the codes over
    the batch as well; the implementation that the study names, followed here, does not.
    """
    products = parallel.total(_normalized(private).T @ _normalized(shared))
    return products.square().mean()


def _normalized(codes: Tensor) -> Tensor:
    codes = codes.float()
    return codes / (codes.detach().norm(dim=1, keepdim=True) + 1e-6)
