"""Array files: the one format that stages hand images to each other in (.npz, uint8 NHWC, int64 labels)."""

import zipfile
from pathlib import Path

import numpy as np

from stages.runtime.files import replacing
from stages.runtime.stage import UserError


def save_arrays(path: str | Path, **arrays: np.ndarray) -> None:
    """Write the named arrays to an uncompressed .npz; the same arrays always give the same bytes."""
    with replacing(path) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)


def load_arrays(path: str | Path, *names: str) -> list[np.ndarray]:
    """The arrays called `names`, in that order; only these are read from disk.

    Names that end in `images` must be uint8 of shape (n, height, width, 1 or 3) with n > 0, names that end in `labels`
    int64 of shape (n,). Raises UserError, naming the file and the array, for anything missing, damaged or of another form.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [_checked(path, name, file[name]) for name in names]
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `dvc repro`, which makes it") from None
    except KeyError as error:
        raise UserError(f"{path} has no array {error.args[0]!r}") from None
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error}): delete it and run `dvc repro`") from None
    return arrays


def load_split(path: str | Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, height, width, channels) uint8 and labels (n,) int64 of one split, from `SPLIT_images`, `SPLIT_labels`."""
    images, labels = load_arrays(path, f"{split}_images", f"{split}_labels")
    if len(images) != len(labels):
        raise UserError(f"{path}: {len(images)} {split} images but {len(labels)} labels")
    return images, labels


def load_digits(path: str | Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """`load_split` of digits: UserError unless the images are (n, 28, 28, 3) and the labels 0..9."""
    images, labels = load_split(path, split)
    if images.shape[1:] != (28, 28, 3) or labels.min() < 0 or labels.max() > 9:
        size, low, high = "x".join(map(str, images.shape[1:])), labels.min(), labels.max()
        raise UserError(f"{path}: digits are 28x28x3 with labels 0 to 9, not {size} with {low} to {high}: choose another dataset")
    return images, labels


def _checked(path: str | Path, name: str, array: np.ndarray) -> np.ndarray:
    if name.endswith("images"):
        if array.dtype != np.uint8 or array.ndim < 4 or array.shape[-1] not in (1, 3):
            raise UserError(f"{path}: {name} must be uint8 (n, height, width, 1 or 3), not {array.dtype} {array.shape}")
        if 0 in array.shape:
            raise UserError(f"{path}: {name} is empty")
    if name.endswith("labels") and (array.dtype != np.int64 or array.ndim != 1):
        raise UserError(f"{path}: {name} must be int64 (n,), not {array.dtype} {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{path}: {name} holds NaN or infinity")
    return array
