"""ACGAN (Odena, Olah, Shlens 2017): a generator that is told the class, a discriminator that also has to tell it.

The layers are those of PyTorch-GAN's acgan.py. Images are (n, 3, 32, 32) in [-1, 1], labels (n,) int64 in 0..9.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 10
LATENT = 100
SIDE = 32
LEAK = 0.2


class EnlargingConv2d(nn.Conv2d):
    """Nearest-neighbour enlargement x2, then a 3x3 convolution with zero padding.

    Each enlarged pixel stands for a 2x2 square, so that the nine taps fall on only four pixels of the small image: one
    transposed convolution by a 4x4 kernel of sums of taps gives the same result with 4/9 of the products. Where a processor
    multiplies whole tiles of bfloat16, products are so cheap that the two plain steps are faster. Its parameters are the plain
    3x3 convolution's.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__(channels, outputs, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        if images.dtype == torch.bfloat16 and images.device.type == "cpu" and _multiplies_tiles():
            return super().forward(F.interpolate(images, scale_factor=2))
        kernel = self.weight.flip(2, 3)
        for below in ((0, 0, 0, 1), (0, 1, 0, 0)):
            above = (below[1], 0, below[3], 0)
            kernel = F.pad(kernel, below) + F.pad(kernel, above)
        # The bias is added apart: with it, a CPU's backward pass in bfloat16 takes a quarter to a third longer.
        enlarged = F.conv_transpose2d(images, kernel.transpose(0, 1), stride=2, padding=1)
        return enlarged.add_(self.bias.to(enlarged.dtype)[:, None, None])


class RowwiseConv2d(nn.Conv2d):
    """A 3x3 convolution with zero padding to a few channels.

    Processors compute sixteen channels of a convolution in the time of three. So the three rows of the kernel become three
    times as many channels of a convolution along the rows of the images, whose results are added row by row, in float32.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__(channels, outputs, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Float32, also under autocast."""
        height = images.shape[2]
        kernel = self.weight.permute(2, 0, 1, 3).flatten(0, 1).unsqueeze(2)
        rows = F.pad(F.conv2d(images, kernel, padding=(0, 1)).float(), (0, 0, 1, 1))
        parts = (part[:, :, first : first + height] for first, part in enumerate(rows.chunk(3, dim=1)))
        return sum(parts) + self.bias[:, None, None]


class Generator(nn.Module):
    """Latents (n, 100) and labels (n,) to images (n, 3, 32, 32) in [-1, 1]; 1,052,139 parameters.

    `batch_norm_eps` belongs to the two later batch norms; the first keeps 1e-5, as in the original.
    """

    def __init__(self, batch_norm_eps: float = 1e-5) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, LATENT)
        self.linear = nn.Linear(LATENT, 128 * 8 * 8)
        self.norm = nn.BatchNorm2d(128)
        self.blocks = nn.Sequential(
            EnlargingConv2d(128, 128),
            nn.BatchNorm2d(128, eps=batch_norm_eps),
            nn.LeakyReLU(LEAK, inplace=True),
            EnlargingConv2d(128, 64),
            nn.BatchNorm2d(64, eps=batch_norm_eps),
            nn.LeakyReLU(LEAK, inplace=True),
            RowwiseConv2d(64, 3),
            nn.Tanh(),
        )
        initialize(self)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        planes = self.linear(self.embedding(labels) * latents).view(-1, 128, 8, 8)
        return self.blocks(self.norm(planes.contiguous(memory_format=torch.channels_last)))


class Discriminator(nn.Module):
    """Images (n, 3, 32, 32) to two logits: real or fake (n,), and the class (n, 10); 103,531 parameters.

    The sigmoid and the softmax behind these heads are part of the objective, see `adversarial_loss` and `class_loss`.
    """

    def __init__(self, batch_norm_eps: float = 1e-5) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 128)
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.LeakyReLU(LEAK, inplace=True), nn.Dropout2d(0.25)]
            if index:
                layers.append(nn.BatchNorm2d(after, eps=batch_norm_eps))
        self.blocks = nn.Sequential(*layers, nn.Flatten())
        self.real = nn.Linear(128 * 2 * 2, 1)
        self.kind = nn.Linear(128 * 2 * 2, CLASSES)
        initialize(self)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        code = self.blocks(images)
        return self.real(code).squeeze(1), self.kind(code)


def initialize(module: nn.Module) -> None:
    """Convolution weights N(0, 0.02), batch-norm weights N(1, 0.02) and biases 0; all else keeps PyTorch's default."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight, 0.0, 0.02)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, 0.02)
            nn.init.zeros_(part.bias)


def _multiplies_tiles() -> bool:
    """Whether the processor has instructions for products of bfloat16 matrices (Intel's AMX)."""
    return torch.cpu.get_capabilities().get("amx_bf16", False)


def adversarial_loss(logits: Tensor, real: bool) -> Tensor:
    """Binary cross-entropy of real-or-fake logits (n,) against `real`, from the logits, in fp32.

    The same number as that of a sigmoid head, without its overflow; both objectives share it.
    """
    return F.softplus(-logits.float() if real else logits.float()).mean()


def class_loss(logits: Tensor, labels: Tensor, objective: str) -> Tensor:
    """Cross-entropy of class logits (n, 10), in fp32.

    `logits`: the ordinary one, minimum 0. `report`: the head's softmax is softmaxed once more by the loss, so that it can't
    fall below log(e + 9) - 1 = 1.461 and its gradient fades as the head grows sure.
    """
    logits = logits.float()
    return F.cross_entropy(logits.softmax(dim=1) if objective == "report" else logits, labels)
