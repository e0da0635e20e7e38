"""Domain-adversarial training (Ganin et al. 2016): codes good for the digit and useless for telling the domains apart."""

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.adaptation import losses, method
from stages.adaptation.networks import DANN


class Method(method.Method):
    """Three cross-entropies of weight 1 in one step: digit on source, domain on source, domain on target.

    Source and target pass through the networks one after the other, so that batch-norm sees one domain at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = DANN()

    def encode(self, images: Tensor) -> Tensor:
        return self.network.encoder(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.network.class_head(self.encode(images))

    def update(self, step: int) -> dict[str, Tensor]:
        strength = losses.reversal_strength(min(step / self.settings.lambda_steps, 1.0))
        images, labels = self.batches.labelled(step)
        target_images = self.batches.unlabelled(step)
        network = self.network
        with self.autocast():
            codes = network.encoder(torch.cat([images, target_images]), domains=2)
            logits = network.class_head(codes[: len(images)])
            domain_logits = network.domain_head(losses.reverse_gradient(codes, strength), domains=2)
        source_domain, target_domain = domain_logits.chunk(2)
        class_loss = F.cross_entropy(logits, labels)
        domain_loss = losses.domain_loss(source_domain, 0) + losses.domain_loss(target_domain, 1)
        self.descend(class_loss + domain_loss)
        return {
            "class_loss": class_loss.detach(),
            "domain_loss": domain_loss.detach(),
            "class_accuracy": (logits.argmax(1) == labels).float().mean(),
            "lambda": torch.tensor(strength),
        }
