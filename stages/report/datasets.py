"""What the data sets are and under which licence, as data/README.md has it at length, and how many images there are."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from stages.report.results import Study

MNIST, PHOTOGRAPHS = "digits CC BY-SA 3.0", "photographs each their own"
BSDS = "photographs non-commercial research and education"
# By data set and where it comes from.
LICENCES = {
    ("orl", "packaged"): "none stated; pictures of real persons: for research only",
    ("celeba", "official"): "non-commercial research only, no redistribution",
    ("mnistm", "packaged"): f"{MNIST}; {PHOTOGRAPHS}",
    ("mnistm", "official"): f"{MNIST}; {BSDS}",
    ("mnistm", "official over photographs"): f"{MNIST}; {PHOTOGRAPHS}",
    ("svhn", "official"): "non-commercial use only",
    ("usps", "official"): "none stated",
    ("syn", "packaged"): f"fonts and {PHOTOGRAPHS}",
    ("mfeat", "packaged"): "CC BY 4.0",
}


def described(study: Study) -> list[dict[str, Any]]:
    """By data set: origin, licence, numbers of images and their size, where they have been prepared."""
    found = []
    for name in study.data:
        origin = study.origin(name)
        licence = "yours to know" if origin == "own folder" else LICENCES.get((name, origin), "see data/README.md")
        shapes = [shape(f"data/prepared/{name}.npz", f"{split}_images") for split in ("train", "test")]
        found.append({"name": name, "origin": origin, "licence": licence, "train": shapes[0], "test": shapes[1]})
    return found


def shape(path: str | Path, name: str) -> tuple[int, ...] | None:
    """The shape of an array in an array file, read off its head alone; None where there is none."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
            major = np.lib.format.read_magic(file)[0]
            read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
            return read(file)[0]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None
