"""The judge: a small classifier of real digits that says which digit a generated image shows."""

import numpy as np
import torch
from torch import Tensor, nn

from stages.runtime.device import to_float


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
def predict(judge: nn.Module, images: np.ndarray, where: torch.device, batch_size: int = 1000) -> np.ndarray:
    """The likeliest class (n,) int64 of each uint8 image (n, 28, 28, 3), an array or a memory map that is read in blocks."""
    judge.eval()
    blocks = (np.array(images[first : first + batch_size]) for first in range(0, len(images), batch_size))
    return np.concatenate([judge(to_float(torch.from_numpy(block).to(where))).argmax(dim=1).cpu().numpy() for block in blocks])
