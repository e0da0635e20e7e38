"""StyleGAN2's training step as it is commonly written, after lucidrains/stylegan2-pytorch: what ours is timed against.

Modulated convolutions with one set of weights and one group an image, attention with its axes rearranged, blur as a
depthwise convolution, float32 in NCHW order, Adam and average parameter by parameter. The parameters have the names of
`stages.generation.stylegan2`, whose weights these modules load; no code is shared. Losses and regularisers are the report's.
"""

import copy
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Part(NamedTuple):
    """What one part of a batch is made of, apart from weights."""

    real: Tensor  # images (n, 3, size, size) in [0, 1]
    z: Tensor  # latents (n, latent_dim)
    other: Tensor  # the latents that z is mixed with, (n, latent_dim)
    cut: Tensor  # the first slot of each image that takes its style from `other`, (n,)
    noise: Tensor  # noise maps (n, size, size) in [0, 1)
    direction: Tensor  # normal numbers (n, 3, size, size) for the path length


class Mapping(nn.Module):
    """z (n, latent_dim) to w (n, latent_dim)."""

    def __init__(self, latent_dim: int, depth: int = 8) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EqualLinear(latent_dim, latent_dim) for _ in range(depth))

    def forward(self, z: Tensor) -> Tensor:
        w = F.normalize(z, dim=1)
        for layer in self.layers:
            w = F.leaky_relu(layer(w), 0.2)
        return w


class EqualLinear(nn.Module):
    """Linear layer whose weights and bias are multiplied by `lr_mul` in use."""

    def __init__(self, in_dim: int, out_dim: int, lr_mul: float = 0.1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_dim, in_dim))
        self.bias = nn.Parameter(torch.zeros(out_dim))
        self.lr_mul = lr_mul

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.lr_mul, bias=self.bias * self.lr_mul)


class ModulatedConv(nn.Module):
    """Modulated convolution as the paper writes it (equations 1 and 3)."""

    def __init__(self, channels: int, out_channels: int, kernel: int, latent_dim: int, demodulate: bool = True) -> None:
        super().__init__()
        self.style = nn.Linear(latent_dim, channels)
        self.weight = nn.Parameter(torch.randn(out_channels, channels, kernel, kernel))
        self.demodulate = demodulate

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        out_channels, _, kernel, _ = self.weight.shape
        weights = self.weight[None] * (self.style(w)[:, None, :, None, None] + 1)
        if self.demodulate:
            weights = weights * torch.rsqrt((weights**2).sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
        x = x.reshape(1, n * channels, height, width)
        weights = weights.reshape(n * out_channels, channels, kernel, kernel)
        x = F.conv2d(x, weights, padding=(kernel - 1) // 2, groups=n)
        return x.reshape(n, out_channels, height, width)


class Blur(nn.Module):
    """[1, 2, 1] in both directions, channel by channel, with reflected border."""

    def forward(self, x: Tensor) -> Tensor:
        line = torch.tensor([1, 2, 1], dtype=x.dtype, device=x.device)
        kernel = (line[None, :] * line[:, None] / 16).expand(x.shape[1], 1, 3, 3)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel, groups=x.shape[1])


def upsample() -> nn.Upsample:
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)


