"""Trained on labelled source images alone: what adaptation has to beat.

The study's reference keeps DANN's domain head and its loss on source images, without gradient reversal from a target; here
the class loss is the only one.
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
