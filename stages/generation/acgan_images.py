"""Between the digits' 28x28 pixels, in which they are stored and judged, and the 32x32 in which ACGAN works.

`FITS` are the ways there, `FORMS` those back. Enlarging and reducing blurs, also a real digit; `pad` and `crop` lose nothing.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from stages.generation.acgan import CLASSES, LATENT, SIDE, Generator
from stages.runtime.device import to_float, to_uint8

STORED_SIDE = 28
COLUMNS = 10
BORDER = (SIDE - STORED_SIDE) // 2


def enlarge(images: Tensor) -> Tensor:
    """Uint8 images (n, height, width, 3) as float32 (n, 3, 32, 32) in [-1, 1], bilinear and rounded to uint8's values."""
    larger = F.interpolate(to_float(images), size=SIDE, mode="bilinear")
    return larger.add_(1).mul_(255 / 2).round_().mul_(2 / 255).sub_(1)


def pad(images: Tensor) -> Tensor:
    """Uint8 images (n, 28, 28, 3) as float32 (n, 3, 32, 32) in [-1, 1], mirrored at their edges to fill two pixels all around."""
    return F.pad(to_float(images), (BORDER,) * 4, mode="reflect").contiguous(memory_format=torch.channels_last)


def crop(images: Tensor) -> np.ndarray:
    """Images (n, 3, 32, 32) in [-1, 1] as uint8 (n, 28, 28, 3), without the border of `pad`."""
    return to_uint8(images[:, :, BORDER:-BORDER, BORDER:-BORDER]).cpu().numpy()


def reduce(images: np.ndarray) -> np.ndarray:
    """Uint8 images (n, 32, 32, 3) reduced to (n, 28, 28, 3) by PIL's bilinear filter, which antialiases."""
    side = (STORED_SIDE, STORED_SIDE)
    return np.stack([np.asarray(Image.fromarray(image).resize(side, Image.Resampling.BILINEAR)) for image in images])


def reduce_as_report(images: Tensor) -> np.ndarray:
    """Images (n, 3, 32, 32) in [-1, 1] as uint8 (n, 28, 28, 3) in the study's way, which antialiases nothing.

    Reduced as floats, then each image is stretched by itself: its darkest value becomes 0, its brightest 255, as when
    torchvision's `save_image(normalize=True)` saves one image.
    """
    smaller = F.interpolate(images.float(), size=STORED_SIDE, mode="bilinear")
    low, high = smaller.amin((1, 2, 3), keepdim=True), smaller.amax((1, 2, 3), keepdim=True)
    return to_uint8((smaller - low) / (high - low).clamp(min=1e-5), low=0.0).cpu().numpy()


FITS: dict[str, Callable[[Tensor], Tensor]] = {"resize": enlarge, "pad": pad}
FORMS: dict[str, Callable[[Tensor], np.ndarray]] = {
    "clean": lambda images: reduce(to_uint8(images).cpu().numpy()),
    "report": reduce_as_report,
    "crop": crop,
}


def render(generator: Generator, latents: Tensor, batch_norm: str = "eval", form: str = "clean") -> np.ndarray:
    """Images uint8 (10 * per_class, 28, 28, 3), ordered by class, of latents (10 * per_class, 100) in the same order."""
    parts = [*rendered(generator, latents, batch_norm, form)]
    return np.concatenate(parts, axis=1).reshape(-1, STORED_SIDE, STORED_SIDE, 3)


@torch.no_grad()
def rendered(generator: Generator, latents: Tensor, batch_norm: str = "eval", form: str = "clean") -> Iterator[np.ndarray]:
    """The images of `render` as uint8 (10, m, 28, 28, 3), the next `m` of each class at a time.

    `form` is how they are brought to that size: `clean` by `reduce`, `report` by `reduce_as_report`, `crop` by `crop`.

    `batch_norm` is `eval` (running statistics) or `batch`: the statistics of the batch that an image is made in, which holds
    ten images of each class (the last one fewer, where that does not come out even), balanced as in training. The generator
    keeps its mode and its running statistics.
    """
    place = next(generator.parameters(), latents).device
    before, kept = generator.training, {name: buffer.clone() for name, buffer in generator.named_buffers()}
    generator.train(batch_norm == "batch")
    for part in latents.view(CLASSES, -1, LATENT).split(COLUMNS, dim=1):
        labels = torch.arange(CLASSES, device=place).repeat_interleave(part.shape[1])
        images = generator(part.reshape(-1, LATENT).to(place), labels)
        yield FORMS[form](images).reshape(CLASSES, part.shape[1], STORED_SIDE, STORED_SIDE, 3)
    generator.train(before)
    for name, buffer in generator.named_buffers():
        buffer.copy_(kept[name])
