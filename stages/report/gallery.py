"""The page's pictures, out of the arrays that the runs left; what a run did not leave is None, and is left out.

Pictures are those of the first seed.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.report.pictures import Picture, picture, sheet
from stages.report.results import PROTOCOLS, Results, nearest_faces
from stages.runtime.errors import UserError
from stages.runtime.files import refused
from stages.runtime.images import load_arrays

FACES, COLUMNS, STRIP = 32, 8, 10
# Faces and digits that are shown as training goes on.
PROGRESS = {"stylegan2": range(12), "acgan": range(100)}
# What DSN makes of an image: the image itself, and the decoder's output for both codes and for each alone.
RECONSTRUCTIONS = ("image", "both codes", "shared code only", "private code only")
# Enough for photographs; pictures whose pixels are figures are kept without loss.
QUALITY = 88


def faces(results: Results) -> dict[str, Any]:
    """Faces of both protocols beside real ones, their way there, and what lies between and beside them."""
    name = f"stylegan2-{results.study.stylegan2_seeds[0]}"
    samples = f"samples/{name}.npz"
    drawn = dict(zip(PROTOCOLS, load_arrays(samples, *(f"{protocol}_images" for protocol in PROTOCOLS)), strict=True))
    (real,) = load_arrays(f"data/prepared/{results.study.faces}.npz", "test_images")
    spread = np.linspace(0, len(real) - 1, min(FACES, len(real))).round().astype(int)
    return {
        "strip": sheet(drawn["clean"][:STRIP], STRIP),
        "sheets": {protocol: sheet(images[:FACES], COLUMNS) for protocol, images in drawn.items()},
        "real": sheet(real[spread], COLUMNS),
        "progress": progress(f"results/{name}/snapshots.npz", PROGRESS["stylegan2"], 6),
        "interpolation": interpolation(samples),
        "neighbours": neighbours(results, drawn),
    }


def digits(results: Results) -> dict[str, Any]:
    """Ten digits of every class, a row a class, and their way there."""
    name = f"acgan-{results.study.acgan_seeds[0]}"
    images, labels = load_arrays(f"samples/{name}.npz", "images", "labels")
    columns = min(10, *(int((labels == digit).sum()) for digit in range(10)))
    by_class = np.concatenate([images[labels == digit][:columns] for digit in range(10)])
    return {
        "strip": sheet(by_class[::columns], 10),
        "sheet": sheet(by_class, columns),
        "progress": progress(f"results/{name}/snapshots.npz", PROGRESS["acgan"], 10),
    }


def progress(path: str, shown: Sequence[int], columns: int) -> list[tuple[int, Picture]]:
    """By step, the images of the same latents; an empty list where the params ask for no snapshots."""
    (steps,) = load_arrays(path, "steps")
    if not len(steps):
        return []
    (images,) = load_arrays(path, "images")
    chosen = [index for index in shown if index < images.shape[1]]
    return [(int(step), sheet(snapshot[chosen], columns, quality=QUALITY)) for step, snapshot in zip(steps, images, strict=True)]


def interpolation(samples: str) -> Picture | None:
    """Rows that go from one face to another; the array is (rows, columns, height, width, channels)."""
    if not holds(samples, "interpolation_images"):
        return None
    (images,) = load_arrays(samples, "interpolation_images")
    return sheet(images.reshape(-1, *images.shape[-3:]), images.shape[-4])


def neighbours(results: Results, drawn: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Generated faces, each with the training faces nearest to it, mirrored where that is nearer, nearest first."""
    if not results.neighbours:
        return []
    found = results.neighbours[0]
    (train,) = load_arrays(f"data/prepared/{results.study.faces}.npz", "train_images")
    return [
        {
            "sample": picture(as_colour(sample)),
            "nearest": [picture(as_colour(face)) for face in nearest],
            "distances": distances,
        }
        for sample, nearest, distances in zip(
            drawn[found["protocol"]], nearest_faces(found, train), found["distance"], strict=False
        )
    ]


def reconstructions(folder: Path) -> dict[str, list[Picture]] | None:
    """By domain, one sheet for each of RECONSTRUCTIONS; the arrays are (4, n, height, width, channels)."""
    path = folder / "reconstructions.npz"
    if not holds(path, "source_images"):
        return None
    domains = dict(zip(("source", "target"), load_arrays(path, "source_images", "target_images"), strict=True))
    return {domain: [sheet(images, len(images)) for images in kinds] for domain, kinds in domains.items()}


def holds(path: str | Path, name: str) -> bool:
    """Whether there is an array file that has an array of this name; UserError where it is damaged."""
    try:
        with zipfile.ZipFile(path) as file:
            return f"{name}.npy" in file.namelist()
    except FileNotFoundError:
        return False
    except Exception as error:  # zipfile raises half a dozen kinds for damaged files
        raise refused(path, error) or UserError(f"{path} is damaged: delete it and run `dvc repro`") from None


def as_colour(image: np.ndarray) -> np.ndarray:
    """A grey image (height, width, 1) with three channels, one with three as it is."""
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
