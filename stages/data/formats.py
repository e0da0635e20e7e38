"""Decoders of the files that data sets arrive in. Damaged files end in a UserError that names the file.

Nothing from outside is ever unpickled into real objects: see `read_mnist`.
"""

import gzip
import io
import math
import pickle
import warnings
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from stages.runtime.errors import UserError
from stages.runtime.files import refused
from stages.runtime.images import in_blocks

MFEAT_ROWS, MFEAT_COLUMNS, MFEAT_LEVELS = 16, 15, 6


def damaged(path: str | Path, reason: object) -> UserError:
    """The error for a fetched file that can't be read, to be raised; it differs where the reason is that the system refused."""
    told = refused(path, reason) if isinstance(reason, Exception) else None
    return told or UserError(f"{path} is damaged ({str(reason)[:200]}): delete its folder and fetch it again with `dvc repro`")


def read_photo(path: Path) -> np.ndarray:
    """A PNG or JPEG as uint8 (height, width, 3)."""
    try:
        with Image.open(path, formats=["PNG", "JPEG"]) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise damaged(path, error) from None


def read_pgm(path: Path) -> np.ndarray:
    """A binary 8-bit PGM as uint8 (height, width), also where a transfer in text mode turned its line ends into CR LF."""
    content = path.read_bytes()
    if content.startswith(b"P5\r\n"):
        content = _undo_text_mode(content)
    try:
        with Image.open(io.BytesIO(content), formats=["PPM"]) as image:
            if image.mode != "L":
                raise ValueError(f"mode {image.mode}")
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise damaged(path, error) from None


