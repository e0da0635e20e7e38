"""Many processes, one training: launch and device by Lightning Fabric, and the few collectives that trainers need.

Alone in the world everything here is the identity, and Fabric is not even imported. `torchrun` starts the processes of one or
several nodes; the environment's DEVICES=n starts n on this machine. Every process draws the random numbers of the global
batch and takes its own rows, so that the number of processes changes no image and no latent, only the order of sums.
"""

import os
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from stages.runtime import device
from stages.runtime.errors import UserError
from stages.runtime.processes import meet, met, rank, reduce, wanted, world
from stages.runtime.schema import Training

_settings = {"sync_batch_norm": True}


def start(training: Training) -> torch.device:
    """This process's device, once all processes that the environment asks for have met.

    Raises UserError where DEVICES is no number or asks for more GPUs than there are.
    """
    _settings["sync_batch_norm"] = training.sync_batch_norm
    place = device.pick()
    if met() and place.type == "cuda":
        place = torch.device("cuda", torch.cuda.current_device())
    elif not met() and wanted() > 1:
        place = meet()
    if place.type == "cuda":
        torch.backends.cudnn.benchmark = not training.deterministic
        if training.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(training.deterministic)
    return place


def share(size: int, what: str) -> int:
    """This process's part of `size` images; UserError, naming `what`, where it does not come out even."""
    if size % world():
        raise UserError(f"{what} is {size}, which {world()} processes can't share evenly: choose a multiple of {world()}")
    return size // world()


def rand(n: int, *shape: int, device: torch.device | str = "cpu") -> Tensor:
    """This process's `n` rows of uniform numbers in [0, 1), drawn for all processes by torch's global generator."""
    return _own(torch.rand(world() * n, *shape, device=device))


def randn(n: int, *shape: int, device: torch.device | str = "cpu") -> Tensor:
    """The same of standard normal numbers."""
    return _own(torch.randn(world() * n, *shape, device=device))


def randint(high: int, n: int, *shape: int, device: torch.device | str = "cpu") -> Tensor:
    """The same of integers from 0 to high - 1, int64."""
    return _own(torch.randint(high, (world() * n, *shape), device=device))


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients over all processes, in one flat all-reduce a type; call it before the optimiser's step.

    A parameter without a gradient has none in any process.
    """
    if world() == 1:
        return
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            by_type.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for gradients in by_type.values():
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        reduce(flat)
        parts = flat.div_(world()).split([gradient.numel() for gradient in gradients])
        shaped = [part.view(gradient.shape) for part, gradient in zip(parts, gradients, strict=True)]
        torch._foreach_copy_(gradients, shaped)


@torch.no_grad()
def mean(tensor: Tensor) -> Tensor:
    """The average over all processes, without a gradient: for records and running means."""
    if world() == 1:
        return tensor
    return reduce(tensor.detach().clone()).div_(world())


def largest(*numbers: int) -> list[int]:
    """The largest of each number over all processes: how they agree on what to do."""
    return list(numbers) if world() == 1 else reduce(torch.tensor(numbers, dtype=torch.int64), dist.ReduceOp.MAX).tolist()


@torch.no_grad()
def alike(module: nn.Module) -> None:
    """Give all processes the first one's parameters and buffers: their processors may have drawn other last digits."""
    if world() > 1:
        for tensor in module.state_dict().values():
            known = tensor if rank() == 0 else torch.zeros_like(tensor)
            tensor.copy_(reduce(known.clone(memory_format=torch.contiguous_format)))


@torch.no_grad()
def rolled(tensor: Tensor, rows: int) -> Tensor:
    """This process's rows (n, ...) of all processes' rows moved down by `rows`; what leaves at the end comes in at the start."""
    if world() == 1:
        return tensor.roll(rows, 0)
    whole = tensor.new_zeros(world(), *tensor.shape)
    whole[rank()] = tensor
    return _own(reduce(whole).flatten(0, 1).roll(rows, 0))


def total(tensor: Tensor) -> Tensor:
    """The sum over all processes, differentiable any number of times.

    For losses that are no means over images: computed from totals in every process and its gradients averaged, such a loss
    gives the global batch's gradients.
    """
    return tensor if world() == 1 else _Total.apply(tensor)


