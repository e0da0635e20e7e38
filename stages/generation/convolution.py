"""Convolutions whose second derivatives, which penalties on gradients need, are made by the same kernels as first ones.

PyTorch's own, on a CPU, go through one channel after the other where a convolution is depthwise. But a convolution, its
gradient by its input and its gradient by its weight are all linear in both of what they are made of, so that the derivatives
of each of the three are the other two.
"""

from typing import Any

import torch
from torch import Tensor, nn


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` for square kernels, with zeros around the border."""

    def forward(self, x: Tensor) -> Tensor:
        """x (n, channels, height, width) to (n, out_channels, ...), in autocast's type where it is on."""
        return convolution(x, self.weight, self.bias, self.stride[0], self.padding[0], self.groups)


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0, groups: int = 1
) -> Tensor:
    """F.conv2d of x (n, channels, height, width), differentiable any number of times; in autocast's type where it is on."""
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    how = [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups
    if torch.compiler.is_compiling():
        # The compiler knows no functions of our own that ask the engine what is wanted; it has no second derivatives anyway.
        return torch.ops.aten.convolution(x, weight, bias, *how)
    return _linked(_Convolution, x, weight, bias, how)


class _Convolution(torch.autograd.Function):
    """x convolved with a weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, how: tuple) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how = how
        return torch.ops.aten.convolution(x, weight, bias, *how)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        by_x = _linked(_ByInput, gradient, x.detach(), weight, ctx.how) if _wanted(ctx, 0) else None
        by_weight = _linked(_ByWeight, gradient, x, weight.detach(), ctx.how) if _wanted(ctx, 1) else None
        return by_x, by_weight, gradient.sum((0, 2, 3)) if _wanted(ctx, 2) else None, None


class _ByInput(torch.autograd.Function):
    """A convolution's gradient by x, which gives it its shape alone: what the gradient by the output and the weight make."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor, weight: Tensor, how: tuple) -> Tensor:
        ctx.save_for_backward(gradient, weight)
        ctx.how = how
        return torch.ops.aten.convolution_backward(gradient, x, weight, None, *how, [True, False, False])[0]

    @staticmethod
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor | None, ...]:
        gradient, weight = ctx.saved_tensors
        by_gradient = _linked(_Convolution, second, weight, None, ctx.how) if _wanted(ctx, 0) else None
        by_weight = _linked(_ByWeight, gradient, second, weight.detach(), ctx.how) if _wanted(ctx, 2) else None
        return by_gradient, None, by_weight, None


class _ByWeight(torch.autograd.Function):
    """A convolution's gradient by its weight, which gives it its shape alone: what the gradient by the output and x make."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor, weight: Tensor, how: tuple) -> Tensor:
        ctx.save_for_backward(gradient, x)
        ctx.how = how
        return torch.ops.aten.convolution_backward(gradient, x, weight, None, *how, [False, True, False])[1]

    @staticmethod
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor | None, ...]:
        gradient, x = ctx.saved_tensors
        by_gradient = _linked(_Convolution, x, second, None, ctx.how) if _wanted(ctx, 0) else None
        by_x = _linked(_ByInput, gradient, x.detach(), second, ctx.how) if _wanted(ctx, 1) else None
        return by_gradient, by_x, None, None


def _linked(function: type[torch.autograd.Function], *given: Any) -> Tensor:
    """The function of views of its tensors: of a leaf, autograd's engine does not tell whether its gradient is wanted."""
    return function.apply(*(one.view_as(one) if isinstance(one, Tensor) else one for one in given))


def _wanted(ctx: Any, which: int) -> bool:
    """Whether this backward pass leads on to an input: a penalty's first one goes to the images, and past all weights.

    By `needs_input_grad` alone, every weight's gradient would be made there, only to be thrown away.
    """
    return ctx.needs_input_grad[which] and torch._C._will_engine_execute_node(ctx.next_functions[which][0])
