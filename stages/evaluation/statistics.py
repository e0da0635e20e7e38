"""Look at the real faces with one extractor, and at the simplest generator of all, once for all seeds.

Reads data/prepared/DATASET.npz and the extractor's weights in data/raw/EXTRACTOR. Writes data/statistics/EXTRACTOR.npz:
features of the test images, moments of the training images, and of both protocols the floor, the ceilings of precision and
recall, and the real images' score.

    python -m stages.evaluation.statistics efficientnet_lite0
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np

from stages.evaluation import extractors, real
from stages.evaluation.baselines import pca_gaussian
from stages.runtime import params
from stages.runtime.errors import UserError
from stages.runtime.images import load_arrays, scratch
from stages.runtime.seeding import numpy_generator
from stages.runtime.stage import run

STATISTICS = Path("data/statistics")


def main(extractor: Annotated[str, "network whose features are compared", "evaluation.extractors"]) -> None:
    counted = [f"stylegan2.sample.{protocol}.count" for protocol in ("report", "clean")]
    settings, dataset, *numbers = params.read("evaluation.metrics", "stylegan2.dataset", *counted)
    path = f"data/prepared/{dataset}.npz"
    train, test = load_arrays(path, "train_images", "test_images")
    counts = dict(zip(("report", "clean"), numbers, strict=True))
    check(train, test, path)
    real.check(len(test), counts, settings)
    network = extractors.load(extractor)
    pca = scratch(STATISTICS, (counts["clean"], *train.shape[1:]), np.uint8)
    pca_gaussian(train, pca, generator=numpy_generator(settings.seed, "pca"))

    def look(kind: str, images: np.ndarray) -> Iterator[extractors.Activations]:
        return extractors.chunks(network, images, settings.batch_size, f"{extractor}, {kind} images")

    measured = real.measure(extractor, look, train, test, pca, counts, settings, STATISTICS)
    real.save(STATISTICS / f"{extractor}.npz", measured)


def check(train: np.ndarray, test: np.ndarray, path: str) -> None:
    """UserError where training and test images differ in shape or the training images have no covariance."""
    if train.shape[1:] != test.shape[1:]:
        raise UserError(f"{path}: training images {train.shape[1:]} and test images {test.shape[1:]} differ in shape")
    if len(train) < 2:
        raise UserError(f"{path}: {len(train)} training image is too few to compare with: choose another dataset")


if __name__ == "__main__":
    run(main)
