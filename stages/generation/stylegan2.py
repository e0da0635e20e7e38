"""StyleGAN2 with linear attention: mapping network, generator and discriminator.

After Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020), in the variant with bilinear upsampling,
no equalised learning rate, one style slot a block, and attention. Images are (n, 3, size, size) and live in [0, 1]; size is any
power of two from 8 on.
"""

import math
from textwrap import indent

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.generation.attention import attention
from stages.generation.convolution import Conv2d, convolution

SLOPE = 0.2
# Steps without weights, by the words in which a printed network shows them.
UPSAMPLE, BLUR, ACTIVATION = "Upsample(scale_factor=2, mode='bilinear')", "Blur([1, 2, 1])", f"LeakyReLU({SLOPE})"


class StyleGAN2(nn.Module):
    """What makes images: the mapping network z -> w and the generator w -> image.

    `attention_layers` counts generator blocks from the finest, from 1.
    """

    def __init__(
        self, size: int, latent_dim: int, capacity: int, fmap_max: int, attention_layers: list[int], attention_heads: int = 8
    ) -> None:
        super().__init__()
        self.size, self.latent_dim = size, latent_dim
        self.mapping = Mapping(latent_dim)
        self.generator = Generator(size, latent_dim, capacity, fmap_max, attention_layers, attention_heads)

    def forward(self, z: Tensor, noise: Tensor) -> Tensor:
        """Images, not clamped, of latents z (n, latent_dim) and noise maps (n, size, size)."""
        return self.generator(self.spread(self.mapping(z)), noise)

    def spread(self, w: Tensor) -> Tensor:
        """The same style w (n, latent_dim) for every block: (n, slots, latent_dim)."""
        return w[:, None].expand(-1, self.generator.slots, -1)

    def mix(self, z: Tensor, other: Tensor, cut: Tensor) -> Tensor:
        """Styles (n, slots, latent_dim) of z in the first `cut` (n,) slots and of `other` in the rest (style mixing)."""
        first, second = self.mapping(torch.cat([z, other])).chunk(2)
        slot = torch.arange(self.generator.slots, device=cut.device)
        return torch.where((slot < cut[:, None])[..., None], first[:, None], second[:, None])


class Mapping(nn.Module):
    """z of norm 1 through eight fully connected layers to w; always in fp32."""

    def __init__(self, latent_dim: int, depth: int = 8) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EqualLinear(latent_dim) for _ in range(depth))

    def forward(self, z: Tensor) -> Tensor:
        """w of z, both (n, latent_dim)."""
        with torch.autocast(z.device.type, enabled=False):
            w = F.normalize(z.float(), dim=1)
            for layer in self.layers:
                w = F.leaky_relu(layer(w), SLOPE)
            return w


