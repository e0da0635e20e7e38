"""Find the training faces nearest to the first generated ones, in an extractor's features: did the generator remember?

Reads samples/stylegan2-SEED.npz, data/prepared/DATASET.npz and the extractor's weights in data/raw/EXTRACTOR. Writes
results/stylegan2-SEED/neighbours.json: `train`, the indices of the nearest training images of each of the first SAMPLES clean
samples, nearest first, and `distance`, their Euclidean distances.

    python -m stages.evaluation.neighbours 0 efficientnet_lite0
"""

from collections.abc import Iterable
from typing import Annotated

import numpy as np

from stages.evaluation import extractors
from stages.runtime import params
from stages.runtime.errors import UserError
from stages.runtime.files import write_json
from stages.runtime.images import load_arrays
from stages.runtime.stage import run

SAMPLES, NEAREST = 8, 3


def main(
    seed: Annotated[int, "seed of the run", "stylegan2.seeds"],
    extractor: Annotated[str, "network whose features are compared", "evaluation.extractors"],
) -> None:
    settings, dataset = params.read("evaluation.metrics", "stylegan2.dataset")
    (clean,) = load_arrays(f"samples/stylegan2-{seed}.npz", "clean_images")
    (train,) = load_arrays(f"data/prepared/{dataset}.npz", "train_images")
    if clean.shape[1:] != train.shape[1:]:
        raise UserError(f"samples {clean.shape[1:]} and training images {train.shape[1:]} differ in shape: run `dvc repro`")
    network = extractors.load(extractor)
    samples = extractors.extract(network, clean[:SAMPLES], settings.batch_size, f"{extractor}, samples").features
    looks = extractors.chunks(network, train, settings.batch_size, f"{extractor}, training images")
    index, distance = nearest(samples, (part.features for part in looks), NEAREST)
    found = {"protocol": "clean", "extractor": extractor, "train": index.tolist(), "distance": distance.round(4).tolist()}
    write_json(f"results/stylegan2-{seed}/neighbours.json", found)


def nearest(features: np.ndarray, parts: Iterable[np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and Euclidean distances (n, count) of the rows nearest to each of `features` (n, d), nearest first.

    `parts` hold the rows (m, d) one part after the other, and no more than one part is in memory. Where there are fewer rows than
    `count`, all are taken.
    """
    features = features.astype(np.float64)
    index, square, done = np.empty((len(features), 0), np.int64), np.empty((len(features), 0)), 0
    for part in parts:
        differences = np.stack([((part - row) ** 2).sum(axis=1) for row in features])
        index = np.concatenate([index, np.broadcast_to(np.arange(done, done + len(part)), differences.shape)], axis=1)
        square = np.concatenate([square, differences], axis=1)
        order = np.argsort(square, axis=1, kind="stable")[:, :count]
        index, square = np.take_along_axis(index, order, 1), np.take_along_axis(square, order, 1)
        done += len(part)
    return index, np.sqrt(square)


if __name__ == "__main__":
    run(main)
