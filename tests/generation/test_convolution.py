"""Our convolution equals PyTorch's, its derivatives likewise, and a penalty makes no gradient that nobody asked for."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.generation import convolution as module
from stages.generation.convolution import Conv2d, convolution

FORMS = [(1, 1, 1, 3), (2, 1, 1, 3), (1, 0, 1, 1), (1, 1, 4, 3), (1, 0, 4, 3)]


def tensors(groups: int, kernel: int) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = (2, 4, 5, 5), (4, 4 // groups, kernel, kernel), (4,)
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize(("stride", "padding", "groups", "kernel"), FORMS)
def test_first_and_second_derivatives_are_those_of_small_differences(stride: int, padding: int, groups: int, kernel: int) -> None:
    given = tensors(groups, kernel)

    def form(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return convolution(x, weight, bias, stride, padding, groups)

    assert torch.autograd.gradcheck(form, given)
    assert torch.autograd.gradgradcheck(form, given)


@pytest.mark.parametrize(("stride", "padding", "groups", "kernel"), FORMS)
def test_a_gradients_penalty_has_the_same_gradients_as_by_pytorch(stride: int, padding: int, groups: int, kernel: int) -> None:
    x, weight, bias = tensors(groups, kernel)
    found = []
    for form in (convolution, F.conv2d):
        how = {"stride": stride, "padding": padding, "groups": groups}
        y = form(form(x, weight, bias, **how).sin(), weight, None, **how)
        (gradient,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        found.append([y, gradient, *torch.autograd.grad(gradient.square().sum(), (x, weight, bias))])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_gradient_by_images_makes_none_by_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    made, make = [], module._ByWeight.forward
    monkeypatch.setattr(module._ByWeight, "forward", lambda *given: made.append(given) or make(*given))
    layers = torch.nn.Sequential(Conv2d(3, 4, 3, padding=1), Conv2d(4, 2, 3, stride=2, padding=1))
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(layers(x).sum(), x, create_graph=True)
    assert not made
    gradient.square().sum().backward()
    assert len(made) == 2


def test_autocast_makes_it_a_convolution_in_bfloat16() -> None:
    layer = Conv2d(3, 4, 3, padding=1)
    x = torch.randn(2, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
        assert torch.equal(y, F.conv2d(x, layer.weight, layer.bias, padding=1))
    assert y.dtype == torch.bfloat16 and layer(x).dtype == torch.float32
    y.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32
