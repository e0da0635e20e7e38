"""Train ACGAN on labelled digits.

Reads data/prepared/DATASET.npz (28x28x3) and leaves models/acgan-SEED/weights.safetensors (generator, its moving average,
discriminator), results/acgan-SEED/snapshots.npz (10x10 images of fixed latents, one class a row, from the average) and
results/acgan-SEED/history.csv (losses, and the discriminator's class accuracy on real and on generated images).

    python -m stages.generation.train_acgan 0
"""

import copy
from typing import Annotated

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adam

from stages.generation.acgan import CLASSES, LATENT, Discriminator, Generator, adversarial_loss, class_loss
from stages.generation.acgan_images import COLUMNS, FITS, STORED_SIDE, render
from stages.generation.augment import augment
from stages.runtime import device, parallel, params, schema
from stages.runtime.batches import Feed, resident_gb
from stages.runtime.images import load_digits, save_arrays
from stages.runtime.resume import ResumeState
from stages.runtime.schedule import set_lr
from stages.runtime.seeding import seed_step
from stages.runtime.stage import run
from stages.runtime.training import Trainable, train, write_history
from stages.runtime.weights import save_weights


def main(seed: Annotated[int, "seed of the run", "acgan.seeds"]) -> None:
    dataset, settings, training = params.read("acgan.dataset", "acgan.train", "training")
    place = parallel.start(training)
    name, path = f"acgan-{seed}", f"data/prepared/{dataset}.npz"
    images, labels = load_digits(path, "train")
    state = ResumeState(name, [settings, training], [path])
    model = ACGAN(images, labels, settings, seed, place, training)
    trained = train(
        model,
        run=name,
        seed=seed,
        steps=settings.steps,
        images_per_step=settings.batch_size,
        snapshots=settings.snapshots,
        state=state,
    )
    if trained is None:
        return
    form = {"batch_norm_eps": settings.batch_norm_eps, "fit": settings.fit}
    save_weights(f"models/{name}/weights.safetensors", model.state_dict(), form)
    save_arrays(f"results/{name}/snapshots.npz", **stacked(trained.snapshots))
    write_history(f"results/{name}/history.csv", trained.history)
    state.clear()


