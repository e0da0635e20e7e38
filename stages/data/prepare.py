"""Decode one data set into data/prepared/DATASET.npz: train_images, train_labels, test_images, test_labels.

Reads what `fetch` left in data/raw/DATASET. Images are uint8 (n, height, width, 3), labels int64: the digit, or for `orl` the
person. `celeba` has no labels.

    python -m stages.data.prepare mfeat
"""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image

from stages.data import formats, mnistm, official, syn
from stages.data.official import existing
from stages.data.photos import load_bsds500, load_photos
from stages.data.pictures import DIGIT_SIDE, centred_square, progress, square, unify
from stages.runtime import params
from stages.runtime.images import Blocks, in_blocks, save_arrays
from stages.runtime.seeding import numpy_generator
from stages.runtime.stage import run

RAW = Path("data/raw")
PREPARED = Path("data/prepared")

# Images and their labels, where there are any.
Split = tuple[np.ndarray | Blocks, np.ndarray | None]


def main(dataset: Annotated[str, "data set", "data.datasets"]) -> None:
    [settings] = params.read(f"data.datasets.{dataset}")
    train, test = PREPARE[dataset](RAW / dataset, settings)
    arrays = {"train_images": train[0], "train_labels": train[1], "test_images": test[0], "test_labels": test[1]}
    save_arrays(PREPARED / f"{dataset}.npz", **{name: array for name, array in arrays.items() if array is not None})


def prepare_orl(raw: Path, settings: Any) -> tuple[Split, Split]:
    """Faces of 40 persons: pictures 1 to 8 of each for training, 9 and 10 for testing; grey, repeated to three channels."""
    splits = []
    for pictures in (range(1, 9), range(9, 11)):
        numbers = [(person, picture) for person in range(40) for picture in pictures]
        faces = [_face(existing(raw / f"s{person + 1}" / f"{picture}.pgm"), settings.size) for person, picture in numbers]
        splits.append((_three_channels(np.stack(faces)), np.array([person for person, _ in numbers], np.int64)))
    return splits[0], splits[1]


def prepare_celeba(raw: Path, settings: Any) -> tuple[Split, Split]:
    """Faces, a square cut tight around the head: the first pictures for training, the next for testing; no labels.

    The study's own split, which is not the publisher's.
    """
    count = settings.train + settings.test
    left, top = settings.crop_x - settings.crop_side // 2, settings.crop_y - settings.crop_side // 2
    pictures = iter(progress(official.read_celeba(raw, count), count, "celeba"))
    faces = (square(picture, left, top, settings.crop_side, settings.size)[None] for picture in pictures)
    # The training pictures are written before the next are asked for.
    train, test = (
        Blocks((number, settings.size, settings.size, 3), islice(faces, number)) for number in (settings.train, settings.test)
    )
    return (train, None), (test, None)


def prepare_svhn(raw: Path, settings: Any) -> tuple[Split, Split]:
    """House numbers cut out at 32x32, reduced to 28x28."""
    return _digits(official.read_svhn(raw, "train")), _digits(official.read_svhn(raw, "test"))


def prepare_usps(raw: Path, settings: Any) -> tuple[Split, Split]:
    """Digits from letters, white on black at 16x16, enlarged to 28x28; grey, repeated to three channels."""
    return _digits(official.read_usps(raw, "train")), _digits(official.read_usps(raw, "test"))


def prepare_mnistm(raw: Path, settings: Any) -> tuple[Split, Split]:
    """All of MNIST over photographs; training and test digits over different pictures, or different parts of them."""
    if settings.source == "packaged":
        *train, test_digits, test_labels = formats.read_mnist(existing(raw / "mnist.pkl.gz"))
        digits = {"train": train, "test": (test_digits, test_labels)}
    else:
        digits = {split: official.read_mnist(raw, split) for split in ("train", "test")}
    splits = []
    for split, (images, labels) in digits.items():
        whole = settings.source == "official"
        photos = load_bsds500(raw / "bsds500", split) if whole else load_photos(raw / "photos", split)
        blended = mnistm.blend(images, photos, numpy_generator("mnistm", split, settings.seed))
        splits.append((Blocks((*images.shape, 3), blended), labels))
    return splits[0], splits[1]


def prepare_syn(raw: Path, settings: Any) -> tuple[Split, Split]:
    """Rendered house numbers; training and test images over different parts of the photographs."""
    fonts = syn.load_fonts(raw / "fonts")
    splits = []
    for split, count in (("train", settings.train), ("test", settings.test)):
        photos = load_photos(raw / "photos", split)
        splits.append(syn.render_all(count, settings.size, fonts, photos, ("syn", split, settings.seed)))
    return splits[0], splits[1]


def prepare_mfeat(raw: Path, settings: Any) -> tuple[Split, Split]:
    """White digits on black in MNIST's framing; so many of each digit, drawn by the seed, are for testing."""
    pixels, labels = formats.read_mfeat(existing(raw / "mfeat-pix.csv"))
    images = _three_channels(np.stack([frame_mfeat(picture) for picture in pixels]))
    shuffled = numpy_generator("mfeat", settings.seed).permutation(len(labels))
    testing = np.zeros(len(labels), bool)
    for digit in range(10):
        testing[shuffled[labels[shuffled] == digit][: settings.test_per_class]] = True
    return (images[~testing], labels[~testing]), (images[testing], labels[testing])


def frame_mfeat(pixels: np.ndarray) -> np.ndarray:
    """An mfeat digit (16, 15) with values 0 to 6 as MNIST frames its own: 20 pixels high in the middle of 28x28, uint8.

    Each value is the mean of a window 2 wide and 3 high, so that the digit is 30 x 48 by right: 20 x 12.5 here.
    """
    grey = np.rint(pixels * (255 / formats.MFEAT_LEVELS)).astype(np.uint8)
    digit = Image.fromarray(grey).resize((13, 20), Image.Resampling.BILINEAR)
    return np.pad(np.asarray(digit), ((4, 4), (7, 8)))


PREPARE: dict[str, Callable[[Path, Any], tuple[Split, Split]]] = {
    "orl": prepare_orl,
    "celeba": prepare_celeba,
    "mnistm": prepare_mnistm,
    "svhn": prepare_svhn,
    "usps": prepare_usps,
    "syn": prepare_syn,
    "mfeat": prepare_mfeat,
}


def _face(path: Path, size: int) -> np.ndarray:
    """The picture's centred square, reduced once with antialiasing: uint8 (size, size)."""
    return centred_square(Image.fromarray(formats.read_pgm(path)), size)


def _digits(split: tuple[np.ndarray, np.ndarray]) -> Split:
    images, labels = split
    images = images if images.ndim == 4 else images[..., None]
    parts = (unify(images[part], DIGIT_SIDE) for part in in_blocks(len(images), (DIGIT_SIDE, DIGIT_SIDE, 3)))
    return Blocks((len(images), DIGIT_SIDE, DIGIT_SIDE, 3), parts), labels


def _three_channels(images: np.ndarray) -> np.ndarray:
    return np.repeat(images[..., None], 3, axis=-1)


if __name__ == "__main__":
    run(main)
