"""The judge: a small classifier of real digits that says which digit a generated image shows."""

import torch
from torch import Tensor, nn


class Judge(nn.Module):
    """LeNet: images (n, 3, 28, 28) in [-1, 1] to class logits (n, 10); 44,674 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(256, 128),
            nn.ReLU(),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


@torch.no_grad()
def predict(judge: nn.Module, images: Tensor, batch_size: int = 1000) -> Tensor:
    """The likeliest class (n,) of each uint8 image (n, 28, 28, 3), on the images' device."""
    judge.eval()
    return torch.cat([judge(part.permute(0, 3, 1, 2) / 127.5 - 1).argmax(dim=1) for part in images.split(batch_size)])
