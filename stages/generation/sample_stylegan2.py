"""Sample faces from the trained StyleGAN2 and, for comparison, from an untrained one.

Reads models/stylegan2-SEED/weights.safetensors. Writes samples/stylegan2-SEED.npz: `images` of the averaged networks and
`untrained` ones of the networks that training began with, of the same latents.
"""

import numpy as np
import torch

from stages.generation.stylegan2 import StyleGAN2
from stages.runtime import device, params, seeding
from stages.runtime.images import save_arrays
from stages.runtime.stage import UserError, run
from stages.runtime.weights import load_weights, read_weights

BATCH = 50


def main(seed: int) -> None:
    network, settings = params.read("stylegan2.network", "stylegan2.sample")
    weights = f"models/stylegan2-{seed}/weights.safetensors"
    seeding.seed_step(seed, "init")
    faces = device.place(StyleGAN2(trained_size(weights), **network.model_dump()), device.pick())
    untrained = sample(faces, settings, seed)
    load_weights(weights, faces, prefix="average.")
    images = sample(faces, settings, seed)
    save_arrays(f"samples/stylegan2-{seed}.npz", images=images, untrained=untrained)


@torch.no_grad()
def sample(faces: StyleGAN2, settings: params.StyleGAN2Sample, seed: int) -> np.ndarray:
    """Images (count, size, size, 3) uint8, their styles drawn towards the mean style: w' = mean + psi (w - mean)."""
    seeding.seed_step(seed, "sample")
    place = next(faces.parameters()).device
    mean = faces.mapping(torch.randn(settings.mean_latents, faces.latent_dim, device=place)).mean(0)
    latents = torch.randn(settings.count, faces.latent_dim, device=place)
    batches = []
    for z in latents.split(BATCH):
        w = mean.lerp(faces.mapping(z), settings.psi)
        noise = torch.rand(len(z), faces.size, faces.size, device=place)
        batches.append(device.to_uint8(faces.generator(faces.spread(w), noise), low=0.0).cpu())
    return torch.cat(batches).numpy()


def trained_size(weights: str) -> int:
    """Side of the images that the saved generator makes: 4 in its first block, doubled in each further one."""
    prefix = "average.generator.blocks."
    blocks = {name.removeprefix(prefix).split(".")[0] for name in read_weights(weights) if name.startswith(prefix)}
    if not blocks:
        raise UserError(f"{weights} holds no generator: delete it and run `dvc repro`")
    return 2 ** (len(blocks) + 1)


if __name__ == "__main__":
    run(main)
