"""A training with everything that several processes have to share."""

import numpy as np
import torch
from torch import nn

from stages.runtime import device, parallel
from stages.runtime.batches import Feed
from stages.runtime.seeding import seed_step
from stages.runtime.training import Trainable

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)
CPU = torch.device("cpu")


class Toy(Trainable):
    """Both batch norms, dropout of channels, drawn numbers, a fed batch in two parts, and a loss that is no mean over images."""

    def __init__(self, resident_gb: float = 1.0) -> None:
        super().__init__()
        seed_step(0, "init")
        self.net = nn.Sequential(
            *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.25)),
            *(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8)),
        )
        parallel.synchronised(self.net)
        self.register_buffer("average_loss", torch.zeros(()))
        self.size = parallel.share(8, "batch_size")
        self.feed = Feed(IMAGES, self.size, seed=0, name="toy", place=CPU, resident_gb=resident_gb, parts=2)
        self.optimizers = {"net": torch.optim.Adam(self.net.parameters(), 0.01)}

    def update(self, step):
        optimizer = self.optimizers["net"]
        optimizer.zero_grad()
        for part in range(2):
            images, index = self.feed.at(step, part)
            noise = parallel.randn(self.size, 8) + parallel.rand(self.size, 8) + parallel.randint(3, self.size, 8)
            codes = self.net(device.to_float(images)) - 0.1 * noise
            weights = 1 + index[:, None] / 40
            correlation = parallel.total(codes.T @ (codes * weights)) / (8 * 8)
            loss = codes.square().mean() + correlation.square().sum()
            (loss / 2).backward()
        parallel.average_gradients(self.net.parameters())
        optimizer.step()
        self.average_loss.lerp_(parallel.mean(loss), 0.1)
        return {"loss": loss.detach(), "first": index[0].double()}

    def snapshot(self):
        return {"weight": self.net[0].weight}