def read_mnist(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images and labels of MNIST's train (60,000) and test (10,000) splits from `mnist.pkl.gz`: uint8 (n, 28, 28), int64 (n,).

    The file holds three (images, labels) tuples of 50,000, 10,000 and 10,000, of which the first two are the train split;
    images are float32 in [0, 1) in steps of 1/256. It is read by an unpickler that knows nothing but plain number arrays.
    """
    try:
        with gzip.open(path) as file:
            content = NumberArrayUnpickler(file, encoding="bytes").load()
    except (OSError, EOFError, zlib.error, pickle.UnpicklingError) as error:
        raise damaged(path, error) from None
    # A damaged pickle stream can make the unpickler fail in any of these ways.
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, MemoryError, ImportError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from None
    (images, labels), *rest = [_mnist_part(path, part) for part in _three_pairs(path, content)]
    more_images, more_labels = rest[0]
    return np.concatenate([images, more_images]), np.concatenate([labels, more_labels]), *rest[1]


def read_mfeat(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, 16, 15) with values 0 to 6 and labels int64 (n,) from mfeat-pix.csv: a header line of column numbers,
    then 240 pixels and the label in every line."""
    columns = MFEAT_ROWS * MFEAT_COLUMNS + 1
    try:
        with warnings.catch_warnings():
            # An empty file is told below, in our words.
            warnings.simplefilter("ignore", UserWarning)
            table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
    except (OSError, ValueError) as error:
        raise damaged(path, error) from None
    if table.shape[1] != columns or not len(table):
        raise damaged(path, f"{table.shape[0]} lines of {table.shape[1]} columns, not of {columns}")
    pixels, labels = table[:, :-1], table[:, -1]
    if not (np.isin(pixels, range(MFEAT_LEVELS + 1)).all() and np.isin(labels, range(10)).all()):
        raise damaged(path, f"pixels must be whole numbers from 0 to {MFEAT_LEVELS}, labels from 0 to 9")
    return pixels.astype(np.uint8).reshape(-1, MFEAT_ROWS, MFEAT_COLUMNS), labels.astype(np.int64)


class NumberArrayUnpickler(pickle.Unpickler):
    """Unpickles containers, numbers and NumPy arrays of numbers; every other class or function is refused.

    Even NumPy's own classes are replaced by the stand-ins below, which check the sizes and then view the bytes: a hostile
    pickle reaches no code but theirs.
    """

    _ALLOWED = {("numpy", "ndarray"), ("numpy", "dtype")} | {
        (module, "_reconstruct") for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    }

    def __init__(self, file: BinaryIO, *, encoding: str = "ASCII") -> None:
        super().__init__(file, encoding=encoding)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only arrays of numbers are admitted")
        return {"ndarray": _ArrayState, "dtype": _TypeState, "_reconstruct": _reconstruct}[name]

    def load(self) -> Any:
        """The content, with real read-only NumPy arrays in tuples, lists and dicts."""
        return _arrays(super().load())


class _TypeState:
    """What a pickled dtype says: the kind and size when made, the byte order as state."""

    def __init__(self, code: str | bytes, *_: Any) -> None:
        self.code = _text(code)
        self.order = "<"

    def __setstate__(self, state: tuple) -> None:
        self.order = _text(state[1])

    def dtype(self) -> np.dtype:
        if self.code not in ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1") or self.order not in "<>|":
            raise pickle.UnpicklingError(f"it holds an array of type {self.order}{self.code}, and only numbers are admitted")
        return np.dtype(self.order.replace("|", "=") + self.code)


class _ArrayState:
    """What a pickled ndarray says of itself."""

    array: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, fortran_order, content = state
        if not isinstance(kind, _TypeState) or not isinstance(content, bytes):
            raise pickle.UnpicklingError("it holds an array of something else than numbers")
        dtype = kind.dtype()
        if math.prod(shape) * dtype.itemsize != len(content):
            raise pickle.UnpicklingError(f"it holds an array of shape {shape} with {len(content)} bytes")
        self.array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")


def _reconstruct(kind: type, *_: Any) -> _ArrayState:
    if kind is not _ArrayState:
        raise pickle.UnpicklingError("it holds an object that is no array")
    return _ArrayState()


def _arrays(value: Any) -> Any:
    """`value` with every stand-in replaced by its array."""
    if isinstance(value, _ArrayState):
        if value.array is None:
            raise pickle.UnpicklingError("it holds an array without content")
        return value.array
    if isinstance(value, dict):
        return {key: _arrays(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_arrays(item) for item in value)
    if value is None or isinstance(value, int | float | str | bytes):
        return value
    raise pickle.UnpicklingError(f"it holds a {type(value).__name__}, and only arrays of numbers are admitted")


def _text(word: str | bytes) -> str:
    return word.decode("ascii") if isinstance(word, bytes) else str(word)


def _three_pairs(path: Path, content: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    if (
        not isinstance(content, tuple)
        or len(content) != 3
        or any(not isinstance(part, tuple) or len(part) != 2 for part in content)
    ):
        raise damaged(path, "three pairs of images and labels were expected")
    return list(content)


def _mnist_part(path: Path, part: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = part
    if not all(isinstance(array, np.ndarray) for array in part) or images.shape != (len(labels), 784) or labels.ndim != 1:
        raise damaged(path, "images must be (n, 784) and labels (n,)")
    if images.dtype.kind != "f" or not (images.min() >= 0 and images.max() <= 1):
        raise damaged(path, "pixels must be floats between 0 and 1")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > 9:
        raise damaged(path, "labels must be whole numbers from 0 to 9")
    # The publisher divided by 256, so that this gives back MNIST's own bytes.
    pixels = np.empty((len(images), 28, 28), np.uint8)
    for rows in in_blocks(len(images), (784, images.itemsize)):
        pixels[rows] = np.minimum(np.rint(images[rows] * np.float32(256)), 255).reshape(-1, 28, 28)
    return pixels, labels.astype(np.int64)


def _undo_text_mode(content: bytes) -> bytes:
    """The PGM's bytes before each LF, in the pixels too, got a CR in front of it.

    A pair CR LF that was among the pixels already got none. How many of these there are, the length tells; which ones,
    nothing does, so that the first are taken: the picture's rows between the right pair and ours are off by a pixel.
    """
    header, _, pixels = content.partition(b"255\r\n")
    plain = pixels.replace(b"\r\n", b"\n")
    size = [int(word) for word in header.split()[1:3] if word.isdigit()]
    kept = max(0, math.prod(size) - len(plain)) if len(size) == 2 else 0
    if 0 < kept <= pixels.count(b"\r\n"):
        parts = pixels.split(b"\r\n", kept)
        plain = b"\r\n".join([*parts[:-1], parts[-1].replace(b"\r\n", b"\n")])
    return header.replace(b"\r\n", b"\n") + b"255\n" + plain
