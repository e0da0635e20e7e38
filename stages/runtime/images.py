"""Array files: the one format that stages hand images to each other in (.npz, uint8 NHWC, int64 labels)."""

import math
import mmap
import os
import struct
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from stages.runtime.errors import UserError
from stages.runtime.files import CannotWrite, reason, refused, replacing

OTHER_DIGITS = "choose another data set, or run `dvc repro`, which makes the file anew"
# Of images at a time, where all would be too many for the memory.
BLOCK_BYTES = 16 << 20
# What the names of arrays end in that are read as memory maps.
MAPPED = ("images", "features")


@dataclass(frozen=True)
class Blocks:
    """Images, uint8 of `shape` (n, height, width, channels), that are made as they are written.

    `parts` are arrays (m, height, width, channels), in order and any number of images at a time, so that a set that no memory
    holds can be written.
    """

    shape: tuple[int, ...]
    parts: Iterable[np.ndarray]

    def write(self, file: IO[bytes]) -> None:
        """Write the .npy file that the whole array would give; ValueError where the parts do not make up the shape."""
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": self.shape})
        count = 0
        for part in self.parts:
            if part.dtype != np.uint8 or part.shape[1:] != self.shape[1:]:
                raise ValueError(f"a part is {part.dtype} {part.shape}, not uint8 (m, {self.shape[1:]})")
            file.write(np.ascontiguousarray(part).data)
            count += len(part)
        if count != self.shape[0]:
            raise ValueError(f"{count} images came, not {self.shape[0]}")


