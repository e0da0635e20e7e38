"""Images as parts of a page: sheets of them and single frames, as data URIs."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from stages.runtime.images import tile


@dataclass(frozen=True)
class Picture:
    """A data URI, and the width and height in pixels at which its images' own pixels are shown."""

    src: str
    width: int
    height: int


def sheet(images: np.ndarray, columns: int, *, quality: int | None = None) -> Picture:
    """All images (n, height, width, channels) uint8 in rows of `columns`, without loss unless a WebP `quality` is given."""
    return picture(tile(np.asarray(images), min(columns, len(images)), gap=1, ground=128), quality=quality)


def picture(image: np.ndarray, *, quality: int | None = None) -> Picture:
    """One image (height, width, 3) uint8 as PNG, or as WebP of a `quality` up to 100."""
    file = io.BytesIO()
    drawn = Image.fromarray(image)
    if quality is None:
        drawn.save(file, "PNG", optimize=True)
    else:
        drawn.save(file, "WEBP", quality=quality, method=4)
    kind = "png" if quality is None else "webp"
    height, width = image.shape[:2]
    return Picture(f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}", width, height)
