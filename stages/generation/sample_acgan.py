"""Generate digits of every class with a trained ACGAN.

Reads models/acgan-SEED/weights.safetensors and leaves samples/acgan-SEED.npz: `images` uint8 (10 * per_class, 28, 28, 3) and
`labels` int64, ordered by class, made by the generator's moving average and brought to that size in the params' form.

    python -m stages.generation.sample_acgan 0
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from stages.generation.acgan import CLASSES, LATENT, Generator
from stages.generation.acgan_images import STORED_SIDE, rendered
from stages.runtime import device, params
from stages.runtime.images import save_arrays, scratch
from stages.runtime.schema import ACGANSample
from stages.runtime.seeding import seed_step
from stages.runtime.stage import run
from stages.runtime.weights import check_form, load_weights

SAMPLES = Path("samples")


def main(seed: Annotated[int, "seed of the run", "acgan.seeds"]) -> None:
    batch_norm_eps, fit, settings = params.read("acgan.train.batch_norm_eps", "acgan.train.fit", "acgan.sample")
    path = f"models/acgan-{seed}/weights.safetensors"
    check_form(path, {"batch_norm_eps": batch_norm_eps, "fit": fit})
    generator = Generator(batch_norm_eps)
    load_weights(path, generator, "average.")
    images, labels = sample(device.place(generator, device.pick()), seed, settings, SAMPLES)
    save_arrays(SAMPLES / f"acgan-{seed}.npz", images=images, labels=labels)


def sample(generator: Generator, seed: int, settings: ACGANSample, folder: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """`per_class` images of each class, uint8 (10 * per_class, 28, 28, 3), and their labels (10 * per_class,), by class.

    Latents and images lie in `folder` on disk: images are made ten of each class at a time, and stored class after class.
    """
    seed_step(seed, "samples")
    latents = torch.from_numpy(scratch(folder, (CLASSES * settings.per_class, LATENT), np.float32)).normal_()
    images = scratch(folder, (CLASSES, settings.per_class, STORED_SIDE, STORED_SIDE, 3), np.uint8)
    done = 0
    for part in rendered(generator, latents, settings.batch_norm, settings.form):
        images[:, done : done + part.shape[1]] = part
        done += part.shape[1]
    return images.reshape(-1, *images.shape[2:]), np.repeat(np.arange(CLASSES, dtype=np.int64), settings.per_class)


if __name__ == "__main__":
    run(main)
