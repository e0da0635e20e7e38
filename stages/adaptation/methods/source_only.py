"""Trained on labelled source images alone: what adaptation has to beat.

With `lambda_steps: null` the class loss is the only one. With a number it is what the study's reference calls training on
the source: DANN (Ganin et al. 2016) whose target terms are left out. The domain head then learns to call every image a source
image, and its reversed gradient reaches the encoder.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.adaptation import losses, method
from stages.adaptation.networks import Encoder, Head
from stages.runtime import device
from stages.runtime.schema import Common, SourceOnly


class Method(method.Method):
    """DANN's encoder and class head under a cross-entropy; DANN's domain head beside them where the params ask for its loss."""

    domain_head: Head | None

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.class_head = Head(10)
        self.register_module("domain_head", None)

    def start(self, batches: method.Batches, common: Common, settings: SourceOnly, *, compiled: bool = False) -> None:
        if settings.lambda_steps is not None:
            self._add_domain_head()
        super().start(batches, common, settings, compiled=compiled)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        """Weights of either kind: only those that a domain loss helped to make hold a domain head."""
        if any(name.startswith("domain_head.") for name in state_dict):
            self._add_domain_head()
        return super().load_state_dict(state_dict, *args, **options)

    def encode(self, images: Tensor) -> Tensor:
        return self.encoder(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.class_head(self.encoder(images))

    def update(self, step: int) -> dict[str, Tensor]:
        images, labels = self.batches.labelled(step)
        with self.autocast():
            codes = self.encoder(images)
            logits = self.class_head(codes)
        class_loss = F.cross_entropy(logits, labels)
        accuracy = (logits.argmax(1) == labels).float().mean()
        if self.domain_head is None:
            self.descend(class_loss)
            return {"class_loss": class_loss.detach(), "class_accuracy": accuracy}
        strength = losses.reversal_strength(min(step / self.settings.lambda_steps, 1.0))
        with self.autocast():
            domain = self.domain_head(losses.reverse_gradient(codes, strength))
        domain_loss = losses.domain_loss(domain, 0)
        self.descend(class_loss + domain_loss)
        return {
            "class_loss": class_loss.detach(),
            "domain_loss": domain_loss.detach(),
            "class_accuracy": accuracy,
            "lambda": torch.tensor(strength),
        }

    def _add_domain_head(self) -> None:
        """With it, encoder and heads are DANN's whole network: the same parameters, drawn in the same order."""
        if self.domain_head is None:
            self.domain_head = device.place(Head(2), next(self.parameters()).device)
