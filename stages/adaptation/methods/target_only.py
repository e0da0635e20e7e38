"""Trained on labelled target images: the bound that adaptation works towards, and no method of adaptation itself.

It learns as source_only does; its `Batches` hold the target's labelled training images, all of them (the study's reference
used three quarters), without augmentation.
"""

from torch import Tensor
from torch.nn import functional as F

from stages.adaptation import method
from stages.adaptation.networks import Encoder, Head


class Method(method.Method):
    """DANN's encoder and class head under a cross-entropy."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.class_head = Head(10)

    def encode(self, images: Tensor) -> Tensor:
        return self.encoder(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.class_head(self.encoder(images))

    def update(self, step: int) -> dict[str, Tensor]:
        images, labels = self.batches.labelled()
        with self.autocast():
            logits = self(images)
        loss = F.cross_entropy(logits, labels)
        self.descend(loss)
        return {"class_loss": loss.detach(), "class_accuracy": (logits.argmax(1) == labels).float().mean()}