class GeneratorBlock(nn.Module):
    """Features, the image so far (None at first) and style w to the next features and image."""

    def __init__(self, channels: int, out_channels: int, latent_dim: int, first: bool, last: bool) -> None:
        super().__init__()
        self.up = None if first else upsample()
        self.conv1 = ModulatedConv(channels, out_channels, 3, latent_dim)
        self.noise1 = nn.Linear(1, out_channels)
        self.conv2 = ModulatedConv(out_channels, out_channels, 3, latent_dim)
        self.noise2 = nn.Linear(1, out_channels)
        self.to_rgb = ModulatedConv(out_channels, 3, 1, latent_dim, demodulate=False)
        self.up_rgb = None if last else nn.Sequential(upsample(), Blur())

    def forward(self, x: Tensor, rgb: Tensor | None, w: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        if self.up is not None:
            x = self.up(x)
        noise = noise[:, : x.shape[2], : x.shape[3], None]
        noise1 = self.noise1(noise).permute(0, 3, 1, 2)
        noise2 = self.noise2(noise).permute(0, 3, 1, 2)
        x = F.leaky_relu(self.conv1(x, w) + noise1, 0.2)
        x = F.leaky_relu(self.conv2(x, w) + noise2, 0.2)
        image = self.to_rgb(x, w)
        if rgb is not None:
            image = image + rgb
        if self.up_rgb is not None:
            image = self.up_rgb(image)
        return x, image


class DiscriminatorBlock(nn.Module):
    """Residual block that halves the image, except in the last one."""

    def __init__(self, channels: int, out_channels: int, last: bool) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(channels, out_channels, 1, stride=1 if last else 2)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.blur = Blur()
        self.down = None if last else nn.Conv2d(out_channels, out_channels, 3, padding=1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        res = self.shortcut(x)
        x = F.leaky_relu(self.conv1(x), 0.2)
        x = F.leaky_relu(self.conv2(x), 0.2)
        if self.down is not None:
            x = self.down(self.blur(x))
        return (x + res) * (1 / math.sqrt(2))


class LinearAttention(nn.Module):
    """Softmax of queries over channels and of keys over pixels, heads of 64 channels."""

    def __init__(self, channels: int, heads: int, head_channels: int = 64) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * head_channels
        self.to_q = nn.Conv2d(channels, inner, 1, bias=False)
        depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.to_kv = nn.Sequential(depthwise, nn.Conv2d(channels, 2 * inner, 1, bias=False))
        self.to_out = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        k, v = self.to_kv(x).chunk(2, dim=1)
        q, k, v = (self.split_heads(part) for part in (self.to_q(x), k, v))
        q = q.softmax(dim=-1) * q.shape[-1] ** -0.5
        k = k.softmax(dim=-2)
        context = torch.einsum("bnd,bne->bde", k, v)
        out = torch.einsum("bnd,bde->bne", q, context)
        out = out.reshape(n, self.heads, height, width, -1).permute(0, 1, 4, 2, 3).reshape(n, -1, height, width)
        return self.to_out(F.gelu(out))

    def split_heads(self, x: Tensor) -> Tensor:
        """(n, heads * channels, height, width) to (n * heads, pixels, channels)."""
        n, inner, height, width = x.shape
        return x.reshape(n * self.heads, inner // self.heads, height * width).transpose(1, 2)


class ChannelNorm(nn.Module):
    """Each pixel's channels to mean 0 and standard deviation 1, then scaled and shifted."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(channels))
        self.b = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        std = torch.var(x, dim=1, unbiased=False, keepdim=True).sqrt()
        mean = torch.mean(x, dim=1, keepdim=True)
        return (x - mean) / (std + 1e-5) * self.g[None, :, None, None] + self.b[None, :, None, None]


class Residual(nn.Module):
    """x + f(normalised x)."""

    def __init__(self, channels: int, inner: nn.Module) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.norm(x)) + x


def attention_and_feed_forward(channels: int, heads: int) -> nn.Sequential:
    feed_forward = nn.Sequential(nn.Conv2d(channels, 2 * channels, 1), nn.LeakyReLU(0.2), nn.Conv2d(2 * channels, channels, 1))
    return nn.Sequential(Residual(channels, LinearAttention(channels, heads)), Residual(channels, feed_forward))


class Generator(nn.Module):
    """Styles (n, slots, latent_dim) and noise (n, size, size) to images; attention layers count from the last block."""

    def __init__(self, size: int, latent_dim: int, capacity: int, fmap_max: int, attention_layers: list[int], heads: int) -> None:
        super().__init__()
        blocks = int(math.log2(size) - 1)
        widths = [min(fmap_max, capacity * 2 ** (i + 1)) for i in range(blocks)][::-1]
        widths = [widths[0], *widths]
        self.constant = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        self.initial = nn.Conv2d(widths[0], widths[0], 3, padding=1)
        self.attention = nn.ModuleDict(
            {str(blocks - layer): attention_and_feed_forward(widths[blocks - layer], heads) for layer in attention_layers}
        )
        self.blocks = nn.ModuleList(
            GeneratorBlock(widths[i], widths[i + 1], latent_dim, first=i == 0, last=i == blocks - 1) for i in range(blocks)
        )

    def forward(self, styles: Tensor, noise: Tensor) -> Tensor:
        x = self.initial(self.constant.expand(len(styles), -1, -1, -1))
        rgb = None
        for i, (block, w) in enumerate(zip(self.blocks, styles.transpose(0, 1), strict=True)):
            if str(i) in self.attention:
                x = self.attention[str(i)](x)
            x, rgb = block(x, rgb, w, noise)
        return rgb


class StyleGAN2(nn.Module):
    """Mapping network and generator."""

    def __init__(self, size: int, latent_dim: int, capacity: int, fmap_max: int, attention_layers: list[int], heads: int) -> None:
        super().__init__()
        self.mapping = Mapping(latent_dim)
        self.generator = Generator(size, latent_dim, capacity, fmap_max, attention_layers, heads)

    def forward(self, z: Tensor, noise: Tensor) -> Tensor:
        slots = len(self.generator.blocks)
        return self.generator(self.mapping(z)[:, None, :].expand(-1, slots, -1), noise)

    def styles(self, part: Part) -> Tensor:
        """(n, slots, latent_dim): of z up to each image's cut, of the other latents from there on."""
        w, other = self.mapping(part.z), self.mapping(part.other)
        slots = range(len(self.generator.blocks))
        return torch.stack([torch.where((slot < part.cut)[:, None], w, other) for slot in slots], dim=1)


class Discriminator(nn.Module):
    """Images (n, 3, size, size) to scores (n,); attention layers count from the first block."""

    def __init__(
        self, size: int, capacity: int, fmap_max: int, attention_layers: list[int], heads: int, minibatch_stddev: int = 0
    ) -> None:
        super().__init__()
        blocks = int(math.log2(size))
        widths = [3] + [min(fmap_max, capacity * 4 * 2**i) for i in range(blocks)]
        self.blocks = nn.ModuleList(DiscriminatorBlock(widths[i], widths[i + 1], last=i == blocks - 1) for i in range(blocks))
        self.attention = nn.ModuleDict(
            {str(layer - 1): attention_and_feed_forward(widths[layer], heads) for layer in attention_layers}
        )
        self.group = minibatch_stddev
        self.final = nn.Conv2d(widths[-1] + (1 if self.group else 0), widths[-1], 3, padding=1)
        self.score = nn.Linear(4 * widths[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.blocks):
            x = block(x)
            if str(i) in self.attention:
                x = self.attention[str(i)](x)
        if self.group:
            x = torch.cat([with_deviation(group) for group in x.split(self.group)])
        x = self.final(x).reshape(len(x), -1)
        return self.score(x).squeeze(1)


def with_deviation(group: Tensor) -> Tensor:
    """A group's maps with one more channel: their standard deviation over the group, averaged over all else."""
    deviation = torch.sqrt(group.var(dim=0, correction=0) + 1e-8).mean()
    return torch.cat([group, deviation * torch.ones_like(group[:, :1])], dim=1)


class Training:
    """One step at a time: discriminator, generator, average."""

    def __init__(self, faces: StyleGAN2, discriminator: Discriminator) -> None:
        self.faces, self.discriminator = faces, discriminator
        self.average = copy.deepcopy(faces)
        self.generator_optimizer = torch.optim.Adam(faces.parameters(), lr=2e-4, betas=(0.5, 0.9))
        self.discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), lr=3e-4, betas=(0.5, 0.9))
        self.path_length_mean: Tensor | None = None

    def discriminator_step(self, parts: list[Part], penalised: bool) -> None:
        self.discriminator_optimizer.zero_grad()
        for part in parts:
            fake = self.faces.generator(self.faces.styles(part), part.noise).clone().detach()
            fake_scores = self.discriminator(fake)
            real = part.real.clone().requires_grad_()
            real_scores = self.discriminator(real)
            loss = (F.relu(1 + real_scores) + F.relu(1 - fake_scores)).mean()
            if penalised:
                loss = loss + gradient_penalty(real, real_scores)
            (loss / len(parts)).backward()
        self.discriminator_optimizer.step()

    def generator_step(self, parts: list[Part], regularised: bool) -> None:
        self.generator_optimizer.zero_grad()
        mean = 0.0
        for part in parts:
            styles = self.faces.styles(part)
            images = self.faces.generator(styles, part.noise)
            loss = self.discriminator(images).mean()
            if regularised:
                lengths = path_lengths(styles, images, part.direction)
                mean = mean + lengths.detach().mean() / len(parts)
                if self.path_length_mean is not None:
                    loss = loss + ((lengths - self.path_length_mean) ** 2).mean()
            (loss / len(parts)).backward()
        self.generator_optimizer.step()
        if regularised:
            known = self.path_length_mean
            self.path_length_mean = mean if known is None else known * 0.99 + mean * 0.01

    def average_step(self, beta: float = 0.995) -> None:
        for average, current in zip(self.average.parameters(), self.faces.parameters(), strict=True):
            average.data = average.data * beta + current.data * (1 - beta)


def gradient_penalty(images: Tensor, scores: Tensor, weight: float = 10.0) -> Tensor:
    """One-centred, on real images."""
    (gradients,) = torch.autograd.grad(
        outputs=scores, inputs=images, grad_outputs=torch.ones_like(scores), create_graph=True, retain_graph=True
    )
    gradients = gradients.reshape(len(images), -1)
    return weight * ((gradients.norm(2, dim=1) - 1) ** 2).mean()


def path_lengths(styles: Tensor, images: Tensor, direction: Tensor) -> Tensor:
    """One length (n,) an image."""
    outputs = (images * direction / math.sqrt(images.shape[2] * images.shape[3])).sum()
    (gradients,) = torch.autograd.grad(outputs=outputs, inputs=styles, create_graph=True, retain_graph=True)
    return (gradients**2).sum(dim=2).mean(dim=1).sqrt()
