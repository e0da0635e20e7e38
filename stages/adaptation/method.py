"""What all methods have in common: the interface that training, evaluation and embedding use, and the way to find one by name."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam

from stages.adaptation.networks import Decoder, Dropout, Encoder, Head
from stages.runtime import device, parallel
from stages.runtime.batches import Feed
from stages.runtime.errors import UserError, not_among
from stages.runtime.schema import Common, MethodName
from stages.runtime.training import Trainable

METHODS = (*get_args(MethodName), "target_only")


@dataclass
class Batches:
    """Training images of both domains, and what they are made of in each step.

    `source` gives images (size, 28, 28, 3) uint8, whose `labels` (n,) int64 lie on the device; `target` gives images without
    labels, or is None for a method that does without a target; `augment` is applied to the labelled images.
    """

    source: Feed
    labels: Tensor
    target: Feed | None
    augment: Callable[[Tensor], Tensor]

    def labelled(self, step: int) -> tuple[Tensor, Tensor]:
        """Images (size, 3, 28, 28) in [-1, 1] and labels (size,)."""
        images, index = self.source.at(step)
        return self.augment(device.to_float(images)), self.labels[index]

    def unlabelled(self, step: int) -> Tensor:
        """Target images (size, 3, 28, 28) in [-1, 1]."""
        return device.to_float(self.target.at(step)[0])


class Method(Trainable):
    """A way to train a digit classifier for a target domain.

    A subclass makes its networks in `__init__`, says in `forward` and `embed` how images become logits and codes, and in
    `update` how one step learns. `start` gives it what it needs to learn; a classifier that only predicts never calls it.
    """

    batches: Batches
    common: Common
    settings: Any

    def start(self, batches: Batches, common: Common, settings: Any, *, compiled: bool = False) -> None:
        """Take training data, the params of all methods and those of this one, and make the optimiser."""
        self.batches, self.common, self.settings = batches, common, settings
        parallel.synchronised(self)
        for module in self.modules():
            if isinstance(module, Dropout):
                module.uniform = parallel.rand
        if compiled:
            for module in self.modules():
                if isinstance(module, (Encoder, Decoder, Head)):
                    module.compile()
        betas = (common.beta1, common.beta2)
        self.optimizers = {
            "adam": Adam(self.learned(), common.lr, betas, weight_decay=getattr(settings, "weight_decay", 0.0), fused=True)
        }
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """Digit logits (n, 10) of images (n, 3, 28, 28) in [-1, 1], in the current mode."""
        raise NotImplementedError

    def encode(self, images: Tensor) -> Tensor:
        """Codes (n, features) that the class head reads, in the current mode: mostly 512 features."""
        raise NotImplementedError

    def predict(self, images: Tensor) -> Tensor:
        """Digit logits (n, 10) of images (n, 3, 28, 28) in [-1, 1], in evaluation mode."""
        return self._evaluating(self.forward, images)

    def embed(self, images: Tensor) -> Tensor:
        """Codes (n, features), for DSN the shared ones, of images (n, 3, 28, 28) in [-1, 1], in evaluation mode."""
        return self._evaluating(self.encode, images)

    def learned(self) -> list[nn.Parameter]:
        """The parameters that the optimiser changes."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def snapshot(self) -> dict[str, Tensor]:
        """All weights and buffers."""
        return self.state_dict()

    def autocast(self) -> torch.autocast:
        """The context of forward passes in training, in the precision of the params."""
        return device.autocast(self.batches.labels.device, self.common.precision)

    def descend(self, loss: Tensor) -> None:
        """One step of the optimiser down the gradient of `loss`."""
        optimizer = self.optimizers["adam"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parallel.average_gradients(self.learned())
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
    """`function` (a method's predict or embed) of all images (n, 28, 28, 3) uint8, on the CPU, in order.

    No more than `size` images are in memory at a time, whatever a memory map holds.
    """
    where = device.pick()
    found: Tensor | None = None
    for first in range(0, len(images), size):
        part = function(device.to_float(device.resident(images[first : first + size], where)))
        if found is None:
            # One block for all: a small one of each batch would lie between large ones that are freed, and part them for good.
            found = part.new_empty((len(images), *part.shape[1:]), device="cpu")
        found[first : first + size] = part
    return found
