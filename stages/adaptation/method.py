"""What all methods have in common: the interface that training, evaluation and embedding use, and the way to find one by name."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adam

from stages.runtime import device
from stages.runtime.errors import UserError, not_among
from stages.runtime.schema import Common, MethodName
from stages.runtime.training import Trainable

METHODS = (*get_args(MethodName), "target_only")


@dataclass
class Batches:
    """Training images on the device, from which each step draws with torch's global generator.

    `images` (n, 28, 28, 3) uint8 with `labels` (n,) int64, and `target_images` (m, 28, 28, 3) uint8 without, or None for a
    method that does without a target; `augment` is applied to the labelled images.
    """

    images: Tensor
    labels: Tensor
    target_images: Tensor | None
    size: int
    augment: Callable[[Tensor], Tensor]

    def labelled(self) -> tuple[Tensor, Tensor]:
        """Images (size, 3, 28, 28) in [-1, 1] and labels (size,)."""
        index = self._draw(self.images)
        return self.augment(device.take(self.images, index)), self.labels[index]

    def target(self) -> Tensor:
        """Unlabelled target images (size, 3, 28, 28) in [-1, 1]."""
        return device.take(self.target_images, self._draw(self.target_images))

    def _draw(self, images: Tensor) -> Tensor:
        return torch.randint(len(images), (self.size,), device=images.device)


class Method(Trainable):
    """A way to train a digit classifier for a target domain.

    A subclass makes its networks in `__init__`, says in `forward` and `embed` how images become logits and codes, and in
    `update` how one step learns. `start` gives it what it needs to learn; a classifier that only predicts never calls it.
    """

    batches: Batches
    common: Common
    settings: Any

    def start(self, batches: Batches, common: Common, settings: Any) -> None:
        """Take training data, the params of all methods and those of this one, and make the optimiser."""
        self.batches, self.common, self.settings = batches, common, settings
        betas = (common.beta1, common.beta2)
        self.optimizers = {
            "adam": Adam(self.parameters(), common.lr, betas, weight_decay=getattr(settings, "weight_decay", 0.0), fused=True)
        }
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """Digit logits (n, 10) of images (n, 3, 28, 28) in [-1, 1], in the current mode."""
        raise NotImplementedError

    def encode(self, images: Tensor) -> Tensor:
        """Codes (n, 512) that the class head reads, in the current mode."""
        raise NotImplementedError

    def predict(self, images: Tensor) -> Tensor:
        """Digit logits (n, 10) of images (n, 3, 28, 28) in [-1, 1], in evaluation mode."""
        return self._evaluating(self.forward, images)

    def embed(self, images: Tensor) -> Tensor:
        """Codes (n, 512), for DSN the shared ones, of images (n, 3, 28, 28) in [-1, 1], in evaluation mode."""
        return self._evaluating(self.encode, images)

    def snapshot(self) -> dict[str, Tensor]:
        """All weights and buffers."""
        return self.state_dict()

    def autocast(self) -> torch.autocast:
        """The context of forward passes in training, in the precision of the params."""
        return device.autocast(self.batches.images.device, self.common.precision)

    def descend(self, loss: Tensor) -> None:
        """One step of the optimiser down the gradient of `loss`."""
        optimizer = self.optimizers["adam"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def _evaluating(self, function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        training = self.training
        self.eval()
        try:
            return function(images)
        finally:
            self.train(training)


def named(name: str) -> type[Method]:
    """The class `Method` of stages/adaptation/methods/NAME.py; UserError for a name that the params don't admit."""
    if name not in METHODS:
        raise UserError(f"there is no adaptation method {not_among(name, METHODS)}")
    return import_module(f"stages.adaptation.methods.{name}").Method


def in_batches(function: Callable[[Tensor], Tensor], images: np.ndarray, size: int = 100) -> Tensor:
    """`function` (a method's predict or embed) of all images (n, 28, 28, 3) uint8, on the CPU, in order."""
    where = device.pick()
    resident = device.resident(images, where)
    parts = torch.arange(len(images), device=where).split(size)
    return torch.cat([function(device.take(resident, part)).cpu() for part in parts])
