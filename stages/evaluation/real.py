"""What concerns real images only, and therefore holds for all seeds: computed once an extractor, kept as one array file."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from stages.evaluation.extractors import Activations, on_disk
from stages.evaluation.frechet import Moments, distance, moments, moments_of
from stages.evaluation.scores import classifier_score, kid, precision_recall
from stages.runtime.errors import UserError
from stages.runtime.images import load_arrays, save_arrays, scratch
from stages.runtime.schema import Metrics
from stages.runtime.seeding import numpy_generator

# Figures of the real images by protocol; `fd_pca` stands in `clean` only.
FIGURES = {
    "report": ("n_fake", "n_floor", "fd_floor", "kid_floor", "precision_ceiling", "recall_ceiling", "cs_real"),
    "clean": ("n_fake", "n_floor", "fd_floor", "kid_floor", "precision_ceiling", "recall_ceiling", "cs_real", "fd_pca"),
}

# Gives the activations of images, which go by the word, in order and a part at a time.
Look = Callable[[str, np.ndarray], Iterator[Activations]]


@dataclass(frozen=True)
class Real:
    """Of the real images, as `extractor` sees them: features of the test images (n, d), moments of the training images.

    `shape` is the images' (height, width, channels); `figures` hold, for each protocol, what its n_fake samples are read by.
    """

    extractor: str
    shape: tuple[int, ...]
    features: np.ndarray
    train: Moments
    figures: dict[str, dict[str, float | int]]

    @cached_property
    def test(self) -> Moments:
        """Moments of the test images' features."""
        return moments_of(self.features)


def measure(
    extractor: str,
    look: Look,
    train: np.ndarray,
    test: np.ndarray,
    pca: np.ndarray,
    counts: dict[str, int],
    settings: Metrics,
    folder: Path | None = None,
) -> Real:
    """Look once at the training, the test and the PCA baseline's images (n, height, width, channels).

    For each protocol the floor puts min(counts[protocol], training images) randomly drawn training images in the samples'
    place: about the best there is, and worse than a perfect generator where there are fewer of them than samples, since the
    distance falls with their number and recall rises. precision_ceiling and recall_ceiling are of the same images. cs_real is
    that of the test images, in parts about as large as the samples' parts, since the score grows with the size of a part. The
    features of the test images and of the floors lie in `folder` on disk, those of the other images are not kept.
    """
    seen = on_disk(look("test", test), len(test), folder)
    drawn = {protocol: draw(len(train), min(count, len(train)), settings.seed) for protocol, count in counts.items()}
    train_moments, floors = _moments_and_rows((part.features for part in look("train", train)), drawn, folder)
    real = Real(extractor, train.shape[1:], seen.features, train_moments, {})
    for protocol, count in counts.items():
        splits = max(1, round(settings.splits * len(test) / count))
        precision, recall = precision_recall(seen.features, floors[protocol], settings.neighbours)
        real.figures[protocol] = {
            "n_fake": count,
            "n_floor": len(floors[protocol]),
            "fd_floor": distance(moments_of(floors[protocol]), real.test),
            "kid_floor": kernel_distance(seen.features, floors[protocol], settings)[0],
            "precision_ceiling": precision,
            "recall_ceiling": recall,
            "cs_real": score(seen.logits, splits, settings)[0],
        }
    pca_moments = moments(part.features for part in look("pca", pca))
    real.figures["clean"]["fd_pca"] = distance(pca_moments, real.test)
    return real


def save(path: str | Path, real: Real) -> None:
    """Write everything as named arrays; figures are called PROTOCOL_FIGURE."""
    figures = {f"{protocol}_{name}": value for protocol, values in real.figures.items() for name, value in values.items()}
    save_arrays(
        path,
        extractor=np.array(real.extractor),
        shape=np.array(real.shape),
        test_features=real.features,
        train_mean=real.train.mean,
        train_covariance=real.train.covariance,
        train_count=np.array(real.train.count),
        **{name: np.array(value) for name, value in figures.items()},
    )


def load(path: str | Path, extractor: str) -> Real:
    """What `save` wrote; UserError where it is missing, damaged or of another extractor."""
    names = ["extractor", "shape", "test_features", "train_mean", "train_covariance", "train_count"]
    keys = [(protocol, name) for protocol, figures in FIGURES.items() for name in figures]
    arrays = load_arrays(path, *names, *(f"{protocol}_{name}" for protocol, name in keys))
    made_by, shape, features, mean, covariance, count = arrays[: len(names)]
    dimensions = [array.ndim for array in arrays]
    if dimensions != [0, 1, 2, 1, 2, 0, *[0] * len(keys)]:
        raise UserError(f"{path} is damaged (arrays of other dimensions than were written): delete it and run `dvc repro`")
    if str(made_by) != extractor:
        raise UserError(f"{path} was made by the extractor {made_by}, not by {extractor}: delete it and run `dvc repro`")
    figures: dict[str, dict[str, float | int]] = {protocol: {} for protocol in FIGURES}
    for (protocol, name), value in zip(keys, arrays[len(names) :], strict=True):
        figures[protocol][name] = value.item()
    return Real(extractor, tuple(shape.tolist()), features, Moments(mean, covariance, count.item()), figures)


def check(n_real: int, counts: dict[str, int], settings: Metrics) -> None:
    """UserError where the test images or the samples of a protocol are too few for the settings."""
    for protocol, count in counts.items():
        fewest = min(n_real, count)
        if fewest <= settings.neighbours:
            raise UserError(
                f"evaluation.metrics.neighbours is {settings.neighbours}, too many for {fewest} images ({protocol}): "
                "lower it or sample more"
            )
        if count < settings.splits:
            raise UserError(
                f"evaluation.metrics.splits is {settings.splits}, too many for {count} samples ({protocol}): "
                "lower it or sample more"
            )


def draw(count: int, size: int, seed: int) -> np.ndarray:
    """The training images of a floor: `size` of `count` numbers, none twice."""
    return numpy_generator(seed, "floor").choice(count, size, replace=False)


def kernel_distance(real: np.ndarray, fake: np.ndarray, settings: Metrics) -> tuple[float, float]:
    """KID of features (n, d), (m, d) with the settings' subsets: mean and standard deviation."""
    generator = numpy_generator(settings.seed, "kid")
    return kid(real, fake, subsets=settings.kid_subsets, size=settings.kid_subset_size, generator=generator)


def score(logits: np.ndarray, splits: int, settings: Metrics) -> tuple[float, float]:
    """Classifier score of logits (n, classes) in `splits` parts: mean and standard deviation."""
    return classifier_score(logits, splits=splits, generator=numpy_generator(settings.seed, "score"))


def _moments_and_rows(
    batches: Iterator[np.ndarray], wanted: dict[str, np.ndarray], folder: Path | None
) -> tuple[Moments, dict[str, np.ndarray]]:
    """Moments of vectors that come in batches (m, d), and of each list of row numbers the rows themselves, in its order."""
    found: dict[str, np.ndarray] = {}

    def kept() -> Iterator[np.ndarray]:
        start = 0
        for batch in batches:
            for name, numbers in wanted.items():
                if name not in found:
                    found[name] = scratch(folder, (len(numbers), batch.shape[1]), batch.dtype)
                here = (start <= numbers) & (numbers < start + len(batch))
                found[name][here] = batch[numbers[here] - start]
            start += len(batch)
            yield batch

    return moments(kept()), found