class EqualLinear(nn.Module):
    """Linear layer whose weights and bias are stored ten times as large as used, so that they learn at a tenth of the rate."""

    def __init__(self, width: int, lr_multiplier: float = 0.1) -> None:
        super().__init__()
        self.lr_multiplier = lr_multiplier
        self.weight = nn.Parameter(torch.randn(width, width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """(n, width) to (n, width)."""
        return F.linear(x, self.weight * self.lr_multiplier, self.bias * self.lr_multiplier)

    def extra_repr(self) -> str:
        return f"{len(self.bias)}, {len(self.bias)}, lr_multiplier={self.lr_multiplier}"


class Generator(nn.Module):
    """Styles (n, slots, latent_dim) and noise maps (n, size, size) to images (n, 3, size, size), not clamped."""

    def __init__(
        self, size: int, latent_dim: int, capacity: int, fmap_max: int, attention_layers: list[int], attention_heads: int = 8
    ) -> None:
        super().__init__()
        self.slots = blocks = _doublings(size) - 1
        _check_layers(attention_layers, blocks)
        widths = [min(fmap_max, capacity * 2**layer) for layer in range(blocks, 0, -1)]
        widths = [widths[0], *widths]
        self.constant = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        self.initial = Conv2d(widths[0], widths[0], 3, padding=1)
        self.attention = nn.ModuleDict(
            {str(blocks - layer): attention(widths[blocks - layer], attention_heads) for layer in sorted(attention_layers)}
        )
        self.blocks = nn.ModuleList(
            GeneratorBlock(widths[i], widths[i + 1], latent_dim, first=i == 0, last=i == blocks - 1) for i in range(blocks)
        )
        initialise(self)
        for block in self.blocks:
            block.silence()

    def forward(self, styles: Tensor, noise: Tensor) -> Tensor:
        """Images of styles, one a block, and one noise map an image in [0, 1), cropped to each block's size."""
        x = self.initial(self.constant).expand(len(styles), -1, -1, -1)
        rgb = None
        for i, block in enumerate(self.blocks):
            if str(i) in self.attention:
                x = self.attention[str(i)](x)
            x, rgb = block(x, rgb, styles[:, i], noise)
        return rgb

    @torch.no_grad()
    def fade(self, contrast: float) -> None:
        """Multiply all images by `contrast`: kaiming-initialised, a generator makes values far outside [0, 1]."""
        for block in self.blocks:
            block.to_rgb.weight.mul_(contrast)

    def __repr__(self) -> str:
        parts = [("constant", f"Constant{tuple(self.constant.shape[1:])}"), ("initial", self.initial)]
        for i, block in enumerate(self.blocks):
            if str(i) in self.attention:
                parts.append((f"attention.{i}", self.attention[str(i)]))
            parts.append((f"blocks.{i}", block))
        return _printed(self, parts)


class GeneratorBlock(nn.Module):
    """Upsampling, two modulated convolutions with noise, and the block's share of the image."""

    def __init__(self, channels: int, out_channels: int, latent_dim: int, *, first: bool, last: bool) -> None:
        super().__init__()
        self.first, self.last = first, last
        self.conv1 = ModulatedConv(channels, out_channels, 3, latent_dim)
        self.conv2 = ModulatedConv(out_channels, out_channels, 3, latent_dim)
        self.noise1 = nn.Linear(1, out_channels)
        self.noise2 = nn.Linear(1, out_channels)
        self.to_rgb = ModulatedConv(out_channels, 3, 1, latent_dim, demodulate=False)

    def silence(self) -> None:
        """Start without noise: its strength and bias at zero."""
        for layer in (self.noise1, self.noise2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, rgb: Tensor | None, w: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Features and the image so far, the latter already at the next block's size; it is summed up in fp32."""
        size = x.shape[2] if self.first else 2 * x.shape[2]
        noise = noise[:, :size, :size, None].to(x.dtype)
        x = F.leaky_relu_(self.conv1(x, w, _scaled(noise, self.noise1), doubled=not self.first), SLOPE)
        x = F.leaky_relu_(self.conv2(x, w, _scaled(noise, self.noise2)), SLOPE)
        share = self.to_rgb(x, w).float()
        rgb = share if rgb is None else rgb + share
        if not self.last:
            rgb = blur(upsample(rgb))
        return x, rgb

    def __repr__(self) -> str:
        parts = [] if self.first else [("upsample", UPSAMPLE)]
        for i, (layer, noise) in enumerate([(self.conv1, self.noise1), (self.conv2, self.noise2)], start=1):
            parts += [(f"conv{i}", layer), (f"noise{i}", noise), (f"activation{i}", ACTIVATION)]
        parts.append(("to_rgb", self.to_rgb))
        return _printed(self, parts if self.last else [*parts, ("upsample_rgb", UPSAMPLE), ("blur_rgb", BLUR)])


class ModulatedConv(nn.Module):
    """Convolution whose input channels are scaled by a style, and whose output is scaled back to unit variance.

    Equations 1 and 3 of the StyleGAN2 paper say this of the weights; scaling activations before and after is the same and
    lets the whole batch share one convolution.
    """

    def __init__(self, channels: int, out_channels: int, kernel: int, latent_dim: int, *, demodulate: bool = True) -> None:
        super().__init__()
        self.demodulate = demodulate
        self.style = nn.Linear(latent_dim, channels)
        self.weight = nn.Parameter(torch.empty(out_channels, channels, kernel, kernel))
        nn.init.kaiming_normal_(self.weight)

    def forward(self, x: Tensor, w: Tensor, added: Tensor | None = None, *, doubled: bool = False) -> Tensor:
        """x (n, channels, height, width) and styles w (n, latent_dim) to (n, out_channels, height, width), plus `added`.

        Where height and width are to be `doubled`, x is scaled before it is upsampled: the same, on a quarter of the pixels.
        """
        with torch.autocast(w.device.type, enabled=False):
            scale = self.style(w) + 1
            if self.demodulate:
                squares = self.weight.square().sum((2, 3))
                back = torch.rsqrt(F.linear(scale.square(), squares) + 1e-8)
        x = x * scale[..., None, None].to(x.dtype)
        y = convolution(upsample(x) if doubled else x, self.weight, padding=self.weight.shape[-1] // 2)
        if self.demodulate:
            back = back[..., None, None].to(y.dtype)
            return y * back if added is None else torch.addcmul(added, y, back)
        return y if added is None else y + added

    def extra_repr(self) -> str:
        out_channels, channels, kernel, _ = self.weight.shape
        return f"{channels}, {out_channels}, kernel_size={kernel}, demodulate={self.demodulate}"


class Discriminator(nn.Module):
    """Images (n, 3, size, size) in [0, 1] to scores (n,). `attention_layers` counts its blocks from the first, from 1.

    `minibatch_stddev` is the group size of that layer; n is a multiple of it, and 0 leaves the layer out.
    """

    def __init__(
        self,
        size: int,
        capacity: int,
        fmap_max: int,
        attention_layers: list[int],
        attention_heads: int = 8,
        minibatch_stddev: int = 0,
    ) -> None:
        super().__init__()
        blocks = _doublings(size)
        _check_layers(attention_layers, blocks - 1)
        widths = [3, *(min(fmap_max, 4 * capacity * 2**layer) for layer in range(blocks))]
        self.blocks = nn.ModuleList(DiscriminatorBlock(widths[i], widths[i + 1], last=i == blocks - 1) for i in range(blocks))
        self.attention = nn.ModuleDict(
            {str(layer - 1): attention(widths[layer], attention_heads) for layer in sorted(attention_layers)}
        )
        self.minibatch_stddev = MinibatchStddev(minibatch_stddev) if minibatch_stddev else None
        self.final = Conv2d(widths[-1] + bool(minibatch_stddev), widths[-1], 3, padding=1)
        self.score = nn.Linear(4 * widths[-1], 1)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Unbounded scores, as fp32 also under autocast (of its digits); which sign means real is the loss's choice."""
        x = images
        for i, block in enumerate(self.blocks):
            x = block(x)
            if str(i) in self.attention:
                x = self.attention[str(i)](x)
        if self.minibatch_stddev is not None:
            x = self.minibatch_stddev(x)
        return self.score(self.final(x).flatten(1)).squeeze(1).float()

    def __repr__(self) -> str:
        parts = []
        for i, block in enumerate(self.blocks):
            parts.append((f"blocks.{i}", block))
            if str(i) in self.attention:
                parts.append((f"attention.{i}", self.attention[str(i)]))
        if self.minibatch_stddev is not None:
            parts.append(("minibatch_stddev", self.minibatch_stddev))
        return _printed(self, [*parts, ("final", self.final), ("flatten", nn.Flatten()), ("score", self.score)])


class DiscriminatorBlock(nn.Module):
    """Residual block that halves the image; the last one does not."""

    def __init__(self, channels: int, out_channels: int, *, last: bool) -> None:
        super().__init__()
        self.shortcut = Conv2d(channels, out_channels, 1, stride=1 if last else 2)
        self.conv1 = Conv2d(channels, out_channels, 3, padding=1)
        self.conv2 = Conv2d(out_channels, out_channels, 3, padding=1)
        self.down = None if last else Conv2d(out_channels, out_channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, s, s) to (n, out_channels, s / 2, s / 2), or of size s in the last block."""
        y = F.leaky_relu_(self.conv1(x), SLOPE)
        y = F.leaky_relu_(self.conv2(y), SLOPE)
        if self.down is not None:
            y, x = self.down(blur(y)), x[:, :, ::2, ::2]
        # The strided 1x1 convolution as one of every second pixel: oneDNN's own overruns its memory for odd batches.
        beside = convolution(x, self.shortcut.weight, self.shortcut.bias)
        return (y + beside) * math.sqrt(0.5)

    def __repr__(self) -> str:
        parts = [("shortcut", self.shortcut), ("conv1", self.conv1), ("activation1", ACTIVATION)]
        parts += [("conv2", self.conv2), ("activation2", ACTIVATION)]
        return _printed(self, parts if self.down is None else [*parts, ("blur", BLUR), ("down", self.down)])


class MinibatchStddev(nn.Module):
    """One more channel, which says how much the images of a group differ, lest a generator without variety go unnoticed.

    Karras et al., "Progressive Growing of GANs" (2018), section 3: the standard deviation over the group, averaged over channels
    and pixels. A group is of neighbouring rows, so that neither real and generated images behind each other nor the parts of
    several processes share one.
    """

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, height, width) to (n, channels + 1, height, width) in the same type; n is a multiple of the group."""
        with torch.autocast(x.device.type, enabled=False):
            groups = x.float().unflatten(0, (-1, self.group))
            # Differentiable twice, also where all images of a group are the same.
            deviation = (groups.var(1, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
        deviation = deviation.to(x.dtype).repeat_interleave(self.group)[:, None, None, None]
        return torch.cat([x, deviation.expand(-1, 1, *x.shape[2:])], dim=1)

    def extra_repr(self) -> str:
        return f"group={self.group}"


def upsample(x: Tensor) -> Tensor:
    """Height and width doubled, bilinearly, in the type of x; autocast would widen what the next convolution narrows again."""
    with torch.autocast(x.device.type, enabled=False):
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def blur(x: Tensor) -> Tensor:
    """Each channel smoothed by the outer product of (1, 2, 1) / 4 with itself, in the type of x; the border is reflected."""
    with torch.autocast(x.device.type, enabled=False):
        # Computed where x is: numbers that are copied there from a list would make every step wait for the GPU.
        line = 0.5 - torch.arange(-1, 2, dtype=x.dtype, device=x.device).abs() / 4
        kernel = torch.outer(line, line).repeat(x.shape[1], 1, 1, 1)
        return convolution(bordered(x), kernel, groups=x.shape[1])


def bordered(x: Tensor) -> Tensor:
    """x (n, channels, height, width) with one pixel more on each side, its neighbour mirrored.

    PyTorch's own, on a GPU, adds gradients in whatever order they come; where the same bits are asked for every time, slices
    do the same in a fixed order. Where several gradients meet, they differ by rounding.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return F.pad(x, (1, 1, 1, 1), mode="reflect")
    x = torch.cat([x[:, :, 1:2], x, x[:, :, -2:-1]], dim=2)
    return torch.cat([x[..., 1:2], x, x[..., -2:-1]], dim=3)


def initialise(module: nn.Module) -> None:
    """Weights of all plain convolutions and linear layers from N(0, 2 / fan_in); biases keep PyTorch's default."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)


def _scaled(noise: Tensor, layer: nn.Linear) -> Tensor:
    """A Linear(1, channels) over the noise map (n, height, width, 1): (n, channels, height, width), in channels-last order.

    What is added to it takes its order from it, and convolutions are fastest in this one.
    """
    weight, bias = layer.weight.to(noise.dtype), layer.bias.to(noise.dtype)
    return torch.addcmul(bias, noise, weight.view(-1)).permute(0, 3, 1, 2)


def _printed(module: nn.Module, parts: list[tuple[str, object]]) -> str:
    """What print shows of a module: its parts by name, in the order in which an image goes through them.

    The order in which they are registered is another one, and belongs to the seeds: weights are drawn in it.
    """
    lines = "\n".join(f"({name}): {part}" for name, part in parts)
    return f"{type(module).__name__}(\n{indent(lines, '  ')}\n)"


def _doublings(size: int) -> int:
    """log2 of the image size; ValueError unless it is a power of two from 8 on."""
    if size < 8 or size & (size - 1):
        raise ValueError(f"images must be a power of two of at least 8 pixels wide, not {size}")
    return size.bit_length() - 1


def _check_layers(attention_layers: list[int], most: int) -> None:
    if any(layer not in range(1, most + 1) for layer in attention_layers):
        raise ValueError(f"attention layers {attention_layers} must lie within 1..{most}")
