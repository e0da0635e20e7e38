"""Decoders of the publishers' own files: torchvision's data set classes, never with `download=True`, and CelebA's archive.

None of them unpickles anything: SVHN's comes from `scipy.io.loadmat`, the others are numbers in plain or compressed text and
bytes. Damaged files end in a UserError that names the file. torchvision takes seconds to import, so that only those wait for
it who need it.
"""

import gzip
import io
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from stages.data import pictures
from stages.data.formats import damaged
from stages.runtime.errors import UserError
from stages.runtime.files import CannotWrite, reason

CELEBA_SIZE = (178, 218)

Split = tuple[np.ndarray, np.ndarray]

# What scipy.io raises besides its own error for a file that is none of MATLAB's, or one only in part.
_NO_MATLAB = (OSError, EOFError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, OverflowError, MemoryError) + (
    zlib.error,
)


def read_mnist(raw: Path, split: str) -> Split:
    """Digits uint8 (n, 28, 28) and labels int64 (n,) of MNIST's `train` or `test` split, from its two idx.gz files."""
    from torchvision.datasets import MNIST

    names = [f"{'train' if split == 'train' else 't10k'}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
    packed = [existing(raw / name) for name in names]
    with tempfile.TemporaryDirectory() as root:
        # The class wants all four files, unpacked, below MNIST/raw; of the other split it reads nothing.
        for name, _ in MNIST.resources:
            unpacked = Path(root, "MNIST/raw", name).with_suffix("")
            unpacked.parent.mkdir(parents=True, exist_ok=True)
            unpacked.touch()
        for path in packed:
            _gunzip(path, Path(root, "MNIST/raw", path.stem))
        try:
            content = MNIST(root, train=split == "train", download=False)
        except (AssertionError, RuntimeError, ValueError, TypeError, KeyError, IndexError) as error:
            raise damaged(f"{packed[0]} or {packed[1].name}", error or "no idx file") from None
    return _checked(packed[0], content.data.numpy(), content.targets.numpy(), (28, 28))


def read_svhn(raw: Path, split: str) -> Split:
    """Digits uint8 (n, 32, 32, 3) and labels int64 (n,) of SVHN's cropped `train` or `test` split; its label 10 means 0.

    The class checks the file's md5 itself.
    """
    from scipy.io.matlab import MatReadError
    from torchvision.datasets import SVHN

    path = existing(raw / SVHN.split_list[split][1])
    try:
        content = SVHN(raw, split, download=False)
    except (MatReadError, *_NO_MATLAB) as error:
        raise damaged(path, "its md5 is not the publisher's" if "corrupted. You" in str(error) else error) from None
    if content.data.ndim != 4:
        raise damaged(path, f"its images are {content.data.shape}")
    images = np.ascontiguousarray(content.data.transpose(0, 2, 3, 1))
    return _checked(path, images, np.atleast_1d(content.labels), (32, 32, 3))


def read_usps(raw: Path, split: str) -> Split:
    """Digits uint8 (n, 16, 16), white on black, and labels int64 (n,) of USPS' `train` or `test` split.

    The file's greys from -1 to 1 become bytes as the class does it: cut off, not rounded, so that black and white stay
    exact and greys between come out darker by half a level in the mean. Who uses torchvision's USPS has the same bytes.
    """
    from torchvision.datasets import USPS

    path = existing(raw / USPS.split_list[split][1])
    try:
        with np.errstate(invalid="raise"):
            content = USPS(raw, train=split == "train", download=False)
    except (OSError, EOFError, ValueError, IndexError, FloatingPointError) as error:
        raise damaged(path, error) from None
    return _checked(path, content.data, np.array(content.targets), (16, 16))


def read_celeba(raw: Path, count: int) -> Iterator[Image.Image]:
    """The first `count` of CelebA's aligned pictures, 178x218 RGB, in the order of its list, one at a time.

    torchvision's class wants the archive's 202,599 files extracted, and four lists of what is on them besides: here the
    pictures come straight out of the archive, so that no more than one is ever unpacked, on disk or in memory.
    """
    names = _celeba_names(existing(raw / "list_eval_partition.txt"))
    if len(names) < count:
        raise UserError(f"{raw} holds {len(names)} pictures, not {count}: lower data.datasets.celeba.train or test")
    path = existing(raw / "img_align_celeba.zip")
    try:
        with zipfile.ZipFile(path) as archive:
            members = set(archive.namelist())
            missing = [name for name in names[:count] if f"img_align_celeba/{name}" not in members]
            if missing:
                raise damaged(path, f"it lacks {len(missing)} pictures that the list names, the first is {missing[0]}")
            for name in names[:count]:
                yield _celeba_picture(path, name, archive.read(f"img_align_celeba/{name}"))
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError) as error:
        raise damaged(path, error) from None


def existing(path: Path) -> Path:
    """`path`, if it is a file; else UserError."""
    if not path.is_file():
        raise UserError(f"{path} is missing: run `dvc repro`, which fetches it")
    return path


def _gunzip(path: Path, target: Path) -> None:
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, error) from None
    try:
        target.write_bytes(content)
    except OSError as error:
        raise CannotWrite(f"{target} can't be written: {reason(error)}") from error


def _celeba_names(path: Path) -> list[str]:
    """The pictures' names in the list's order: a line is a name and its part (0 to 2), which this study has no use for."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except UnicodeDecodeError as error:
        raise damaged(path, error) from None
    for number, line in enumerate(lines, 1):
        if not re.fullmatch(r"\d{6}\.jpg [012]", line.strip()):
            raise damaged(path, f"line {number} is {line[:40]!r}, not a picture's name and 0, 1 or 2")
    return [line.split()[0] for line in lines]


def _celeba_picture(path: Path, name: str, content: bytes) -> Image.Image:
    try:
        picture = pictures.read_rgb(io.BytesIO(content))
    except ValueError as error:
        raise damaged(path, f"{name}: {error}") from None
    if picture.size != CELEBA_SIZE:
        raise damaged(path, f"{name} is {picture.width}x{picture.height}, not 178x218")
    return picture


def _checked(path: Path, images: np.ndarray, labels: np.ndarray, form: tuple[int, ...]) -> Split:
    """Both arrays, if they are so many uint8 images of one form with as many labels from 0 to 9; else UserError."""
    if images.dtype != np.uint8 or images.shape[1:] != form or not len(images):
        raise damaged(path, f"its images are {images.dtype} {images.shape}, not uint8 {('n', *form)}")
    if labels.shape != (len(images),):
        raise damaged(path, f"{len(images)} images but labels {labels.shape}")
    if labels.min() < 0 or labels.max() > 9:
        raise damaged(path, f"its labels mean {labels.min()} to {labels.max()}, not 0 to 9")
    return images, labels.astype(np.int64)