def in_blocks(count: int, shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices that part `count` images of this shape (height, width, channels) into blocks of bounded memory, in order."""
    size = max(1, BLOCK_BYTES // max(1, math.prod(shape)))
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def tile(images: np.ndarray, columns: int, gap: int = 2, ground: int = 255) -> np.ndarray:
    """One image of all images (n, height, width, channels) uint8, in rows of `columns`, gaps of `gap` pixels between."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), ground, dtype=np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return np.repeat(sheet, 3, axis=2) if channels == 1 else sheet


def scratch(folder: str | Path | None, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """An array of zeros on disk instead of in memory, for what no memory may hold; nothing of it outlives the process.

    It lies in a file without a name in `folder`, by default where temporary files go. CannotWrite where there is no room.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    folder = Path(folder or tempfile.gettempdir())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            # Room is taken now: a disk that is full only when a page of the map is written ends the process.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        raise CannotWrite(f"a temporary file of {size} bytes in {folder} can't be written: {reason(error)}") from error


def save_arrays(path: str | Path, **arrays: np.ndarray | Blocks) -> None:
    """Write the named arrays to an uncompressed .npz as np.savez does; the same arrays always give the same bytes."""
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            # How long it gets is not known to zipfile beforehand: it may need 64 bits.
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                if isinstance(array, Blocks):
                    array.write(member)
                else:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def load_arrays(path: str | Path, *names: str) -> list[np.ndarray]:
    """The arrays called `names`, in that order; only these are read from disk.

    Names that end in `images` must be uint8 of shape (n, height, width, 1 or 3) with n > 0, those that end in `labels` int64 of
    shape (n,). Images, and what ends in `features`, come as read-only memory maps, which take no memory of their own, unless
    the file is compressed.
    Raises UserError, naming the file and the array, for anything missing, damaged or of another form.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in names:
                if name not in file:
                    raise UserError(f"{path} has no array {name!r}: run `dvc repro`, which makes it anew")
            arrays = [_checked(path, name, _array(path, file, name)) for name in names]
    except UserError:
        raise
    except Exception as error:  # NumPy and zipfile raise a dozen kinds for damaged files
        said = f"{type(error).__name__}: {error}"[:200]
        damaged = UserError(f"{path} is damaged ({said}): delete it and run `dvc repro`")
        raise refused(path, error) or damaged from None
    return arrays


def load_split(path: str | Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, height, width, channels) uint8 and labels (n,) int64 of one split, from `SPLIT_images`, `SPLIT_labels`."""
    images, labels = load_arrays(path, f"{split}_images", f"{split}_labels")
    return _paired(path, images, labels)


def load_digits(path: str | Path, split: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 28, 28, 3) uint8 and labels (n,) int64, 0 to 9, of one split, or of a file without any.

    UserError for images of another size and for other labels.
    """
    prefix = f"{split}_" if split else ""
    images, labels = _paired(path, *load_arrays(path, f"{prefix}images", f"{prefix}labels"))
    _check_size(path, images)
    if labels.min() < 0 or labels.max() > 9:
        raise UserError(f"{path}: digits have labels 0 to 9, not {labels.min()} to {labels.max()}: {OTHER_DIGITS}")
    return images, labels


def load_unlabelled_digits(path: str | Path, split: str) -> np.ndarray:
    """Images (n, 28, 28, 3) uint8 of one split; UserError for images of another size."""
    (images,) = load_arrays(path, f"{split}_images")
    _check_size(path, images)
    return images


def _array(path: str | Path, file: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    """Array `name` of an open file: images and features as a read-only memory map where stored as they are, others in memory."""
    if not name.endswith(MAPPED) or f"{name}.npy" not in file.zip.NameToInfo:
        return file[name]
    info = file.zip.getinfo(f"{name}.npy")
    with file.zip.open(info) as member:
        version = np.lib.format.read_magic(member)
        if info.compress_type != zipfile.ZIP_STORED or version != (1, 0):
            return file[name]
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(member)
        before = member.tell()
    start = _start(path, info) + before
    # Checked here, since reading beyond the end of a mapped file ends the process.
    count = math.prod(shape)
    if dtype.hasobject or min(shape, default=0) < 0 or before + count * dtype.itemsize != info.file_size:
        raise ValueError(f"the header of {name} does not fit its {info.file_size} bytes")
    if not count:
        return np.empty(shape, dtype)
    with open(path, "rb") as bytes_of:
        # A map begins at a multiple of the system's pages.
        before = start % mmap.ALLOCATIONGRANULARITY
        whole = mmap.mmap(bytes_of.fileno(), before + count * dtype.itemsize, access=mmap.ACCESS_READ, offset=start - before)
    return np.ndarray(shape, dtype, whole, before, order="F" if by_columns else "C")


def _start(path: str | Path, info: zipfile.ZipInfo) -> int:
    """Where the bytes of a stored member begin; ValueError where the file does not hold them all."""
    with open(path, "rb") as file:
        file.seek(info.header_offset)
        # The lengths of name and extra field are the last two of the local header.
        *_, name, extra = struct.unpack("<4s5H3L2H", file.read(30))
        start = info.header_offset + 30 + name + extra
        if start + info.file_size > os.fstat(file.fileno()).st_size:
            raise ValueError("it is cut off")
    return start


def _paired(path: str | Path, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(images) != len(labels):
        raise UserError(f"{path}: {len(images)} images but {len(labels)} labels: run `dvc repro`, which makes it anew")
    return images, labels


def _check_size(path: str | Path, images: np.ndarray) -> None:
    if images.shape[1:] != (28, 28, 3):
        raise UserError(f"{path}: digits are 28x28x3, not {'x'.join(map(str, images.shape[1:]))}: {OTHER_DIGITS}")


def _checked(path: str | Path, name: str, array: np.ndarray) -> np.ndarray:
    if name.endswith("images"):
        if array.dtype != np.uint8 or array.ndim < 4 or array.shape[-1] not in (1, 3):
            raise UserError(f"{path}: {name} must be uint8 (n, height, width, 1 or 3), not {array.dtype} {array.shape}")
        if 0 in array.shape:
            raise UserError(f"{path}: {name} is empty")
    if name.endswith("labels") and (array.dtype != np.int64 or array.ndim != 1):
        raise UserError(f"{path}: {name} must be int64 (n,), not {array.dtype} {array.shape}")
    if array.dtype.kind == "f" and not _all_finite(np.atleast_1d(array)):
        raise UserError(f"{path}: {name} holds NaN or infinity")
    return array


def _all_finite(array: np.ndarray) -> bool:
    return all(np.isfinite(array[part]).all() for part in in_blocks(len(array), array.shape[1:]))