def synchronised(module: nn.Module) -> nn.Module:
    """The module, whose batch norms take their statistics from all processes from now on, if the params say so.

    Its dropout of whole channels is that of the global batch, whatever they say. Both are changed in place; parameters, buffers
    and their names stay. Alone nothing changes.
    """
    if world() > 1:
        for part in module.modules():
            if isinstance(part, nn.Dropout2d):
                part.__class__ = SynchronisedDropout2d
    if world() > 1 and _settings["sync_batch_norm"]:
        # No decorator, since it imports the compiler: a second that who trains nothing need not wait.
        SynchronisedBatchNorm.forward = torch.compiler.disable(SynchronisedBatchNorm.forward)
        for part in module.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                # In place, so that whoever holds the module or its parameters already holds the same ones.
                part.__class__ = SynchronisedBatchNorm
    return module


class SynchronisedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm whose statistics in training are those of all processes' images together, of which each has equally many."""

    def forward(self, images: Tensor) -> Tensor:
        """The normalised (n, channels, ...), in the type they came in."""
        if not self.training:
            return super().forward(images)
        output, average, variance, count = _Normalise.apply(images, self.weight, self.bias, self.eps)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(average, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return output

    def _check_input_dim(self, images: Tensor) -> None:
        """Any number of dimensions from 2 on will do."""


class SynchronisedDropout2d(nn.Dropout2d):
    """Dropout of whole channels (Tompson et al. 2015) that draws for all processes what PyTorch's would draw for one."""

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, channels, height, width) in the shape and type they came in."""
        if not self.training or self.p == 0:
            return images
        n, channels = images.shape[:2]
        kept = images.new_empty(world() * n, channels, 1, 1).bernoulli_(1 - self.p).div_(1 - self.p)
        return images * _own(kept)


class _Normalise(torch.autograd.Function):
    """Batch norm over all processes (Ioffe & Szegedy 2015), with one exchange forward and one backward."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, float]:
        """Normalised images, and mean, variance (of division by n) and number n of what they were normalised by."""
        wide = images.to(weight.dtype)
        variance, average = torch.var_mean(wide, _all_but_channels(images), correction=0)
        both = average.new_zeros(world(), 2, len(average))
        both[rank(), 0], both[rank(), 1] = average, variance
        averages, variances = reduce(both).unbind(dim=1)
        # Sums of squares would be one step shorter, and lose the variance where the mean is large.
        average = averages.mean(dim=0)
        variance = variances.mean(dim=0) + (averages - average).square().mean(dim=0)
        inverse = (variance + eps).rsqrt()
        ctx.save_for_backward(images, weight, average, inverse)
        scale = weight * inverse
        output = torch.addcmul(_as(images, bias - average * scale), wide, _as(images, scale)).to(images.dtype)
        count = world() * images.numel() / len(average)
        ctx.mark_non_differentiable(average, variance)
        return output, average, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        """Gradients of this process's images, and its own part of those of weight and bias, to be averaged with the others'."""
        images, weight, average, inverse = ctx.saved_tensors
        wide, dims = gradient.to(weight.dtype), _all_but_channels(images)
        normal = (images.to(weight.dtype) - _as(images, average)) * _as(images, inverse)
        own = torch.stack([wide.sum(dims), (wide * normal).sum(dims)])
        means = reduce(own.clone()) / (world() * images.numel() / len(average))
        wide = wide - _as(images, means[0]) - normal * _as(images, means[1])
        return (wide * _as(images, weight * inverse)).to(images.dtype), own[1], own[0], None


class _Total(torch.autograd.Function):
    """A sum over all processes. Each process's loss holds it, so that its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return reduce(tensor.detach().clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Total.apply(gradient)


def _own(drawn: Tensor) -> Tensor:
    return drawn if world() == 1 else drawn.chunk(world())[rank()]


def _all_but_channels(images: Tensor) -> list[int]:
    return [0, *range(2, images.dim())]


def _as(images: Tensor, values: Tensor) -> Tensor:
    """Values (channels,) in a shape that goes with images (n, channels, ...)."""
    return values.view(1, -1, *[1] * (images.dim() - 2))