class ACGAN(Trainable):
    """Generator, its moving average and discriminator, trained on uint8 images (n, 28, 28, 3) with labels (n,)."""

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        settings: schema.ACGANTrain,
        seed: int,
        where: torch.device,
        training: schema.Training,
    ) -> None:
        super().__init__()
        seed_step(seed, "networks")
        self.settings, self.device = settings, where
        self.generator = device.place(Generator(settings.batch_norm_eps), where)
        self.discriminator = device.place(Discriminator(settings.batch_norm_eps), where)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.followed = list(zip(self.average.state_dict().values(), self.generator.state_dict().values(), strict=True))
        self.fixed_latents = torch.randn(CLASSES * COLUMNS, LATENT).to(where)
        self.size = parallel.share(settings.batch_size, "acgan.train.batch_size")
        self.feed = Feed(images, self.size, seed=seed, name="digits", place=where, resident_gb=resident_gb())
        self.labels = torch.from_numpy(labels).to(where)
        for network in (self.generator, self.discriminator):
            parallel.synchronised(network)
            if training.compile:
                # In place: parameters and buffers keep their names.
                network.compile()
        self.optimizers = {
            "generator": self._adam(self.generator, settings.lr_generator),
            "discriminator": self._adam(self.discriminator, settings.lr_discriminator),
        }

    def update(self, step: int) -> dict[str, Tensor]:
        """One step of the generator, then one of the discriminator on the same generated images."""
        settings = self.settings
        for name, lr in (("generator", settings.lr_generator), ("discriminator", settings.lr_discriminator)):
            set_lr(self.optimizers[name], lr, step, settings.steps, settings.lr_decay)
        images, index = self.feed.at(step)
        latents = parallel.randn(self.size, LATENT, device=self.device)
        labels = parallel.randint(CLASSES, self.size, device=self.device)
        return self.step(FITS[settings.fit](images), self.labels[index], latents, labels)

    def step(self, real: Tensor, real_labels: Tensor, latents: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """`update` on real images (n, 3, 32, 32) in [-1, 1] and their labels, latents (n, 100) and the labels wanted of them."""
        with device.autocast(self.device, self.settings.precision):
            fakes, generator_loss = self._update_generator(latents, labels)
            discriminator_loss, real_logits, fake_logits = self._update_discriminator(real, real_labels, fakes, labels)
        self._follow()
        return {
            "loss_generator": generator_loss,
            "loss_discriminator": discriminator_loss,
            "accuracy_real": (real_logits.argmax(dim=1) == real_labels).float().mean(),
            "accuracy_fake": (fake_logits.argmax(dim=1) == labels).float().mean(),
        }

    def snapshot(self) -> dict[str, Tensor]:
        """`images`, uint8 (100, 28, 28, 3): ten of each class, one class after the other, of latents that never change."""
        form = "crop" if self.settings.fit == "pad" else "clean"
        return {"images": torch.from_numpy(render(self.average, self.fixed_latents, form=form))}

    def _update_generator(self, latents: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Generated images (detached) and the loss, after a step towards `real` and towards the wanted classes."""
        self.discriminator.requires_grad_(False)
        fakes = self.generator(latents, labels)
        loss = self._loss(self._logits(fakes), True, labels, self.settings.generator_class_weight)
        self._step("generator", loss)
        self.discriminator.requires_grad_(True)
        return fakes.detach(), loss.detach()

    def _update_discriminator(
        self, images: Tensor, real_labels: Tensor, fakes: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The loss and the class logits of real and of generated images, which go through it separately.

        In one batch they would share their batch-norm statistics, and each would see what the other looks like.
        """
        real = self._logits(images)
        fake = self._logits(fakes)
        weight = self.settings.fake_class_weight
        loss = (self._loss(real, True, real_labels) + self._loss(fake, False, labels, weight)) / 2
        self._step("discriminator", loss)
        return loss.detach(), real[1].detach(), fake[1].detach()

    def _logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The discriminator's logits for images in [-1, 1], real or generated, which it sees augmented, each time anew."""
        operations = self.settings.augment
        # Augmentation is made for [0, 1]. There and back is rounded: not without need.
        return self.discriminator(augment((images + 1) / 2, operations) * 2 - 1 if operations else images)

    def _loss(self, logits: tuple[Tensor, Tensor], real: bool, labels: Tensor, class_weight: float = 1.0) -> Tensor:
        kind = class_loss(logits[1], labels, self.settings.objective)
        return (adversarial_loss(logits[0], real) + class_weight * kind) / 2

    def _adam(self, network: torch.nn.Module, lr: float) -> Adam:
        return Adam(network.parameters(), lr=lr, betas=(self.settings.beta1, self.settings.beta2), fused=True)

    def _step(self, name: str, loss: Tensor) -> None:
        self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        parallel.average_gradients(self.optimizers[name].param_groups[0]["params"])
        self.optimizers[name].step()

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the generator: parameters and running statistics alike."""
        averages, currents = zip(*(pair for pair in self.followed if pair[0].is_floating_point()), strict=True)
        torch._foreach_lerp_(averages, currents, 1 - self.settings.ema_decay)
        for average, current in self.followed:
            if not average.is_floating_point():
                average.copy_(current)


def stacked(snapshots: dict[int, dict[str, Tensor]]) -> dict[str, np.ndarray]:
    """Snapshots by step as arrays `steps` int64 (K,) and `images` uint8 (K, 100, 28, 28, 3)."""
    steps = np.array(sorted(snapshots), dtype=np.int64)
    images = [snapshots[step]["images"].numpy() for step in steps]
    return {
        "steps": steps,
        "images": np.array(images, dtype=np.uint8).reshape(-1, CLASSES * COLUMNS, STORED_SIDE, STORED_SIDE, 3),
    }


if __name__ == "__main__":
    run(main)
