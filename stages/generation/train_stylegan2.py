"""Train StyleGAN2 on the faces.

Reads data/prepared/DATASET.npz. Writes models/stylegan2-SEED/weights.safetensors (all networks, their average among them),
results/stylegan2-SEED/snapshots.npz (32 images of fixed latents, from the average) and results/stylegan2-SEED/history.csv.

    python -m stages.generation.train_stylegan2 0
"""

from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from stages.generation.ada import AdaptiveAugmentation
from stages.generation.augment import augment
from stages.generation.average import ema_weight, moved
from stages.generation.losses import discriminator_loss, generator_loss, gradient_penalty, path_lengths, seen_as_real
from stages.generation.stylegan2 import Discriminator, StyleGAN2
from stages.runtime import device, parallel, params, schema, seeding, training
from stages.runtime.batches import Feed, resident_gb
from stages.runtime.errors import UserError
from stages.runtime.images import load_arrays, save_arrays
from stages.runtime.resume import ResumeState
from stages.runtime.schedule import set_lr
from stages.runtime.stage import run
from stages.runtime.weights import save_weights

SHEET = 32
# Of the moving mean of w: that of StyleGAN3's own training, where StyleGAN2's has 0.995.
MEAN_STYLE_DECAY = 0.998


def main(seed: Annotated[int, "seed of the run", "stylegan2.seeds"]) -> None:
    dataset, network, settings, how = params.read("stylegan2.dataset", "stylegan2.network", "stylegan2.train", "training")
    prepared = f"data/prepared/{dataset}.npz"
    (images,) = load_arrays(prepared, "train_images")
    model = Training(images, network, settings, how, seed, parallel.start(how))
    name = f"stylegan2-{seed}"
    state = ResumeState(name, [seed, network, settings, how], [prepared])
    trained = training.train(
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
    save_weights(f"models/{name}/weights.safetensors", model.state_dict())
    save_arrays(f"results/{name}/snapshots.npz", **_sheets(trained.snapshots, images.shape[1]))
    training.write_history(f"results/{name}/history.csv", trained.history)
    state.clear()


class Training(training.Trainable):
    """The networks, their averages (EMA), optimisers and one step of training; `mean_style` is the moving mean of w.

    `precision` is that of convolutions and matrix products, the discriminator's second derivatives among them; what the
    gradient penalty makes of the images' gradients, and the generator's half of a step with path-length regularisation, stays in
    fp32.

    `settings` is `stylegan2.train`, `how` is `training`. `fast` holds the networks as steps without second derivatives call
    them: compiled, if `how` says so.
    """

    def __init__(
        self,
        images: np.ndarray,
        network: schema.StyleGAN2Network,
        settings: schema.StyleGAN2Train,
        how: schema.Training,
        seed: int,
        place: torch.device,
    ) -> None:
        super().__init__()
        size = image_size(images, network)
        seeding.seed_step(seed, "init")
        form = network.model_dump(exclude={"minibatch_stddev"})
        self.faces = device.place(StyleGAN2(size, **form), place)
        self.faces.generator.fade(settings.initial_contrast)
        self.average = device.place(StyleGAN2(size, **form), place).requires_grad_(False)
        self.average.load_state_dict(self.faces.state_dict())
        shape = network.model_dump(exclude={"latent_dim"})
        self.discriminator = device.place(Discriminator(size, **shape), place)
        self.register_buffer("path_length_mean", torch.zeros((), device=place))
        self.register_buffer("mean_style", torch.zeros(network.latent_dim, device=place))
        self.ada = None
        if settings.ada_target is not None:
            self.ada = AdaptiveAugmentation(settings.ada_target, settings.ada_images, settings.batch_size).to(place)
        betas = (settings.beta1, settings.beta2)
        self.optimizers = {
            "generator": torch.optim.Adam(self.faces.parameters(), settings.lr_generator, betas, fused=True),
            "discriminator": torch.optim.Adam(self.discriminator.parameters(), settings.lr_discriminator, betas, fused=True),
        }
        networks = self.faces.generator, self.discriminator
        # A tuple, since a compiled module kept as an attribute would double the names of the weights.
        self.fast = tuple(torch.compile(network) if how.compile else network for network in networks)
        self.settings, self.place = settings, place
        self.part = part_of_batch(settings, network.minibatch_stddev)
        self.feed = Feed(
            images,
            self.part,
            seed=seed,
            name="faces",
            place=place,
            resident_gb=resident_gb(),
            parts=settings.accumulation,
        )
        seeding.seed_step(seed, "sheet")
        self.sheet = torch.randn(SHEET, network.latent_dim, device=place), torch.rand(SHEET, size, size, device=place)

    def update(self, step: int) -> dict[str, Tensor]:
        """One step of the discriminator, then one of the generator, then of its average."""
        self._set_learning_rates(step)
        values = self._update_discriminator(step) | self._update_generator(step)
        self._update_average(step)
        return dict(sorted(values.items(), key=lambda item: not item[0].startswith("loss")))

    @torch.no_grad()
    def snapshot(self) -> dict[str, Tensor]:
        """The averaged networks' images (32, size, size, 3) uint8 of the same latents every time."""
        return {"images": device.to_uint8(self.average(*self.sheet), low=0.0)}

    def _update_discriminator(self, step: int) -> dict[str, Tensor]:
        use = self.settings
        penalised = use.penalty_weight > 0 and step % use.penalty_interval == 0
        sums = _Sums(use.accumulation)
        for part in range(use.accumulation):
            real = self._real(step, part).requires_grad_(penalised)
            with device.autocast(self.place, use.precision):
                with torch.no_grad():
                    fake = self._augmented(self.fast[0](self._styles(), self._noise()))
                real_scores, fake_scores = self._scores(real, fake, penalised)
            loss = discriminator_loss(use.loss, real_scores, fake_scores)
            sums.add(loss_d=loss, d_real=real_scores.mean(), d_fake=fake_scores.mean())
            if self.ada is not None:
                sums.add(ada_sign=seen_as_real(use.loss, real_scores).sign().mean())
            if penalised:
                penalty = gradient_penalty(use.penalty, real_scores, real)
                sums.add(penalty=penalty)
                loss = loss + use.penalty_weight * (use.penalty_interval if use.penalty_scaled else 1) * penalty
            (loss / use.accumulation).backward()
        self._descend("discriminator")
        if self.ada is not None:
            sums.means["ada_p"] = self.ada.adapt(step, sums.means["ada_sign"])
        return sums.means

    def _scores(self, real: Tensor, fake: Tensor, penalised: bool) -> tuple[Tensor, Tensor]:
        """Scores of real and generated images, in one pass where no penalty asks for more of the real ones."""
        discriminator = self.fast[1]
        if not penalised:
            return discriminator(torch.cat([real, fake])).chunk(2)
        return self.discriminator(real), discriminator(fake)

    def _update_generator(self, step: int) -> dict[str, Tensor]:
        use = self.settings
        first, regularised = self._path_length_turn(step)
        generator, discriminator = (self.faces.generator, self.discriminator) if regularised else self.fast
        sums = _Sums(use.accumulation)
        self.discriminator.requires_grad_(False)
        for _ in range(use.accumulation):
            with device.autocast(self.place, "fp32" if regularised else use.precision):
                styles = self._styles()
                images = generator(styles, self._noise())
                scores = discriminator(self._augmented(images))
            loss = generator_loss(use.loss, scores)
            sums.add(loss_g=loss, style=styles[:, 0].mean(0))
            if regularised:
                lengths = path_lengths(images, styles, self._direction())
                sums.add(path_length=lengths.mean())
                if not first:
                    weight = use.path_length_weight * (use.path_length_interval if use.path_length_scaled else 1)
                    loss = loss + weight * (lengths - self.path_length_mean).square().mean()
            (loss / use.accumulation).backward()
        self.discriminator.requires_grad_(True)
        self._descend("generator")
        self.mean_style.lerp_(parallel.mean(sums.means.pop("style")), moved(MEAN_STYLE_DECAY, step))
        if regularised:
            length = parallel.mean(sums.means["path_length"])
            self.path_length_mean.lerp_(length, 1.0 if first else 1 - use.path_length_decay)
        return sums.means

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        weight = ema_weight(self.settings, step)
        if weight is not None:
            torch._foreach_lerp_(list(self.average.parameters()), list(self.faces.parameters()), weight)

    def _path_length_turn(self, step: int) -> tuple[bool, bool]:
        """Whether this is the first step with path-length regularisation, and whether it is one at all."""
        use = self.settings
        regularised = use.path_length_weight > 0 and step >= use.path_length_start and step % use.path_length_interval == 0
        return step - use.path_length_interval < max(use.path_length_start, 1), regularised

    def _set_learning_rates(self, step: int) -> None:
        use = self.settings
        for name, lr in (("generator", use.lr_generator), ("discriminator", use.lr_discriminator)):
            set_lr(self.optimizers[name], lr, step, use.steps, use.lr_decay)

    def _descend(self, name: str) -> None:
        network = self.faces if name == "generator" else self.discriminator
        parallel.average_gradients(network.parameters())
        self.optimizers[name].step()
        self.optimizers[name].zero_grad(set_to_none=True)

    def _real(self, step: int, part: int) -> Tensor:
        """A part of a batch of augmented training images."""
        images, _ = self.feed.at(step, part)
        return self._augmented(device.to_float(images, low=0.0))

    def _augmented(self, images: Tensor) -> Tensor:
        """Images as the discriminator sees them."""
        images = augment(images, self.settings.augment)
        return images if self.ada is None else self.ada(images)

    def _styles(self) -> Tensor:
        """Styles (part, slots, latent_dim) of fresh latents, some of them mixed from two."""
        return self.faces.mix(*self._mixture())

    def _mixture(self) -> tuple[Tensor, Tensor, Tensor]:
        """Two latents (part, latent_dim) an image, and the first slot (part,) that takes its style from the second."""
        slots, latent_dim = self.faces.generator.slots, self.faces.latent_dim
        cut = parallel.randint(slots, self.part, device=self.place)
        mixed = parallel.rand(self.part, device=self.place) < self.settings.style_mixing
        z, other = (parallel.randn(self.part, latent_dim, device=self.place) for _ in range(2))
        return z, other, torch.where(mixed, cut, slots)

    def _noise(self) -> Tensor:
        return parallel.rand(self.part, self.faces.size, self.faces.size, device=self.place)

    def _direction(self) -> Tensor:
        return parallel.randn(self.part, 3, self.faces.size, self.faces.size, device=self.place)


def part_of_batch(settings: schema.StyleGAN2Train, group: int) -> int:
    """This process's images of each part of a batch: in whole groups, where the minibatch standard deviation has some."""
    part, what = settings.batch_size // settings.accumulation, "stylegan2.train.batch_size / accumulation"
    return group * parallel.share(part // group, f"{what} / minibatch_stddev") if group else parallel.share(part, what)


def image_size(images: np.ndarray, network: schema.StyleGAN2Network) -> int:
    """Side of the training images; UserError where no network can be built for them."""
    _, height, width, channels = images.shape
    if height != width or channels != 3 or height < 8 or height & (height - 1):
        raise UserError(
            f"StyleGAN2 needs square colour images whose side is a power of two from 8 on, not {height}x{width}x{channels}: "
            "choose another stylegan2.dataset or change its size in data.datasets"
        )
    slots = height.bit_length() - 2
    if any(layer > slots for layer in network.attention_layers):
        raise UserError(
            f"stylegan2.network.attention_layers {network.attention_layers} must not exceed {slots} at {height}x{width}"
        )
    return height


class _Sums:
    """Means of detached values over the parts of a batch."""

    def __init__(self, parts: int) -> None:
        self.parts = parts
        self.means: dict[str, Tensor] = {}

    def add(self, **values: Tensor) -> None:
        for name, value in values.items():
            self.means[name] = self.means.get(name, 0) + value.detach() / self.parts


def _sheets(snapshots: dict[int, dict[str, Tensor]], size: int) -> dict[str, np.ndarray]:
    """Steps (k,) and images (k, 32, size, size, 3) of the snapshots."""
    images = [kept["images"].numpy() for kept in snapshots.values()]
    return {
        "steps": np.array(list(snapshots), dtype=np.int64),
        "images": np.stack(images) if images else np.zeros((0, SHEET, size, size, 3), dtype=np.uint8),
    }


if __name__ == "__main__":
    run(main)
