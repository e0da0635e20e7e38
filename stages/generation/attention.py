"""Attention at a cost linear in the pixels, after Shen et al., "Efficient Attention" (2021), as StyleGAN2's networks have it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.generation.convolution import Conv2d


class LinearAttention(nn.Module):
    """Attention at a cost linear in the pixels: queries normalised over channels, keys over pixels (Shen et al., eq. 4)."""

    def __init__(self, channels: int, heads: int, head_channels: int = 64) -> None:
        super().__init__()
        self.heads, inner = heads, heads * head_channels
        self.to_q = Conv2d(channels, inner, 1, bias=False)
        self.to_kv = nn.Sequential(
            Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            Conv2d(channels, 2 * inner, 1, bias=False),
        )
        self.to_out = Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, height, width) to the same shape."""
        n, _, height, width = x.shape
        x, near = x.flatten(2), self.to_kv[0](x).flatten(2)
        to_k, to_v = self.to_kv[1].weight.flatten(1).chunk(2)
        q = _softmax(self._by_head(_product(self.to_q.weight.flatten(1), x)), dim=1)
        k = _softmax(_product(to_k, near), dim=2)
        # k^T v with v = to_v near: summed over the pixels first, so that v is never made.
        context = self._by_head(k @ near.transpose(1, 2)) @ to_v.unflatten(0, (self.heads, -1)).transpose(1, 2).repeat(n, 1, 1)
        out = (context * q.shape[1] ** -0.5).transpose(1, 2) @ q
        # Pixel by pixel, and in the products' type: all that follows would otherwise run in the wrong order and in fp32.
        out = torch.bmm(
            F.gelu(out.view(n, -1, height * width)).transpose(1, 2), self.to_out.weight.flatten(1).T.expand(n, -1, -1)
        )
        return (out + self.to_out.bias.to(out.dtype)).view(n, height, width, -1).permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        return f"heads={self.heads}"

    def _by_head(self, x: Tensor) -> Tensor:
        """(n, heads * head_channels, width) to (n * heads, head_channels, width)."""
        return x.view(len(x) * self.heads, -1, x.shape[2])


def _product(matrix: Tensor, x: Tensor) -> Tensor:
    """A matrix (a, b) times each of x (n, b, c), in contiguous order (n, a, c), which `matrix @ x` would not give."""
    return torch.bmm(matrix.expand(len(x), -1, -1), x)


def _softmax(x: Tensor, dim: int) -> Tensor:
    """Softmax in the type of x; autocast would widen what the next matrix product narrows again."""
    with torch.autocast(x.device.type, enabled=False):
        return x.softmax(dim)


class ChannelNorm(nn.Module):
    """Each pixel's channels to mean 0 and standard deviation 1, then scaled and shifted."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(channels))
        self.b = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, height, width) to the same shape and type; in fp32 on the way."""
        dtype, x = x.dtype, x.float().movedim(1, -1)
        with torch.autocast(x.device.type, enabled=False):
            # Means as products with a matrix: several times faster, backward above all, than reductions of so few channels.
            mean = x.new_full((len(self.g), len(self.g)), 1 / len(self.g))
            x = x - x @ mean
            x = torch.addcmul(self.b, x / ((x.square() @ mean).sqrt() + 1e-5), self.g)
        return x.to(dtype).movedim(-1, 1)

    def extra_repr(self) -> str:
        return str(len(self.g))


class Residual(nn.Module):
    """x + f(normalised x)."""

    def __init__(self, channels: int, inner: nn.Module) -> None:
        super().__init__()
        self.norm, self.inner = ChannelNorm(channels), inner

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, height, width) to the same shape."""
        return x + self.inner(self.norm(x))


def attention(channels: int, heads: int) -> nn.Sequential:
    """A layer of linear attention and one of feed-forward, both residual."""
    feed_forward = nn.Sequential(Conv2d(channels, 2 * channels, 1), nn.LeakyReLU(0.2), Conv2d(2 * channels, channels, 1))
    return nn.Sequential(Residual(channels, LinearAttention(channels, heads)), Residual(channels, feed_forward))
