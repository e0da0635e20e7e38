"""The networks of DANN (Ganin et al. 2016) and DSN (Bousmalis et al. 2016) for 28x28 colour digits."""

import torch
from torch import Tensor, nn

CODE = 512
HIDDEN = 100


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
            nn.Dropout2d(0.5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(50 * 4 * 4, CODE),
            nn.BatchNorm1d(CODE),
            nn.Dropout(0.5),
            nn.ReLU(),
        )


class Head(nn.Sequential):
    """Codes (n, 512) to logits (n, classes): 10 for the digit, 2 for the domain."""

    def __init__(self, classes: int) -> None:
        super().__init__(nn.Linear(CODE, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes))

    def forward(self, codes: Tensor) -> Tensor:
        """Logits as float32 also under autocast: their losses need the digits."""
        return super().forward(codes).float()


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

    def forward(self, codes: Tensor) -> Tensor:
        """Images as float32 also under autocast."""
        return super().forward(codes).float()


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


def _widened(channels: int, out: int, kernel: int, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    return [nn.ConvTranspose2d(channels, out, kernel, stride, padding, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
