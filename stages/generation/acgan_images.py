"""Between the digits' 28x28 pixels, in which they are stored and judged, and the 32x32 in which ACGAN works."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from stages.generation.acgan import CLASSES, LATENT, SIDE, Generator
from stages.runtime.device import resident, take, to_uint8

STORED_SIDE = 28
COLUMNS = 10


def enlarge(images: np.ndarray, device: torch.device, batch_size: int = 200) -> Tensor:
    """Uint8 images (n, height, width, 3) as one resident uint8 tensor (n, 32, 32, 3), bilinear and rounded."""
    stored = resident(images, device)
    larger = torch.empty(len(images), SIDE, SIDE, 3, dtype=torch.uint8, device=device)
    for index in torch.arange(len(images), device=device).split(batch_size):
        larger[index] = to_uint8(F.interpolate(take(stored, index), size=SIDE, mode="bilinear"))
    return larger


def reduce(images: np.ndarray) -> np.ndarray:
    """Uint8 images (n, 32, 32, 3) reduced to (n, 28, 28, 3) by PIL's bilinear filter, which antialiases."""
    side = (STORED_SIDE, STORED_SIDE)
    return np.stack([np.asarray(Image.fromarray(image).resize(side, Image.Resampling.BILINEAR)) for image in images])


@torch.no_grad()
def render(generator: Generator, latents: Tensor, batch_norm: str = "eval") -> np.ndarray:
    """Images uint8 (10 * per_class, 28, 28, 3), ordered by class, of latents (10 * per_class, 100) in the same order.

    `batch_norm` is `eval` (running statistics) or `batch`: the statistics of the batch that an image is made in, which holds
    ten images of each class (the last one fewer, where that does not come out even), balanced as in training. The generator
    keeps its mode and its running statistics.
    """
    latents = latents.view(CLASSES, -1, LATENT)
    before, kept = generator.training, {name: buffer.clone() for name, buffer in generator.named_buffers()}
    generator.train(batch_norm == "batch")
    parts = []
    for part in latents.split(COLUMNS, dim=1):
        labels = torch.arange(CLASSES, device=latents.device).repeat_interleave(part.shape[1])
        images = to_uint8(generator(part.reshape(-1, LATENT), labels)).cpu().numpy()
        parts.append(reduce(images).reshape(CLASSES, part.shape[1], STORED_SIDE, STORED_SIDE, 3))
    generator.train(before)
    for name, buffer in generator.named_buffers():
        buffer.copy_(kept[name])
    return np.concatenate(parts, axis=1).reshape(-1, STORED_SIDE, STORED_SIDE, 3)
