"""Sample faces from the trained StyleGAN2 in both protocols and, for comparison, from an untrained one.

Reads models/stylegan2-SEED/weights.safetensors. Writes samples/stylegan2-SEED.npz: of the averaged networks `report_images`,
which went through JPEG, and `clean_images`, and `untrained_images` of the networks that training began with, which differ from
the clean ones in nothing else. All begin with the same latents. `interpolation_images` are rows from one face to another.

    python -m stages.generation.sample_stylegan2 0
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stages.generation.stylegan2 import StyleGAN2
from stages.runtime import device, params, schema, seeding
from stages.runtime.errors import UserError
from stages.runtime.images import Blocks, save_arrays, scratch
from stages.runtime.stage import run
from stages.runtime.weights import load_weights, read_weights

SAMPLES = Path("samples")
BATCH = 50
# Of the interpolations: so many pairs of faces, and steps from one to the other.
ROWS, COLUMNS = 4, 9


def main(seed: Annotated[int, "seed of the run", "stylegan2.seeds"]) -> None:
    network, settings, contrast = params.read("stylegan2.network", "stylegan2.sample", "stylegan2.train.initial_contrast")
    weights = f"models/stylegan2-{seed}/weights.safetensors"
    size, form, place = trained_size(weights), network.model_dump(exclude={"minibatch_stddev"}), device.pick()
    seeding.seed_step(seed, "init")
    untrained, faces = (device.place(StyleGAN2(size, **form), place) for _ in range(2))
    untrained.generator.fade(contrast)
    load_weights(weights, faces, prefix="average.")
    centre = tracked_mean(weights, settings)
    report = sample(faces, settings, settings.report, seed, SAMPLES, centre)
    save_arrays(
        SAMPLES / f"stylegan2-{seed}.npz",
        report_images=Blocks(report.shape, map(through_jpeg, report.parts)),
        clean_images=sample(faces, settings, settings.clean, seed, SAMPLES, centre),
        untrained_images=sample(untrained, settings, settings.clean, seed, SAMPLES),
        interpolation_images=interpolate(faces, settings, seed, centre),
    )


def sample(
    faces: StyleGAN2,
    settings: schema.StyleGAN2Sample,
    protocol: schema.Sampling,
    seed: int,
    folder: Path | None = None,
    centre: Tensor | None = None,
) -> Blocks:
    """Images (count, size, size, 3), made as they are written, their styles drawn towards the mean: w' = mean + psi (w - mean).

    The mean is `centre` or, without one, that of `mean_latents` styles, which are drawn in any case: z does not depend on it.
    Every protocol draws the latents of the largest one and uses the first of them, so that images of one number show one z.
    They lie in `folder` on disk, since all are drawn before the first image's noise.
    """
    return Blocks((protocol.count, faces.size, faces.size, 3), _sampled(faces, settings, protocol, seed, folder, centre))


@torch.no_grad()
def _sampled(
    faces: StyleGAN2,
    settings: schema.StyleGAN2Sample,
    protocol: schema.Sampling,
    seed: int,
    folder: Path | None,
    centre: Tensor | None,
) -> Iterator[np.ndarray]:
    seeding.seed_step(seed, "sample")
    place = next(faces.parameters()).device
    mean = _mean(faces, settings, centre, place)
    count = max(settings.report.count, settings.clean.count)
    latents = torch.from_numpy(scratch(folder, (count, faces.latent_dim), np.float32)).normal_()
    for z in latents[: protocol.count].split(BATCH):
        w = mean.lerp(faces.mapping(z.to(place)), protocol.psi)
        noise = torch.rand(len(z), faces.size, faces.size, device=place)
        yield device.to_uint8(faces.generator(faces.spread(w), noise), low=0.0).cpu().numpy()


@torch.no_grad()
def interpolate(faces: StyleGAN2, settings: schema.StyleGAN2Sample, seed: int, centre: Tensor | None = None) -> np.ndarray:
    """Images (ROWS, COLUMNS, size, size, 3) uint8: in every row equal steps from one style w to another, under one noise map.

    The styles are truncated as the report protocol's are.
    """
    seeding.seed_step(seed, "interpolate")
    place = next(faces.parameters()).device
    mean = _mean(faces, settings, centre, place)
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


def tracked_mean(weights: str | Path, settings: schema.StyleGAN2Sample) -> Tensor | None:
    """The moving mean (latent_dim,) of w that training has left, where the settings want it; else None."""
    if settings.mean_style == "sampled":
        return None
    mean = read_weights(weights).get("mean_style")
    if mean is None:
        raise UserError(f"{weights} holds no mean_style: train anew, or set stylegan2.sample.mean_style to sampled")
    return mean


def trained_size(weights: str) -> int:
    """Side of the images that the saved generator makes: 4 in its first block, doubled in each further one."""
    prefix = "average.generator.blocks."
    blocks = {name.removeprefix(prefix).split(".")[0] for name in read_weights(weights) if name.startswith(prefix)}
    if not blocks:
        raise UserError(f"{weights} holds no generator: delete it and run `dvc repro`")
    return 2 ** (len(blocks) + 1)


def _mean(faces: StyleGAN2, settings: schema.StyleGAN2Sample, centre: Tensor | None, place: torch.device) -> Tensor:
    latents = torch.randn(settings.mean_latents, faces.latent_dim, device=place)
    return faces.mapping(latents).mean(0) if centre is None else centre.to(place)


if __name__ == "__main__":
    run(main)
