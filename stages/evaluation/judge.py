"""The judge: a small classifier of real digits that says which digit a generated image shows."""

from collections.abc import Iterator

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


def predict(judge: nn.Module, images: np.ndarray, where: torch.device, batch_size: int = 1000) -> np.ndarray:
    """The likeliest class (n,) int64 of each uint8 image (n, 28, 28, 3), an array or a memory map that is read in blocks."""
    found = np.empty(len(images), np.int64)
    for rows, logits in _outputs(judge, images, where, batch_size):
        found[rows] = logits.argmax(dim=1).cpu().numpy()
    return found


def features(judge: Judge, images: np.ndarray, where: torch.device, batch_size: int = 1000) -> np.ndarray:
    """What the last layer decides by: (n, 64) float32, none below 0, of each image; images as for `predict`."""
    found = np.empty((len(images), judge.layers[-1].in_features), np.float32)
    for rows, values in _outputs(judge.layers[:-1], images, where, batch_size):
        found[rows] = values.cpu().numpy()
    return found


@torch.no_grad()
def _outputs(network: nn.Module, images: np.ndarray, where: torch.device, batch_size: int) -> Iterator[tuple[slice, Tensor]]:
    """What a network makes of the images, the next `batch_size` at a time, and which they are.

    Whoever keeps it does so in one array for all: many small ones would part the memory that is freed in between for good.
    """
    network.eval()
    for first in range(0, len(images), batch_size):
        rows = slice(first, first + batch_size)
        yield rows, network(to_float(torch.from_numpy(np.array(images[rows])).to(where)))
