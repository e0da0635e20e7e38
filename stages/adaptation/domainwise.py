"""Batch norm (Ioffe and Szegedy 2015) of batches in which several domains follow one another, equally many images each.

Everything but batch norm treats images one by one, so that all domains can pass through a network as one batch. Here each
domain gets the statistics of its own images, and the running ones are updated by one domain after the other: the result is
that of as many separate passes.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def normalised(norm: nn.Module, batch: Tensor, domains: int) -> Tensor:
    """Every domain of a batch (domains x n, channels, ...) through `norm`, as if it came alone."""
    if domains == 1:
        return norm(batch)
    return torch.cat([norm(part) for part in batch.chunk(domains)])


def convolved(convolution: nn.Conv2d, norm: nn.BatchNorm2d, images: Tensor, domains: int) -> Tensor:
    """Images (domains x n, ...) through a convolution, batch norm of each domain, 2x2 max-pooling and ReLU.

    Batch norm of a channel either keeps the order of its values or, where its weight is negative, turns it round. So the values
    are pooled first, and only the quarter that is left is normalised; where the order is turned round, weights and
    convolution change their signs beforehand.
    """
    if type(norm) is not nn.BatchNorm2d:
        return F.relu(F.max_pool2d(normalised(norm, convolution(images), domains), 2))
    sign = torch.where(norm.weight.detach() < 0, -1.0, 1.0)
    filters = convolution.weight * sign.view(-1, 1, 1, 1)
    values = F.conv2d(images, filters, convolution.bias * sign).contiguous(memory_format=torch.channels_last)
    if not norm.training:
        pooled = F.max_pool2d(values, 2)
        running = (norm.running_mean * sign, norm.running_var)
        return F.relu(F.batch_norm(pooled, *running, norm.weight * sign, norm.bias, eps=norm.eps))
    mean, variance = _statistics(norm, values.detach(), sign, domains)
    return _PoolNormaliseRelu.apply(values, norm.weight * sign, norm.bias, mean, (variance + norm.eps).rsqrt())


@torch.no_grad()
def _statistics(norm: nn.BatchNorm2d, values: Tensor, sign: Tensor, domains: int) -> tuple[Tensor, Tensor]:
    """Means and variances (domains, channels) of the values, whose signs were changed; updates the running ones."""
    running, found = norm.running_mean * sign, []
    for part in values.chunk(domains):
        found.append(_updated(part, running, norm.running_var, norm.momentum))
    norm.running_mean.copy_(running * sign)
    norm.num_batches_tracked += domains
    means, variances = zip(*found, strict=True)
    return torch.stack(means), torch.stack(variances)


def _updated(part: Tensor, mean: Tensor, variance: Tensor, momentum: float) -> tuple[Tensor, Tensor]:
    """Means and variances (channels,) of one domain's values, after the running ones have moved towards them."""
    if not torch.compiler.is_compiling():
        return torch.batch_norm_update_stats(part, mean, variance, momentum)
    # PyTorch does not tell its compiler that this function changes the running ones, which stay as they were.
    found_variance, found_mean = torch.var_mean(part.float(), (0, 2, 3), correction=0)
    count = part.numel() / len(mean)
    mean.lerp_(found_mean, momentum)
    variance.lerp_(found_variance * (count / (count - 1)), momentum)
    return found_mean, found_variance


class _PoolNormaliseRelu(torch.autograd.Function):
    """2x2 max-pooling of values (domains x n, channels, height, width), batch norm by weights that are not negative, ReLU.

    The gradient runs through the statistics, which are those of the values before they are pooled. It is that of batch norm,
    where the gradients of all values but the largest of each four are 0.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
        largest, where = F.max_pool2d(values, 2, return_indices=True)
        scale = weight * inverse
        shift = bias - mean * scale
        output = _joined(torch.addcmul(_each(shift), _by_domain(largest, len(mean)), _each(scale)).relu_(), values)
        ctx.save_for_backward(values, largest, where, output, mean, inverse, scale)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        values, largest, where, output, mean, inverse, scale = ctx.saved_tensors
        domains = len(mean)
        count = values.numel() // mean.numel()
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        outer = _by_domain(torch.ops.aten.threshold_backward(gradient, output, 0), domains).float()
        normal = (_by_domain(largest, domains) - _each(mean)) * _each(inverse)
        for_bias = outer.sum(dim=(1, 2, 3))
        for_weight = (outer * normal).sum(dim=(1, 2, 3))
        slope = -scale * inverse * for_weight / count
        offset = -scale * for_bias / count - slope * mean
        spread = torch.ops.aten.max_pool2d_with_indices_backward(
            _joined(outer * _each(scale), values), values, [2, 2], [2, 2], [0, 0], [1, 1], False, where
        )
        inner = _by_domain(spread, domains)
        inner.addcmul_(_by_domain(values, domains), _each(slope).to(values.dtype)).add_(_each(offset).to(values.dtype))
        return spread, for_weight.sum(dim=0), for_bias.sum(dim=0), None, None


def _by_domain(batch: Tensor, domains: int) -> Tensor:
    """A channels_last batch (domains x n, channels, height, width) as (domains, n, height, width, channels)."""
    return batch.permute(0, 2, 3, 1).unflatten(0, (domains, -1))


def _joined(parts: Tensor, like: Tensor) -> Tensor:
    """The reverse of _by_domain, in the type of `like`."""
    return parts.flatten(0, 1).permute(0, 3, 1, 2).to(like.dtype)


def _each(values: Tensor) -> Tensor:
    """Values (domains, channels) in a shape that goes with _by_domain's."""
    return values[:, None, None, None, :]
