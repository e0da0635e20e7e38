"""Domain separation networks (Bousmalis et al. 2016): a shared code for the digit, private codes for what is left of each image.

The form is that of the implementation which the study names: a domain-adversarial similarity loss that starts late and whose
gradient reversal rises from there, codes normalised but not centred, scale-invariant MSE over the whole batch. The authors'
own code centres the codes, takes the MSE per image, starts all terms together and reverses without a ramp.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.adaptation import losses, method
from stages.adaptation.networks import DSN


class Method(method.Method):
    """Digit, reconstruction, difference and similarity losses in one joint step; the shared encoder alone classifies."""

    def __init__(self) -> None:
        super().__init__()
        self.network = DSN()

    def encode(self, images: Tensor) -> Tensor:
        return self.network.shared(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.network.class_head(self.encode(images))

    def update(self, step: int) -> dict[str, Tensor]:
        settings, network = self.settings, self.network
        strength = self.strength(step)
        images, labels = self.batches.labelled(step)
        target_images = self.batches.unlabelled(step)
        with self.autocast():
            both = torch.cat([images, target_images])
            shared = network.shared(both, domains=2)
            private = torch.cat([network.private_source(images), network.private_target(target_images)])
            reconstructions = network.decoder(shared + private, domains=2)
            logits = network.class_head(shared[: len(images)])
            similarity = self._similarity(shared, strength)
        class_loss = F.cross_entropy(logits, labels)
        reconstruction = sum(map(losses.scale_invariant_mse, both.chunk(2), reconstructions.chunk(2)))
        difference = sum(map(losses.difference_loss, private.chunk(2), shared.chunk(2)))
        self.optimizers["adam"].param_groups[0]["lr"] = self.lr(step)
        self.descend(
            class_loss
            + settings.reconstruction_weight * reconstruction
            + settings.difference_weight * difference
            + settings.similarity_weight * similarity
        )
        return {
            "class_loss": class_loss.detach(),
            "reconstruction_loss": reconstruction.detach(),
            "difference_loss": difference.detach(),
            "similarity_loss": similarity.detach(),
            "class_accuracy": (logits.argmax(1) == labels).float().mean(),
            "lambda": torch.tensor(strength or 0.0),
        }

    def strength(self, step: int) -> float | None:
        """Gradient reversal's lambda, which rises from step similarity_start to lambda_steps; None before it starts."""
        start, end = self.settings.similarity_start, self.settings.lambda_steps
        if step <= start:
            return None
        return losses.reversal_strength(min((step - start) / (end - start), 1.0))

    def lr(self, step: int) -> float:
        """The learning rate of a step: continuous exponential decay."""
        return self.common.lr * self.settings.lr_decay ** (step / self.settings.lr_decay_steps)

    def _similarity(self, shared: Tensor, strength: float | None) -> Tensor:
        """Sum of both domains' losses; 0 before it starts, when the domain head neither learns nor gathers statistics."""
        if strength is None:
            return torch.zeros((), device=shared.device)
        logits = self.network.domain_head(losses.reverse_gradient(shared, strength), domains=2)
        return sum(losses.domain_loss(part, domain) for domain, part in enumerate(logits.chunk(2)))
