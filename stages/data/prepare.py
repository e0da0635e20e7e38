"""Decode one data set into data/prepared/DATASET.npz: train_images, train_labels, test_images, test_labels.

Images are uint8 (n, height, width, 3), labels int64: the digit, or for `orl` the person.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stages.data import formats, mnistm, syn
from stages.data.photos import load_photos
from stages.runtime import params
from stages.runtime.images import save_arrays
from stages.runtime.seeding import numpy_generator
from stages.runtime.stage import UserError, run

RAW = Path("data/raw")
PREPARED = Path("data/prepared")

Split = tuple[np.ndarray, np.ndarray]


def main(dataset: str) -> None:
    [settings] = params.read(f"data.datasets.{dataset}")
    train, test = PREPARE[dataset](RAW / dataset, settings)
    save_arrays(
        PREPARED / f"{dataset}.npz", train_images=train[0], train_labels=train[1], test_images=test[0], test_labels=test[1]
    )


def prepare_orl(raw: Path, settings: Any) -> tuple[Split, Split]:
    """Faces of 40 persons: pictures 1 to 8 of each for training, 9 and 10 for testing; grey, repeated to three channels."""
    splits = []
    for pictures in (range(1, 9), range(9, 11)):
        numbers = [(person, picture) for person in range(40) for picture in pictures]
        faces = [_face(_existing(raw / f"s{person + 1}" / f"{picture}.pgm"), settings.size) for person, picture in numbers]
        splits.append((_three_channels(np.stack(faces)), np.array([person for person, _ in numbers], np.int64)))
    return splits[0], splits[1]


def prepare_mnistm(raw: Path, settings: Any) -> tuple[Split, Split]:
    """All of MNIST over photographs; training and test digits over different parts of these."""
    train_digits, train_labels, test_digits, test_labels = formats.read_mnist(_existing(raw / "mnist.pkl.gz"))
    splits = []
    for split, digits, labels in (("train", train_digits, train_labels), ("test", test_digits, test_labels)):
        generator = numpy_generator("mnistm", split, settings.seed)
        splits.append((mnistm.blend(digits, load_photos(raw / "photos", split), generator), labels))
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
    pixels, labels = formats.read_mfeat(_existing(raw / "mfeat-pix.csv"))
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
    "mnistm": prepare_mnistm,
    "syn": prepare_syn,
    "mfeat": prepare_mfeat,
}


def _face(path: Path, size: int) -> np.ndarray:
    """The picture's centred square, reduced once with antialiasing: uint8 (size, size)."""
    picture = Image.fromarray(formats.read_pgm(path))
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))


def _three_channels(images: np.ndarray) -> np.ndarray:
    return np.repeat(images[..., None], 3, axis=-1)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path} is missing: run `dvc repro`, which fetches it")
    return path


if __name__ == "__main__":
    run(main)
