"""The networks against plain forms, written from their description alone: outputs and gradients are equal, in double precision.

The plain forms take their weights from our modules by name and share no code with them.
"""

from collections.abc import Callable, Iterable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.generation.stylegan2 import (
    Discriminator,
    DiscriminatorBlock,
    GeneratorBlock,
    LinearAttention,
    ModulatedConv,
    StyleGAN2,
    attention,
)

SMALL = {"capacity": 2, "fmap_max": 16, "attention_layers": [1], "attention_heads": 2}


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


def assert_equal(module: nn.Module, plain: Callable, *given: Tensor) -> None:
    """`module` and `plain` give the same, and the same gradients by `given` and by every parameter of the module."""
    found = []
    for form in (module, plain):
        inputs = [tensor.clone().requires_grad_() for tensor in given]
        out = form(*inputs)
        outputs = out if isinstance(out, tuple) else (out,)
        torch.manual_seed(1)
        total = sum((tensor * torch.randn(tensor.shape)).sum() for tensor in outputs)
        found.append([*outputs, *torch.autograd.grad(total, [*inputs, *module.parameters()])])
    assert all(tensor.abs().max() > 0 for tensor in found[0])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def larger(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def blurred(x: Tensor) -> Tensor:
    """[1, 2, 1] in both directions, its outer product over 16, each channel by itself; the border is reflected."""
    line = torch.tensor([1.0, 2.0, 1.0])
    kernel = (line[:, None] * line[None, :] / 16).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel, groups=x.shape[1])


