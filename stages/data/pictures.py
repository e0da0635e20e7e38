"""Pictures in whatever form they come, brought to the one that a data set has."""

import struct
import sys
import time
import warnings
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

T = TypeVar("T")

DIGIT_SIDE = 28
SECONDS_BETWEEN_LINES = 10

# What Pillow raises for files that are damaged, hostile, or no pictures.
_FAILURES = (OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, IndexError, OverflowError, MemoryError) + (
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def read_rgb(file: Path | BinaryIO) -> Image.Image:
    """A PNG or JPEG as it is meant to be seen, in RGB: turned as its EXIF says, transparency over white.

    Raises ValueError with the reason in a few words. A picture so long that its square would pass Pillow's limit for
    decompression bombs is refused before it is decoded.
    """
    try:
        with warnings.catch_warnings():
            # What Pillow can put up with, such as broken EXIF, need not be told of each picture.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=["PNG", "JPEG"]) as picture:
                if max(picture.size) ** 2 > Image.MAX_IMAGE_PIXELS:
                    raise ValueError(f"{picture.width}x{picture.height} pixels are too many")
                return _rgb(ImageOps.exif_transpose(picture))
    except Image.UnidentifiedImageError:
        raise ValueError("no PNG or JPEG picture") from None
    except _FAILURES as error:
        raise ValueError(f"{error}" or type(error).__name__) from None


def centred_square(picture: Image.Image, side: int) -> np.ndarray:
    """The picture's centred square, resized once by antialiased bicubic interpolation: uint8 (side, side) or (side, side, 3)."""
    kept = min(picture.size)
    return square(picture, (picture.width - kept) // 2, (picture.height - kept) // 2, kept, side)


def square(picture: Image.Image, left: int, top: int, kept: int, side: int) -> np.ndarray:
    """The square of `kept` pixels from (left, top), resized once to `side` by antialiased bicubic interpolation."""
    # First cut, then resized: resize(box=...) would blend pixels from outside of the square into its border.
    cut = picture.crop((left, top, left + kept, top + kept))
    return np.asarray(cut.resize((side, side), Image.Resampling.BICUBIC))


def unify(images: np.ndarray, side: int) -> np.ndarray:
    """Images uint8 (n, height, width, 1 or 3) as (n, side, side, 3): padded to squares by repeating the edge, resized with
    antialiasing, grey repeated. Images that have this form already stay as they are."""
    height, width = images.shape[1:3]
    rows, columns = max(width - height, 0), max(height - width, 0)
    if rows or columns:
        around = ((0, 0), (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), (0, 0))
        images = np.pad(images, around, mode="edge")
    if images.shape[-1] == 1:
        images = np.repeat(images, 3, axis=-1)
    if images.shape[1] == side:
        return images
    resized = np.empty((len(images), side, side, 3), np.uint8)
    for number, image in enumerate(images):
        resized[number] = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
    return resized


def progress(items: Iterable[T], count: int, what: str) -> Iterable[T]:
    """The items, with a bar on a terminal, and elsewhere a line every ten seconds."""
    if sys.stderr.isatty():
        return tqdm(items, what, count, unit="picture")
    return _told(items, count, what)


def _told(items: Iterable[T], count: int, what: str) -> Iterator[T]:
    started = said = time.monotonic()
    for number, item in enumerate(items):
        if time.monotonic() - said >= SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            print(f"{what}: {number} of {count} pictures, {number / (said - started):.0f} a second", file=sys.stderr)
        yield item


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        # 16-bit grey, which Pillow's own conversion would clip at 255 instead of scaling.
        grey = np.clip(np.rint(np.asarray(picture, np.float64) / 257), 0, 255)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        # What lies under transparent pixels is anything; white is the paper.
        seen = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    return picture.convert("RGB")
