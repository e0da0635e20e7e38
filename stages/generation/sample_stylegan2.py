"""Sample faces from the trained StyleGAN2 in both protocols and, for comparison, from an untrained one.

Reads models/stylegan2-SEED/weights.safetensors. Writes samples/stylegan2-SEED.npz: of the averaged networks `report_images`,
which went through JPEG, and `clean_images`, and `untrained_images` of the networks that training began with, which differ from
the clean ones in nothing else. All begin with the same latents. `interpolation_images` are rows from one face to another.

    python -m stages.generation.sample_stylegan2 0
"""

import io
from typing import Annotated

import numpy as np
import torch
from PIL import Image

from stages.generation.stylegan2 import StyleGAN2
from stages.runtime import device, params, schema, seeding
from stages.runtime.errors import UserError
from stages.runtime.images import save_arrays
from stages.runtime.stage import run
from stages.runtime.weights import load_weights, read_weights

BATCH = 50
# Of the interpolations: so many pairs of faces, and steps from one to the other.
ROWS, COLUMNS = 4, 9


def main(seed: Annotated[int, "seed of the run", "stylegan2.seeds"]) -> None:
    network, settings = params.read("stylegan2.network", "stylegan2.sample")
    weights = f"models/stylegan2-{seed}/weights.safetensors"
    seeding.seed_step(seed, "init")
    faces = device.place(StyleGAN2(trained_size(weights), **network.model_dump()), device.pick())
    untrained = sample(faces, settings, settings.clean, seed)
    load_weights(weights, faces, prefix="average.")
    report = through_jpeg(sample(faces, settings, settings.report, seed))
    clean = sample(faces, settings, settings.clean, seed)
    between = interpolate(faces, settings, seed)
    save_arrays(
        f"samples/stylegan2-{seed}.npz",
        **{"report_images": report, "clean_images": clean, "untrained_images": untrained, "interpolation_images": between},
    )


@torch.no_grad()
def sample(faces: StyleGAN2, settings: schema.StyleGAN2Sample, protocol: schema.Sampling, seed: int) -> np.ndarray:
    """Images (count, size, size, 3) uint8, their styles drawn towards the mean style: w' = mean + psi (w - mean).

    Every protocol draws the latents of the largest one and uses the first of them, so that images of one number show one z.
    """
    seeding.seed_step(seed, "sample")
    place = next(faces.parameters()).device
    mean = faces.mapping(torch.randn(settings.mean_latents, faces.latent_dim, device=place)).mean(0)
    latents = torch.randn(max(settings.report.count, settings.clean.count), faces.latent_dim, device=place)
    batches = []
    for z in latents[: protocol.count].split(BATCH):
        w = mean.lerp(faces.mapping(z), protocol.psi)
        noise = torch.rand(len(z), faces.size, faces.size, device=place)
        batches.append(device.to_uint8(faces.generator(faces.spread(w), noise), low=0.0).cpu())
    return torch.cat(batches).numpy()


@torch.no_grad()
def interpolate(faces: StyleGAN2, settings: schema.StyleGAN2Sample, seed: int) -> np.ndarray:
    """Images (ROWS, COLUMNS, size, size, 3) uint8: in every row equal steps from one style w to another, under one noise map.

    The styles are truncated as the report protocol's are.
    """
    seeding.seed_step(seed, "interpolate")
    place = next(faces.parameters()).device
    mean = faces.mapping(torch.randn(settings.mean_latents, faces.latent_dim, device=place)).mean(0)
    ends = faces.mapping(torch.randn(2 * ROWS, faces.latent_dim, device=place))
    first, last = mean.lerp(ends, settings.report.psi).chunk(2)
    noise = torch.rand(ROWS, faces.size, faces.size, device=place)
    columns = [
        device.to_uint8(faces.generator(faces.spread(first.lerp(last, float(share))), noise), low=0.0).cpu()
        for share in torch.linspace(0, 1, COLUMNS)
    ]
    return torch.stack(columns, dim=1).numpy()


def through_jpeg(images: np.ndarray) -> np.ndarray:
    """Images (n, height, width, 3) uint8 as they come back from JPEG files of Pillow's default quality (75, halved colour)."""
    decoded = np.empty_like(images)
    for i, image in enumerate(images):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG")
        decoded[i] = np.asarray(Image.open(file))
    return decoded


def trained_size(weights: str) -> int:
    """Side of the images that the saved generator makes: 4 in its first block, doubled in each further one."""
    prefix = "average.generator.blocks."
    blocks = {name.removeprefix(prefix).split(".")[0] for name in read_weights(weights) if name.startswith(prefix)}
    if not blocks:
        raise UserError(f"{weights} holds no generator: delete it and run `dvc repro`")
    return 2 ** (len(blocks) + 1)


if __name__ == "__main__":
    run(main)
