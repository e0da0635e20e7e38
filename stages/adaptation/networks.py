"""The networks of DANN (Ganin et al. 2016) and DSN (Bousmalis et al. 2016) for 28x28 colour digits."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from stages.adaptation.domainwise import convolved, normalised

CODE = 512
HIDDEN = 100


class Dropout(nn.Dropout):
    """Dropout (Srivastava et al. 2014) of single codes (n, channels), or of whole channels of features (n, channels, ...).

    `uniform` draws the numbers (n, channels) that decide; trainings in several processes replace it.
    """

    uniform: Callable[..., Tensor] = staticmethod(torch.rand)

    def forward(self, features: Tensor, domains: int = 1) -> Tensor:
        """The features, dropped out one domain after the other where the batch consists of several."""
        if not self.training or self.p == 0:
            return features
        count, channels = len(features) // domains, features.shape[1]
        drawn = [self.uniform(count, channels, device=features.device) for _ in range(domains)]
        kept = (torch.cat(drawn) >= self.p).to(features.dtype) / (1 - self.p)
        return features * kept.view(*kept.shape, *[1] * (features.dim() - 2))


class Encoder(nn.Sequential):
    """Images (n, 3, 28, 28) in [-1, 1] to codes (n, 512), not negative."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 64, 5),
            nn.BatchNorm2d(64),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(64, 50, 5),
            nn.BatchNorm2d(50),
            Dropout(0.5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(50 * 4 * 4, CODE),
            nn.BatchNorm1d(CODE),
            Dropout(0.5),
            nn.ReLU(),
        )

    def forward(self, images: Tensor, domains: int = 1) -> Tensor:
        """The codes; in training batch norm sees each of the `domains` equal parts of the batch by itself.

        The layers in their order, but for dropout of whole channels, which may as well come after pooling and ReLU.
        """
        convolution, norm, _, _, second, second_norm, drop_channels, _, _, _, linear, code_norm, drop, _ = self
        features = convolved(convolution, norm, images, domains)
        features = drop_channels(convolved(second, second_norm, features, domains), domains)
        codes = linear(features.flatten(1))
        return F.relu(drop(normalised(code_norm, codes, domains), domains), inplace=True)


class Head(nn.Sequential):
    """Codes (n, 512) to logits (n, classes): 10 for the digit, 2 for the domain."""

    def __init__(self, classes: int) -> None:
        super().__init__(nn.Linear(CODE, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes))

    def forward(self, codes: Tensor, domains: int = 1) -> Tensor:
        """Logits as float32, for the losses, also under autocast, whose digits they then have. For `domains` see Encoder."""
        hidden, norm, _, last = self
        return last(F.relu(normalised(norm, hidden(codes), domains), inplace=True)).float()


class Decoder(nn.Sequential):
    """Codes (n, 512), shared plus private, to images (n, 3, 28, 28) in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__(
            nn.Linear(CODE, 50 * 4 * 4),
            nn.ReLU(),
            nn.Unflatten(1, (50, 4, 4)),
            *_widened(50, 64, 4, stride=2, padding=1),
            *_widened(64, 64, 5),
            *_widened(64, 64, 4, stride=2, padding=1),
            nn.ConvTranspose2d(64, 3, 5, bias=False),
            nn.Tanh(),
        )

    def forward(self, codes: Tensor, domains: int = 1) -> Tensor:
        """Images as float32 also under autocast. For `domains` see Encoder."""
        *layers, last, _ = self
        features = codes
        for layer in layers:
            features = normalised(layer, features, domains) if isinstance(layer, _BatchNorm) else layer(features)
        return _by_rows(features, last.weight).tanh()


class DANN(nn.Module):
    """Encoder, class head and domain head; the domain head is to be fed with reversed gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.class_head = Head(10)
        self.domain_head = Head(2)


class DSN(nn.Module):
    """Encoders for what the domains share and for what each has to itself, a decoder, and the heads on the shared code."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = Encoder()
        self.private_source = Encoder()
        self.private_target = Encoder()
        self.decoder = Decoder()
        self.class_head = Head(10)
        self.domain_head = Head(2)
        self.apply(initialize)


@torch.no_grad()
def initialize(module: nn.Module) -> None:
    """DSN's own start: convolution weights Xavier-uniform, batch-norm weights N(1, 0.02) and biases 0; the rest as in PyTorch."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.xavier_uniform_(module.weight)
    elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def _by_rows(features: Tensor, kernel: Tensor) -> Tensor:
    """Transposed convolution, of stride 1 and unpadded, of features (n, channels, ...) to few channels, float32.

    Processors compute sixteen channels of a convolution in the time of three. So each row of the kernel (channels, out, k, k)
    becomes `out` channels of a convolution along the rows of the features, whose results are added row by row.
    """
    side = kernel.shape[2]
    rows = F.conv_transpose2d(features, kernel.transpose(1, 2).flatten(1, 2).unsqueeze(2)).float()
    return sum(F.pad(part, (0, 0, row, side - 1 - row)) for row, part in enumerate(rows.chunk(side, dim=1)))


def _widened(channels: int, out: int, kernel: int, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    return [nn.ConvTranspose2d(channels, out, kernel, stride, padding, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
