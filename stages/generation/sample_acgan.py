"""Generate digits of every class with a trained ACGAN.

Reads models/acgan-SEED/weights.safetensors and leaves samples/acgan-SEED.npz: `images` uint8 (10 * per_class, 28, 28, 3) and
`labels` int64, ordered by class, made by the generator's moving average and reduced from 32x32
in the params' form.

    python -m stages.generation.sample_acgan 0
"""

from typing import Annotated

import numpy as np
import torch

from stages.generation.acgan import CLASSES, LATENT, Generator
from stages.generation.acgan_images import render
from stages.runtime import device, params
from stages.runtime.images import save_arrays
from stages.runtime.schema import ACGANSample
from stages.runtime.seeding import seed_step
from stages.runtime.stage import run
from stages.runtime.weights import load_weights


def main(seed: Annotated[int, "seed of the run", "acgan.seeds"]) -> None:
    batch_norm_eps, settings = params.read("acgan.train.batch_norm_eps", "acgan.sample")
    generator = Generator(batch_norm_eps)
    load_weights(f"models/acgan-{seed}/weights.safetensors", generator, "average.")
    images, labels = sample(device.place(generator, device.pick()), seed, settings)
    save_arrays(f"samples/acgan-{seed}.npz", images=images, labels=labels)


def sample(generator: Generator, seed: int, settings: ACGANSample) -> tuple[np.ndarray, np.ndarray]:
    """`per_class` images of each class, uint8 (10 * per_class, 28, 28, 3), and their labels (10 * per_class,), by class."""
    seed_step(seed, "samples")
    latents = torch.randn(CLASSES * settings.per_class, LATENT).to(next(generator.parameters()).device)
    images = render(generator, latents, settings.batch_norm, settings.form)
    return images, np.repeat(np.arange(CLASSES, dtype=np.int64), settings.per_class)


if __name__ == "__main__":
    run(main)
