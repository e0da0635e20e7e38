"""The networks against plain forms: outputs and gradients are equal, in double precision.

The plain forms are those that benchmarks time ours against. They load our weights by name and share no code with ours.
"""

from collections.abc import Iterable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import plain_stylegan2 as plain
from stages.generation.attention import LinearAttention, attention
from stages.generation.stylegan2 import (
    Discriminator,
    DiscriminatorBlock,
    GeneratorBlock,
    ModulatedConv,
    StyleGAN2,
)

SMALL = {"capacity": 2, "fmap_max": 16, "attention_layers": [1]}


@pytest.fixture(autouse=True)
def double(monkeypatch) -> Iterable[None]:
    """Everything in float64, also where our networks ask for float32."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    monkeypatch.setattr(Tensor, "float", lambda tensor: tensor)
    yield
    torch.set_default_dtype(torch.float32)


def stir(module: nn.Module) -> nn.Module:
    """Random values for what starts at 0 or 1 and would hide a slip: biases, noise strengths, norms."""
    for parameter in module.parameters():
        if parameter.dim() < 2 or parameter.shape[1] == 1:
            nn.init.normal_(parameter, 0.0, 0.5)
    return module


def assert_equal(module: nn.Module, other: nn.Module, *given: Tensor | None) -> None:
    """`other`, with the weights of `module`, gives the same, and the same gradients by `given` and by every parameter."""
    other.load_state_dict(module.state_dict())
    names = [name for name, _ in module.named_parameters()]
    found = []
    for form in (module, other):
        inputs = [None if tensor is None else tensor.clone().requires_grad_() for tensor in given]
        out = form(*inputs)
        outputs = out if isinstance(out, tuple) else (out,)
        torch.manual_seed(1)
        total = sum((tensor * torch.randn(tensor.shape)).sum() for tensor in outputs)
        by = [tensor for tensor in inputs if tensor is not None] + [form.get_parameter(name) for name in names]
        found.append([*outputs, *torch.autograd.grad(total, by)])
    assert all(tensor.abs().max() > 0 for tensor in found[0])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


class Looped(plain.LinearAttention):
    """Linear attention, one image, head and pixel after the other."""

    def forward(self, x: Tensor) -> Tensor:
        (n, _, height, width), heads = x.shape, self.heads
        pixels, inner = height * width, self.to_q.weight.shape[0]
        size = inner // heads
        q = self.to_q(x).reshape(n, heads, size, pixels)
        k, v = (part.reshape(n, heads, size, pixels) for part in self.to_kv(x).split(inner, dim=1))
        images = []
        for image in range(n):
            rows = []
            for head in range(heads):
                over_pixels = torch.softmax(k[image, head], dim=1)
                context = sum(torch.outer(over_pixels[:, p], v[image, head, :, p]) for p in range(pixels))
                queries = [torch.softmax(q[image, head, :, p], dim=0) / size**0.5 for p in range(pixels)]
                rows.append(torch.stack([query @ context for query in queries], dim=1))
            images.append(torch.cat(rows).reshape(inner, height, width))
        return self.to_out(F.gelu(torch.stack(images)))


@pytest.mark.parametrize(("kernel", "demodulate"), [(3, True), (1, False), (3, False)])
def test_modulated_convolution_equals_the_grouped_form(kernel: int, demodulate: bool) -> None:
    layer = stir(ModulatedConv(6, 5, kernel, 8, demodulate=demodulate))
    grouped = plain.ModulatedConv(6, 5, kernel, 8, demodulate)
    assert_equal(layer, grouped, torch.randn(4, 6, 7, 7), torch.randn(4, 8))


@pytest.mark.parametrize(("first", "last"), [(True, False), (False, False), (False, True)])
def test_generator_block_equals_its_plain_form(first: bool, last: bool) -> None:
    block = stir(GeneratorBlock(6, 5, 8, first=first, last=last))
    rgb = None if first else torch.randn(3, 3, 8, 8)
    given = torch.randn(3, 6, 4, 4), rgb, torch.randn(3, 8), torch.rand(3, 16, 16)
    assert_equal(block, plain.GeneratorBlock(6, 5, 8, first, last), *given)


@pytest.mark.parametrize("last", [False, True])
def test_discriminator_block_equals_its_plain_form(last: bool) -> None:
    assert_equal(DiscriminatorBlock(4, 6, last=last), plain.DiscriminatorBlock(4, 6, last), torch.randn(2, 4, 8, 8))


@pytest.mark.parametrize("form", [plain.LinearAttention, Looped])
@pytest.mark.parametrize(("heads", "size"), [(2, 4), (3, 64)])
def test_linear_attention_equals_loops_over_heads_and_pixels(form: type[nn.Module], heads: int, size: int) -> None:
    layer = LinearAttention(6, heads=heads, head_channels=size)
    assert_equal(layer, form(6, heads, size), torch.randn(2, 6, 3, 4))


def test_the_attention_layer_is_residual_and_normed_before() -> None:
    assert_equal(stir(attention(4, heads=2)), plain.attention_and_feed_forward(4, 2), torch.randn(2, 4, 3, 3))


def test_the_whole_generator_equals_its_plain_form() -> None:
    faces = stir(StyleGAN2(16, 16, **SMALL, attention_heads=2))
    assert_equal(faces, plain.StyleGAN2(16, 16, **SMALL, heads=2), torch.randn(2, 16), torch.rand(2, 16, 16))


@pytest.mark.parametrize("group", [0, 2, 3])
def test_the_whole_discriminator_equals_its_plain_form(group: int) -> None:
    critic = stir(Discriminator(16, **SMALL, attention_heads=2, minibatch_stddev=group))
    assert_equal(critic, plain.Discriminator(16, **SMALL, heads=2, minibatch_stddev=group), torch.rand(6, 3, 16, 16))
