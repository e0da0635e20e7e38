"""Find the training faces nearest to generated ones: did the generator remember?

Reads samples/stylegan2-SEED.npz, data/prepared/DATASET.npz and the extractor's weights in data/raw/EXTRACTOR. Writes
results/stylegan2-SEED/neighbours.json: `train`, the indices of the nearest training images of each of the first SAMPLES clean
samples, nearest first, and `distance`, their Euclidean distances in the extractor's features, to the image itself or to its
mirror image, whichever is nearer: training may have seen both. `mirrored` tells where it was the latter. `novelty` tells how far
a sample is from its nearest training image compared with a test image, the median of both: 0 is a copy, 1 as new as real images,
more unlike any of them. `near_share` is the share of samples nearer to a training image than all but NEAR of the test images are:
NEAR of real images, 1 if all are copies.

A copy that is a little blurred or noisy can be as far in such features as a new face. `thumbnail_novelty` and
`thumbnail_near_share` are the same of thumbnails, in which it is still near; they miss a copy that is moved.

    python -m stages.evaluation.neighbours 0 efficientnet_lite0
"""

from collections.abc import Iterable
from typing import Annotated

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from stages.evaluation import extractors
from stages.evaluation.scores import squared_distances
from stages.runtime import params
from stages.runtime.errors import UserError
from stages.runtime.files import write_json
from stages.runtime.images import load_arrays
from stages.runtime.stage import run

SAMPLES, NEAREST = 8, 3
# Samples and test images, each as far as there are, behind the novelty: enough for medians good to a few percent.
MEASURED = 200
NEAR = 0.05
# Cells a side; training images that are made smaller at a time.
THUMBNAIL, PART = 8, 1024


def main(
    seed: Annotated[int, "seed of the run", "stylegan2.seeds"],
    extractor: Annotated[str, "network whose features are compared", "evaluation.extractors"],
) -> None:
    settings, dataset = params.read("evaluation.metrics", "stylegan2.dataset")
    (clean,) = load_arrays(f"samples/stylegan2-{seed}.npz", "clean_images")
    train, test = load_arrays(f"data/prepared/{dataset}.npz", "train_images", "test_images")
    for kind, images in (("training", train), ("test", test)):
        if clean.shape[1:] != images.shape[1:]:
            raise UserError(f"samples {clean.shape[1:]} and {kind} images {images.shape[1:]} differ in shape: run `dvc repro`")
    network = extractors.load(extractor)
    spread = np.linspace(0, len(test) - 1, min(MEASURED, len(test))).round().astype(int)
    samples, unseen = (
        extractors.extract(network, images, settings.batch_size, f"{extractor}, {kind}").features
        for kind, images in (("samples", clean[:MEASURED]), ("test images", test[spread]))
    )
    looks = (
        extractors.chunks(network, images, settings.batch_size, f"{extractor}, {kind}")
        for kind, images in (("training images", train), ("mirrored", train[:, :, ::-1]))
    )
    parts = (np.stack([part.features for part in both], axis=1) for both in zip(*looks, strict=True))
    index, view, distance = nearest(np.concatenate([samples, unseen]), parts, NEAREST)
    found = {"protocol": "clean", "extractor": extractor}
    found |= {"train": index[:SAMPLES].tolist(), "mirrored": (view[:SAMPLES] == 1).tolist()}
    found |= {"distance": distance[:SAMPLES].round(4).tolist()}
    small = thumbnails(np.concatenate([clean[:MEASURED], test[spread]]))[:, 0]
    cut = (thumbnails(train[start : start + PART]) for start in range(0, len(train), PART))
    for kind, measured in (("", distance), ("thumbnail_", nearest(small, cut, 1)[2])):
        of_samples, of_unseen = measured[: len(samples), 0], measured[len(samples) :, 0]
        found |= {f"{kind}novelty": novelty(of_samples, of_unseen), f"{kind}near_share": near_share(of_samples, of_unseen)}
    found |= {"n_fake": len(samples), "n_real": len(unseen), "n_train": len(train)}
    write_json(f"results/stylegan2-{seed}/neighbours.json", found)


def thumbnails(images: np.ndarray) -> np.ndarray:
    """Images (n, height, width, c) and their mirror images, averaged over THUMBNAIL x THUMBNAIL cells, as rows (n, 2, d).

    Each channel has mean 0, and an image standard deviation 1 over its cells, so that brightness, tint and contrast don't count;
    an image of one colour is 0.
    """
    cells = adaptive_avg_pool2d(torch.tensor(images, dtype=torch.float32).permute(0, 3, 1, 2), THUMBNAIL)
    centred = cells - cells.mean((2, 3), keepdim=True)
    scaled = centred / centred.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-3)
    return torch.stack([scaled, scaled.flip(3)], dim=1).flatten(2).numpy()


def novelty(samples: np.ndarray, unseen: np.ndarray) -> float | None:
    """The median distance (n,) of samples to their nearest training image over that (m,) of test images; None where that is 0."""
    usual = np.median(unseen)
    return float(np.median(samples) / usual) if usual else None


def near_share(samples: np.ndarray, unseen: np.ndarray) -> float | None:
    """The share of samples whose distance (n,) is below the NEAR-quantile of those (m,) of test images; None where that is 0."""
    near = np.quantile(unseen, NEAR)
    return float(np.mean(samples < near)) if near else None


def nearest(features: np.ndarray, parts: Iterable[np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places, views and Euclidean distances (n, count) of the images nearest to each of `features` (n, d), nearest first.

    `parts` hold the images' features (m, views, d) one part after the other, and no more than one part is in memory; an image is
    as far as the nearest of its views. Where there are fewer images than `count`, all are taken.
    """
    features = features.astype(np.float64)
    (index, view), square, done = np.empty((2, len(features), 0), np.int64), np.empty((len(features), 0)), 0
    for part in parts:
        # As a matrix product first; that is exact enough to choose by, but a copy's distance would not be 0.
        rough = squared_distances(features, part.reshape(-1, part.shape[2])).reshape(len(features), *part.shape[:2]).min(axis=2)
        chosen = np.argsort(rough, axis=1, kind="stable")[:, :count]
        exact = np.stack([((part[rows] - row) ** 2).sum(axis=2) for rows, row in zip(chosen, features, strict=True)])
        index, view = np.hstack([index, done + chosen]), np.hstack([view, exact.argmin(axis=2)])
        square = np.hstack([square, exact.min(axis=2)])
        order = np.argsort(square, axis=1, kind="stable")[:, :count]
        index, view, square = (np.take_along_axis(one, order, 1) for one in (index, view, square))
        done += len(part)
    return index, view, np.sqrt(square)


if __name__ == "__main__":
    run(main)