def modulated(layer: ModulatedConv, x: Tensor, w: Tensor, demodulate: bool) -> Tensor:
    """Modulated convolution as the paper writes it: one set of weights an image, one group an image."""
    n, channels, height, width = x.shape
    weight = layer.weight[None] * (F.linear(w, layer.style.weight, layer.style.bias) + 1)[:, None, :, None, None]
    if demodulate:
        weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    y = F.conv2d(x.reshape(1, n * channels, height, width), weight.flatten(0, 1), padding=weight.shape[-1] // 2, groups=n)
    return y.reshape(n, -1, height, width)


def generator_block(block: GeneratorBlock, first: bool, last: bool, x: Tensor, rgb: Tensor | None, w: Tensor, noise: Tensor):
    """Up, twice modulated convolution + noise and leaky ReLU, then the image so far plus this block's, up and blurred."""
    if not first:
        x = larger(x)
    # The noise map turned into one column a pixel, through Linear(1, channels).
    columns = noise[:, : x.shape[2], : x.shape[3], None]
    for convolution, strength in ((block.conv1, block.noise1), (block.conv2, block.noise2)):
        added = columns @ strength.weight.T + strength.bias
        x = leaky(modulated(convolution, x, w, demodulate=True) + added.permute(0, 3, 1, 2))
    image = modulated(block.to_rgb, x, w, demodulate=False)
    if rgb is not None:
        image = image + rgb
    return x, image if last else blurred(larger(image))


def discriminator_block(block: DiscriminatorBlock, last: bool, x: Tensor) -> Tensor:
    """Two convolutions with leaky ReLU, blur and strided convolution; beside it an unblurred strided 1x1; sum over sqrt 2."""
    y = leaky(F.conv2d(x, block.conv1.weight, block.conv1.bias, padding=1))
    y = leaky(F.conv2d(y, block.conv2.weight, block.conv2.bias, padding=1))
    if not last:
        y = F.conv2d(blurred(y), block.down.weight, block.down.bias, stride=2, padding=1)
    beside = F.conv2d(x, block.shortcut.weight, block.shortcut.bias, stride=1 if last else 2)
    return (y + beside) / 2**0.5


def looped(layer: LinearAttention, heads: int, x: Tensor) -> Tensor:
    """Linear attention, one image, head and pixel after the other."""
    n, channels, height, width = x.shape
    pixels, inner = height * width, layer.to_q.weight.shape[0]
    size = inner // heads
    q = F.conv2d(x, layer.to_q.weight).reshape(n, heads, size, pixels)
    kv = F.conv2d(F.conv2d(x, layer.to_kv[0].weight, padding=1, groups=channels), layer.to_kv[1].weight)
    k, v = kv[:, :inner].reshape(n, heads, size, pixels), kv[:, inner:].reshape(n, heads, size, pixels)
    images = []
    for image in range(n):
        rows = []
        for head in range(heads):
            over_pixels = torch.softmax(k[image, head], dim=1)
            context = sum(torch.outer(over_pixels[:, p], v[image, head, :, p]) for p in range(pixels))
            queries = [torch.softmax(q[image, head, :, p], dim=0) / size**0.5 for p in range(pixels)]
            rows.append(torch.stack([query @ context for query in queries], dim=1))
        images.append(torch.cat(rows).reshape(inner, height, width))
    return F.conv2d(F.gelu(torch.stack(images)), layer.to_out.weight, layer.to_out.bias)


def normed(norm: nn.Module, x: Tensor) -> Tensor:
    """ChanNorm: (x - mean) / (sqrt(biased variance) + 1e-5) * g + b over the channels of each pixel."""
    mean = x.mean(1, keepdim=True)
    deviation = (x - mean).square().mean(1, keepdim=True).sqrt()
    return (x - mean) / (deviation + 1e-5) * norm.g[None, :, None, None] + norm.b[None, :, None, None]


def attended(layers: nn.Sequential, heads: int, x: Tensor) -> Tensor:
    """Attention, then feed-forward, each on normed input and added to what it is given."""
    first, second = layers
    x = x + looped(first.inner, heads, normed(first.norm, x))
    narrow, _, wide = second.inner
    y = leaky(F.conv2d(normed(second.norm, x), narrow.weight, narrow.bias))
    return x + F.conv2d(y, wide.weight, wide.bias)


def generated(faces: StyleGAN2, heads: int, z: Tensor, noise: Tensor) -> Tensor:
    """The whole way from z to the image, one w for all blocks, attention ahead of the last one."""
    w = z / z.norm(dim=1, keepdim=True)
    for layer in faces.mapping.layers:
        w = leaky(w @ (0.1 * layer.weight).T + 0.1 * layer.bias)
    generator, last = faces.generator, len(faces.generator.blocks) - 1
    x = F.conv2d(generator.constant, generator.initial.weight, generator.initial.bias, padding=1).repeat(len(z), 1, 1, 1)
    image = None
    for i, block in enumerate(generator.blocks):
        if i == last:
            x = attended(generator.attention[str(i)], heads, x)
        x, image = generator_block(block, i == 0, i == last, x, image, w, noise)
    return image


def criticised(critic: Discriminator, heads: int, images: Tensor) -> Tensor:
    """The whole way from images to scores, attention after the first block."""
    x = images
    for i, block in enumerate(critic.blocks):
        x = discriminator_block(block, i == len(critic.blocks) - 1, x)
        if i == 0:
            x = attended(critic.attention["0"], heads, x)
    x = F.conv2d(x, critic.final.weight, critic.final.bias, padding=1)
    return x.reshape(len(images), -1) @ critic.score.weight[0] + critic.score.bias


@pytest.mark.parametrize(("kernel", "demodulate"), [(3, True), (1, False), (3, False)])
def test_modulated_convolution_equals_the_grouped_form(kernel: int, demodulate: bool) -> None:
    layer = stir(ModulatedConv(6, 5, kernel, 8, demodulate=demodulate))
    assert_equal(layer, lambda x, w: modulated(layer, x, w, demodulate), torch.randn(4, 6, 7, 7), torch.randn(4, 8))


@pytest.mark.parametrize(("first", "last"), [(True, False), (False, False), (False, True)])
def test_generator_block_equals_its_plain_form(first: bool, last: bool) -> None:
    block = stir(GeneratorBlock(6, 5, 8, first=first, last=last))
    x, w, noise = torch.randn(3, 6, 4, 4), torch.randn(3, 8), torch.rand(3, 16, 16)
    if first:
        ours = Wrapped(block, lambda x, w, noise: block(x, None, w, noise))
        assert_equal(ours, lambda x, w, noise: generator_block(block, True, last, x, None, w, noise), x, w, noise)
    else:
        rgb = torch.randn(3, 3, 8, 8)
        assert_equal(block, lambda *given: generator_block(block, False, last, *given), x, rgb, w, noise)


class Wrapped(nn.Module):
    """A block's parameters with another call."""

    def __init__(self, block: nn.Module, call: Callable) -> None:
        super().__init__()
        self.block, self.call = block, call

    def forward(self, *given: Tensor):
        return self.call(*given)


@pytest.mark.parametrize("last", [False, True])
def test_discriminator_block_equals_its_plain_form(last: bool) -> None:
    block = DiscriminatorBlock(4, 6, last=last)
    assert_equal(block, lambda x: discriminator_block(block, last, x), torch.randn(2, 4, 8, 8))


@pytest.mark.parametrize(("heads", "size"), [(2, 4), (3, 64)])
def test_linear_attention_equals_loops_over_heads_and_pixels(heads: int, size: int) -> None:
    layer = LinearAttention(6, heads=heads, head_channels=size)
    assert_equal(layer, lambda x: looped(layer, heads, x), torch.randn(2, 6, 3, 4))


def test_the_attention_layer_is_residual_and_normed_before() -> None:
    layers = stir(attention(4, heads=2))
    assert_equal(layers, lambda x: attended(layers, 2, x), torch.randn(2, 4, 3, 3))


def test_the_whole_generator_equals_its_plain_form() -> None:
    faces = stir(StyleGAN2(16, 16, **SMALL))
    assert_equal(faces, lambda z, noise: generated(faces, 2, z, noise), torch.randn(2, 16), torch.rand(2, 16, 16))


def test_the_whole_discriminator_equals_its_plain_form() -> None:
    critic = stir(Discriminator(16, **SMALL))
    assert_equal(critic, lambda images: criticised(critic, 2, images), torch.rand(2, 3, 16, 16))
